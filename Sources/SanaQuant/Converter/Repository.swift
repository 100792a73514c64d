import SanaModel

/// A diffusers repository: a directory with `model_index.json` and a directory for each component.
public struct Repository: Sendable {
    public let path: String
    /// Components that the index names, in its order.
    public let components: [String]

    /// File that makes a directory a repository.
    public static let indexName = Checkpoint.indexName

    /// - Throws: `FileError`, `BadDataError`.
    public init(path: String) throws {
        let file = path.appendingPath(Self.indexName)
        let members = try JSONFile.read(file, allowsNonFinite: true).members ?? []
        self.path = path
        // A component is [library, class]; [null, null] stands for one that is left out.
        components = members.filter { $0.value.array?.last?.string != nil }.map(\.key)
        if let name = components.first(where: { !ShardSet.isBareFileName($0) }) {
            throw BadDataError(
                file: file, reason: "component '\(name.printable)' is not the name of a directory")
        }
    }

    /// Whether a component is a network that has a plan of its own for conversions, with weights
    /// that can be read.
    ///
    /// - Throws: `BadDataError` for a configuration that cannot be read.
    public func isNetwork(_ name: String) throws -> Bool {
        let folder = path.appendingPath(name)
        let file = folder.appendingPath("config.json")
        guard file.pathExists else { return false }
        let config = try JSONFile.read(file, allowsNonFinite: true)
        guard (try? NetworkClass.of(config, file: file)) ?? nil != nil else { return false }
        return (try? folder.folderEntries())?.contains { $0.hasSuffix(".safetensors") } == true
    }

    /// Whether there is a repository at `path`.
    public static func exists(_ path: String) -> Bool {
        path.appendingPath(indexName).pathExists
    }
}

/// What becomes of a component that is not the transformer.
public enum ComponentTreatment: Sendable, Equatable {
    /// A symbolic link to the source's directory.
    case link
    case copy
    /// Left out.
    case skip
    /// A copy whose safetensors files are converted.
    case convert(ConversionTarget)
}

/// What will become of a component that is not the transformer.
public struct ComponentPlan: Sendable {
    public let name: String
    public let treatment: ComponentTreatment
    public let fileCount: Int
    /// Bytes of its files in the source.
    public let bytesBefore: Int
    /// Bytes that it will take in the new repository: none for a link.
    public internal(set) var bytesAfter: Int
    /// Of each of its safetensors files, where they are converted.
    public internal(set) var plans: [ConversionPlan]
}
