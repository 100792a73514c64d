import SanaModel

/// An archive that breaks a rule of its format.
public struct ArchiveError: DiagnosticError, Equatable {
    /// The rule that is broken.
    public enum Rule: Error, Sendable, Equatable {
        // Frames and their table.
        case notArchive
        /// The file is something else.
        case foreign(ForeignContent)
        /// A downloader's file next to the archive says that it is not complete.
        case unfinished(marker: String)
        case tableMissing
        case tableWithoutChecksums
        case tableReservedBits(UInt8)
        case frameCount(Int)
        case tableOutsideFile(frames: Int)
        case tableMagic(UInt32)
        case tableLength(UInt32)
        case compressedSum(described: UInt64, present: Int)
        case frameTooLarge(frame: Int, byteCount: UInt64)
        case expands(byteCount: Int, stored: Int)
        case emptyFrame(Int)
        case contentTooLarge(UInt64)
        case headerFrame(described: Int, present: Int)
        case tensorBoundary(tensor: String)
        case frame(Int, FrameDefect)
        case tooLargeForMemory(byteCount: Int, present: Int)
        // The manifest.
        case manifestFrame(String)
        case manifestJSON(JSONError)
        case manifestField(String)
        case format(String)
        case version(String)
        case profile(String)
        case planes(String)
        case contradiction(String)
        case noManifest
        // Values.
        case hash(of: String)
        case noTensor(String)
    }

    /// What is wrong with a single zstd frame.
    public struct FrameDefect: Sendable, Equatable {
        let defect: ZstdFrame.Defect

        /// Whether zstd itself reads such a frame.
        var isOrdinary: Bool {
            switch defect {
            case .contentSizeMissing, .checksumMissing: true
            default: false
            }
        }

        /// Whether its values are damaged, or need a dictionary without a number, which no frame
        /// names.
        var isUndecodable: Bool { if case .decoding = defect { true } else { false } }
    }

    public let file: String
    public let rule: Rule
    /// Tensors whose values are in a broken frame.
    public let tensors: [String]

    public init(_ file: String, _ rule: Rule, tensors: [String] = []) {
        (self.file, self.rule, self.tensors) = (file, rule, tensors)
    }

    public var category: DiagnosticCategory { .badData }

    public var description: String {
        guard !tensors.isEmpty else { return "\(file.printable): \(reason)" }
        let names = tensors.prefix(3).map { "'\($0.printable)'" }.joined(separator: ", ")
        let rest = tensors.count > 3 ? " and \(tensors.count - 3) more" : ""
        return "\(file.printable): \(reason); it holds \(names)\(rest)"
    }

    private var reason: String {
        switch rule {
        case .foreign(let content): "is \(content.description)"
        case .unfinished(let marker): UnfinishedDownload.reason(marker)
        case .notArchive: "not a zstd archive: no frame at its beginning"
        case .tableMissing: "is truncated: there is a manifest, but no seek table after it"
        case .tableWithoutChecksums: "seek table has no checksums"
        case .tableReservedBits(let bits):
            "seek table descriptor \(hex(bits)) has reserved bits set"
        case .frameCount(let count):
            "seek table lists \(count) frames, not 1 to \(ArchiveLimits.frameCount)"
        case .tableOutsideFile(let frames): "seek table of \(frames) frames does not fit the file"
        case .tableMagic(let magic): "seek table starts with \(hex(magic))"
        case .tableLength(let length): "seek table's length \(length) is not that of its entries"
        case .compressedSum(let described, let present):
            "seek table describes \(described) bytes of frames, but \(present) are present"
        case .frameTooLarge(let frame, let count):
            "frame \(frame) would unpack to \(count) bytes, over the limit of "
                + "\(frame == 0 ? ArchiveLimits.headerFrameByteCount : ArchiveLimits.frameByteCount)"
        case .expands(let count, let stored):
            "\(stored) bytes would unpack to \(count), far more than weights do"
        case .emptyFrame(let frame): "frame \(frame) is empty; only a manifest at the end may be"
        case .contentTooLarge(let count):
            "would unpack to \(count) bytes, over the limit of \(ArchiveLimits.contentByteCount)"
        case .headerFrame(let described, let present):
            "first frame holds \(present) bytes, the safetensors header in it \(described)"
        case .tensorBoundary(let tensor):
            "frames do not begin and end with tensor '\(tensor.printable)'"
        case .frame(let index, let defect): "frame \(index): \(defect)"
        case .tooLargeForMemory(let count, let present):
            "unpacks to \(count) bytes, but this machine has \(present) bytes of memory"
        case .manifestFrame(let problem): "manifest frame \(problem)"
        case .manifestJSON(let error): "manifest is \(error)"
        case .manifestField(let field): "manifest has no valid \"\(field)\""
        case .format(let name): "manifest is of format \"\(name.printable)\""
        case .version(let version):
            "archive has version \(version.printable), but this program reads 1.x"
        case .profile(let name): "profile \"\(name.printable)\" is not supported"
        case .planes(let what): "list of byte planes is wrong: \(what.printable)"
        case .contradiction(let what): "manifest contradicts the file: \(what.printable)"
        case .noManifest: "archive has no manifest"
        case .hash(let name): "SHA-256 of \(name.printable) is not the one in the manifest"
        case .noTensor(let name): "no tensor '\(name.printable)'"
        }
    }

    public var remedy: String? {
        switch rule {
        case .foreign(let content): content.remedy
        case .unfinished: UnfinishedDownload.remedy
        case .frameTooLarge, .expands:
            "unpack the file with `zstd -d` and give the .safetensors file"
        case .frame(_, let defect) where defect.isOrdinary:
            "unpack the file with `zstd -d` and give the .safetensors file: it is a zstd file from a pipe "
                + "or another program, not an archive"
        case .frame(_, let defect) where defect.defect == .dictionary:
            "unpack the file with `zstd -d -D DICTIONARY` and give the .safetensors file"
        case .frame(_, let defect) where defect.isUndecodable:
            "copy or download the archive again; if it was compressed with a dictionary, unpack it with "
                + "`zstd -d -D DICTIONARY`"
        case .version, .profile: "update sana-tools"
        case .noManifest:
            "unpack into a .safetensors file; only an archive made by convert can be restored as a directory"
        case .tooLargeForMemory: "use a machine with more memory"
        case .noTensor: nil
        default: "copy or download the archive again, or convert the checkpoint again"
        }
    }

    public var page: HelpPage? {
        if case .foreign(let content) = rule { content.page } else { nil }
    }
}

extension ArchiveError.FrameDefect: CustomStringConvertible {
    public var description: String {
        switch defect {
        case .magic(let magic): "starts with \(hex(magic)), which is not a zstd frame"
        case .truncated: "is truncated"
        case .reservedBit: "has a reserved bit set"
        case .dictionary: "needs a dictionary"
        case .contentSizeMissing: "has no content size"
        case .checksumMissing: "has no checksum"
        case .contentSize(let expected, let actual):
            "unpacks to \(actual) bytes, but \(expected) are expected"
        case .compressedSize(let expected, let actual):
            "takes \(actual) bytes, but \(expected) are expected"
        case .tableChecksum(let expected, let actual):
            "has checksum \(hex(actual)), the seek table \(hex(expected))"
        case .decoding(let message): "cannot be decoded: \(message)"
        }
    }
}

private func hex(_ value: some BinaryInteger) -> String { "0x" + String(value, radix: 16) }
