import Foundation
import SanaModel

extension FileManager {
    /// Makes a directory and its parents where they are absent.
    ///
    /// - Throws: `FileError`.
    package func createFolder(_ path: String) throws {
        do {
            try createDirectory(atPath: path, withIntermediateDirectories: true)
        } catch {
            throw FileError(.create, path, code: error.systemCode)
        }
    }
}

extension Error {
    /// The `errno` below an error of Foundation's.
    package var systemCode: Int32 {
        let below = (self as? CocoaError)?.underlying as? POSIXError
        return below?.code.rawValue ?? EACCES
    }
}
