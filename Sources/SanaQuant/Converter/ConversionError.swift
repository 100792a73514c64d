import SanaModel

/// A conversion that cannot be done as asked.
public struct ConversionError: DiagnosticError, Equatable {
    /// What cannot be done, and with which tensor.
    public enum Problem: Sendable, Equatable {
        case sourceIsQuantized(tensor: String, target: ConversionTarget)
        case notConvertible(tensor: String, shape: [Int], rule: String)
        case nameTaken(tensor: String, name: String)
        case nothingToConvert(ConversionTarget)
        case nonFinite(tensor: String, element: Int)
        case configNotObject
        case level(Int)
        case chunkByteCount(Int)
        case tooManyFrames(Int)
        case tooManyShards(Int)
        case shardsInOneFile(Int)
        case outputIsSource
        case headerTooLong(Int)
        case compression(String)
        case readBack(String)
    }

    /// The checkpoint.
    public let file: String
    public let problem: Problem

    public init(_ file: String, _ problem: Problem) {
        (self.file, self.problem) = (file, problem)
    }

    public var category: DiagnosticCategory {
        switch problem {
        case .level, .chunkByteCount, .nothingToConvert, .tooManyShards, .shardsInOneFile,
            .outputIsSource, .notConvertible:
            .usage
        case .compression, .readBack: .inputOutput
        default: .badData
        }
    }

    public var description: String { "\(file.printable): \(reason)" }

    private var reason: String {
        switch problem {
        case .sourceIsQuantized(let tensor, let target):
            "tensor '\(tensor.printable)' is already int8; converting to \(target.rawValue) cannot recover the original values"
        case .notConvertible(let tensor, let shape, let rule):
            "tensor '\(tensor.printable)' of shape \(shape) cannot be converted as \(rule) asks"
        case .nameTaken(let tensor, let name):
            "the scale of '\(tensor.printable)' would be called '\(name.printable)', which is taken"
        case .nothingToConvert(let target): "no tensor would become \(target.rawValue)"
        case .nonFinite(let tensor, let element):
            "tensor '\(tensor.printable)' holds NaN or infinity, first at element \(element)"
        case .configNotObject: "config.json is not a JSON object"
        case .level(let level): "compression level \(level) is not in \(ZstdFrame.levels)"
        case .chunkByteCount(let count):
            "frames of \(count) bytes: must be a multiple of 8 in \(ArchiveLimits.chunkByteCounts)"
        case .tooManyFrames(let count):
            "\(count) frames are over the format's limit of \(ArchiveLimits.frameCount)"
        case .tooManyShards(let count):
            "\(count) shards are over the limit of \(ConversionWork.maximumFileCount)"
        case .shardsInOneFile(let count): "one file cannot hold \(count) shards"
        case .outputIsSource: "is what would be converted"
        case .headerTooLong(let count):
            "the safetensors header of \(count) bytes is over the limit of \(SafetensorsHeader.maximumByteCount)"
        case .compression(let text): "zstd failed: \(text)"
        case .readBack(let text): "the output differs when read back: \(text)"
        }
    }

    public var remedy: String? {
        switch problem {
        case .sourceIsQuantized: "convert from the float checkpoint it was made from"
        case .nothingToConvert(.fp16):
            "fp16 would change every tensor too much; convert them anyway with --allow-rounding, or use another --dtype"
        case .nothingToConvert: "give the transformer of a Sana model, or another --dtype"
        case .nonFinite:
            "restore the checkpoint from its repository, or keep such tensors as they are with --allow-nonfinite"
        case .nameTaken: "rename the tensor, or keep it with a rule"
        case .notConvertible: "narrow the rule to tensors that can be converted to this type"
        case .tooManyFrames: "use larger frames"
        case .tooManyShards: "raise --max-shard-size"
        case .shardsInOneFile: "give a directory as --output, or raise --max-shard-size"
        case .outputIsSource: "choose another --output"
        case .readBack: "check the disk and the memory of this machine"
        default: nil
        }
    }

    public var page: HelpPage? {
        switch problem {
        case .nonFinite: .nonFinite
        case .nothingToConvert(.fp16): .bf16
        default: nil
        }
    }
}
