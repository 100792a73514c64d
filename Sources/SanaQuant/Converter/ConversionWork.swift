import Crypto
import SanaModel

/// Everything a conversion will touch: source tensors, output tensors and the frames these are cut
/// into.
///
/// Each object is written by one task at a time; the pipeline's steps order them.
struct ConversionWork {
    let layout: ContentLayout
    let sources: [SourceTensor]
    /// Parallel to `layout.tensors`.
    let outputs: [OutputTensor]
    /// In the order of the archive, the header's first.
    let frames: [FrameJob]
    let options: Converter.Options
    /// The checkpoint, for messages.
    let file: String

    /// - Throws: `ConversionError` when the format's limits do not hold it.
    init(
        _ plan: ConversionPlan, source: any TensorSource, options: Converter.Options, file: String
    ) throws(ConversionError) {
        layout = ContentLayout(plan.decisions.flatMap(\.outputs))
        guard layout.headerBytes.count <= ArchiveLimits.headerFrameByteCount else {
            throw ConversionError(
                file, .headerTooLong(layout.headerBytes.count - SafetensorsHeader.lengthByteCount))
        }
        sources = plan.decisions.map { SourceTensor($0, source: source) }
        var outputByName: [String: OutputTensor] = [:]
        for (decision, source) in zip(plan.decisions, sources) {
            for info in decision.outputs {
                outputByName[info.name] = OutputTensor(info, of: source)
            }
        }
        outputs = layout.tensors.compactMap { outputByName[$0.name] }
        let chunk = options.chunkByteCount
        let count = outputs.reduce(1) { $0 + ($1.info.byteCount + chunk - 1) / chunk }
        // The table lists the manifest's frame too.
        guard count < ArchiveLimits.frameCount else {
            throw ConversionError(file, .tooManyFrames(count))
        }
        let header = layout.headerBytes
        var frames = [FrameJob(nil, 0..<header.count, .view(ByteView(header)))]
        for output in outputs {
            output.firstFrame = frames.count
            for start in stride(from: 0, to: output.info.byteCount, by: chunk) {
                frames.append(
                    FrameJob(output, start..<min(start + chunk, output.info.byteCount), nil))
            }
            output.frameCount = frames.count - output.firstFrame
        }
        self.frames = frames
        self.options = options
        self.file = file
    }

    /// Bytes of the safetensors file inside.
    var contentByteCount: Int {
        outputs.reduce(layout.headerBytes.count) { $0 + $1.info.byteCount }
    }

    /// What became of every source tensor.
    var reports: [ConversionResult.Tensor] {
        sources.map {
            ConversionResult.Tensor(
                name: $0.info.name, from: $0.info.dtype, to: $0.decision.outputs[0].dtype,
                reason: $0.decision.reason, statistics: $0.statistics)
        }
    }
}

/// A tensor of the checkpoint on its way into the archive.
final class SourceTensor {
    let decision: ConversionPlan.Decision
    private let source: any TensorSource
    private(set) var bytes = ByteView([])
    /// Scales of the rows, for int8.
    private(set) var scales = FloatBuffer(count: 0)
    private var isPrepared = false
    var hash = SHA256()
    var statistics = ConversionStatistics()

    var info: TensorInfo { decision.tensor }

    init(_ decision: ConversionPlan.Decision, source: any TensorSource) {
        (self.decision, self.source) = (decision, source)
    }

    /// Loads the values and finds the scales, the first time it is called.
    ///
    /// - Throws: errors of the source, or `NonFiniteValue`.
    func prepare(_ scratch: Codec.Scratch) throws {
        guard !isPrepared else { return }
        isPrepared = true
        bytes = try source.bytes(of: info)
        guard decision.conversion == .int8PerChannel else { return }
        scales = try Codec.rowScales(of: bytes, info.dtype, rows: info.shape[0], scratch)
    }

    /// Lets go of the pages behind the values `range`, in bytes.
    func releasePages(_ range: Range<Int>) {
        bytes.slice(range.lowerBound, range.count).releasePages()
    }

    /// Lets go of the values; the scales stay.
    func release() { bytes = ByteView([]) }
}

/// A tensor of the archive.
final class OutputTensor {
    let info: TensorInfo
    let source: SourceTensor
    /// Whether this is the scale that goes with an int8 weight.
    let isScale: Bool
    var firstFrame = 0
    var frameCount = 0
    var hash = SHA256()

    init(_ info: TensorInfo, of source: SourceTensor) {
        (self.info, self.source) = (info, source)
        isScale = info.name != source.info.name
    }

    /// Whether the bytes, and hence their hash, are those of the source.
    var isCopy: Bool { source.decision.conversion == .keep }

    /// The source's bytes that the output's bytes `range` are made from.
    func sourceRange(_ range: Range<Int>) -> Range<Int> {
        if isCopy { return range }
        let (from, to) = (source.info.dtype.bitWidth, info.dtype.bitWidth)
        return range.lowerBound / (to / 8) * (from / 8)..<range.upperBound / (to / 8) * (from / 8)
    }
}

/// One frame of the archive: which bytes it holds, and what has become of them so far.
final class FrameJob {
    /// The bytes before compression.
    enum Content {
        case view(ByteView)
        case memory(UnsafeMutableRawBufferPointer)

        func withUnsafeBytes<Result>(
            _ body: (UnsafeRawBufferPointer) throws -> Result
        ) rethrows -> Result {
            switch self {
            case .view(let bytes): try bytes.withUnsafeBytes(body)
            case .memory(let memory): try body(UnsafeRawBufferPointer(memory))
            }
        }
    }

    /// `nil` for the header's frame.
    let tensor: OutputTensor?
    /// Bytes of the tensor.
    let range: Range<Int>
    var content: Content?
    /// Room for the frame after compression, and how much of it is used.
    var compressed = UnsafeMutableRawBufferPointer(start: nil, count: 0)
    var compressedCount = 0
    var checksum: UInt32 = 0
    var statistics = ConversionStatistics()

    init(_ tensor: OutputTensor?, _ range: Range<Int>, _ content: Content?) {
        (self.tensor, self.range, self.content) = (tensor, range, content)
    }

    /// Memory that `place(in:)` takes.
    var footprint: Int {
        (tensor?.isCopy ?? true ? 0 : Arena.footprint(range.count))
            + Arena.footprint(FrameEncoder.bound(range.count))
    }

    /// Takes memory for the content, unless it is a view of the source, and for what it is
    /// compressed to.
    func place(in arena: Arena) {
        if let tensor, !tensor.isCopy { content = .memory(arena.take(range.count)) }
        compressed = arena.take(FrameEncoder.bound(range.count))
    }
}
