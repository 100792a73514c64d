import Foundation
import SanaModel

extension FileManager {
    /// Makes a folder and its parents where they are absent.
    ///
    /// - Throws: `FileError`.
    package func createFolder(_ path: String) throws {
        do {
            try createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            let code = (error as? CocoaError)?.underlying as? POSIXError
            throw FileError(.create, path, code: code?.code.rawValue ?? EACCES)
        }
    }
}
