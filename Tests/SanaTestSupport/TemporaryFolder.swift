import Foundation

/// A folder that goes away with its last reference.
public final class TemporaryFolder: Sendable {
    public let path: String

    public init() throws {
        let url = FileManager.default.temporaryDirectory
            .appendingPathComponent("sana-tools-\(UUID().uuidString)")
        try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
        path = url.path
    }

    deinit { try? FileManager.default.removeItem(atPath: path) }

    /// The path of `name` in the folder.
    public func callAsFunction(_ name: String) -> String { path + "/" + name }

    /// Writes a file into the folder, and makes the folders in its name.
    ///
    /// - Returns: its path.
    @discardableResult
    public func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let url = URL(fileURLWithPath: self(name))
        try FileManager.default.createDirectory(
            at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
        try Data(bytes).write(to: url)
        return self(name)
    }

    /// Names in the folder, hidden ones included, sorted.
    public var entries: [String] { entries("") }

    /// Names in the folder `name` of it, hidden ones included, sorted.
    public func entries(_ name: String) -> [String] {
        ((try? FileManager.default.contentsOfDirectory(atPath: self(name))) ?? []).sorted()
    }
}

/// The content of a file.
public func fileBytes(_ path: String) throws -> [UInt8] {
    Array(try Data(contentsOf: URL(fileURLWithPath: path)))
}

/// Files of the repository's `fixtures` folder.
public enum Fixtures {
    /// The folder.
    public static let path = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
        .appendingPathComponent("fixtures").path
    /// The trained digits model, a diffusers repository in BF16.
    public static let digits = path + "/sana-digits"
}
