import SanaModel

/// Everything a conversion will touch: source tensors, output tensors and the frames these are cut
/// into.
///
/// Each object is written by one task at a time; the pipeline's steps order them.
struct ConversionWork {
    /// One per file: an archive's content, or shards.
    let layouts: [ContentLayout]
    let sources: [SourceTensor]
    /// In the order of the layouts.
    let outputs: [OutputTensor]
    /// In the order of the files, the header's first in each.
    let frames: [FrameJob]
    /// Output tensors in their own types, in the order they have in a plain file.
    let tensors: [TensorInfo]
    /// Bytes of the safetensors files.
    let contentByteCount: Int
    let options: Converter.Options
    /// The checkpoint, for messages.
    let file: String

    /// Most files that one conversion writes, since all are open until the end.
    static let maximumFileCount = 500

    /// - Throws: `ConversionError` when the format's limits do not hold it.
    init(
        _ plan: ConversionPlan, source: ConversionSource, options: Converter.Options
    ) throws(ConversionError) {
        let file = source.blamed
        (self.options, self.file) = (options, file)
        let plain = plan.decisions.flatMap(\.outputs)
        let kept =
            Self.keptTypes(plan)
            + (source.provenance.map { [.init(ContentLayout.adaptersKey, .string($0.text()))] }
                ?? [])
        let split = options.planes16 ? plain.filter { Planes16.stored($0) != nil } : []
        switch options.container {
        case .archive:
            layouts = [
                ContentLayout(
                    plain.map { options.planes16 ? Planes16.stored($0) ?? $0 : $0 },
                    metadata: kept + (split.isEmpty ? [] : [Planes16.metadata(split)]))
            ]
            tensors = split.isEmpty ? layouts[0].tensors : ContentLayout(plain).tensors
        case .safetensors(let maximum):
            layouts = ContentLayout.shards(
                plan.decisions.map(\.outputs), maximumByteCount: maximum, metadata: kept)
            tensors = layouts.flatMap(\.tensors)
            guard layouts.count <= Self.maximumFileCount else {
                throw ConversionError(file, .tooManyShards(layouts.count))
            }
        }
        for layout in layouts {
            guard layout.headerBytes.count <= ArchiveLimits.headerFrameByteCount else {
                throw ConversionError(
                    file,
                    .headerTooLong(layout.headerBytes.count - SafetensorsHeader.lengthByteCount))
            }
        }
        sources = plan.decisions.map {
            SourceTensor($0, source: source.tensors, scales: options.scales)
        }
        var ownerByName: [String: (source: SourceTensor, plain: TensorInfo)] = [:]
        for (decision, source) in zip(plan.decisions, sources) {
            for info in decision.outputs { ownerByName[info.name] = (source, info) }
        }
        var (outputs, frames): ([OutputTensor], [FrameJob]) = ([], [])
        for (index, layout) in layouts.enumerated() {
            let header = layout.headerBytes
            frames.append(FrameJob(nil, 0..<header.count, .view(ByteView(header)), file: index))
            for stored in layout.tensors {
                guard let owner = ownerByName[stored.name] else { continue }
                let output = OutputTensor(stored, plain: owner.plain, of: owner.source)
                outputs.append(output)
                output.firstFrame = frames.count
                for range in output.frameRanges(chunkByteCount: options.chunkByteCount) {
                    frames.append(FrameJob(output, range, nil, file: index))
                }
                output.frameCount = frames.count - output.firstFrame
            }
        }
        // The table lists the manifest's frame too.
        guard options.container != .archive || frames.count < ArchiveLimits.frameCount else {
            throw ConversionError(file, .tooManyFrames(frames.count))
        }
        (self.outputs, self.frames) = (outputs, frames)
        contentByteCount = layouts.reduce(0) { $0 + $1.byteCount }
    }

    /// The note in a file's metadata that some floats have another type than was asked for, so that
    /// a reader of the file knows that this is meant.
    private static func keptTypes(_ plan: ConversionPlan) -> [JSONValue.Member] {
        guard plan.target != .int8 else { return [] }
        let types = Set(plan.decisions.flatMap(\.outputs).map(\.dtype)).filter {
            $0.isFloatWeight && $0 != plan.target.dtype
        }
        guard !types.isEmpty else { return [] }
        let list = types.map(\.rawValue).sorted().joined(separator: ",")
        return [.init(ContentLayout.keptTypesKey, .string(list))]
    }

    /// What became of every source tensor.
    var reports: [ConversionResult.Tensor] {
        sources.map {
            ConversionResult.Tensor(
                name: $0.info.name, from: $0.info.dtype, to: $0.decision.outputs[0].dtype,
                reason: $0.decision.reason,
                scales: $0.decision.conversion == .int8PerChannel ? options.scales : nil,
                nonFinite: $0.decision.nonFiniteCount,
                fp16Inexact: $0.roundedByFP16, statistics: $0.statistics)
        }
    }
}

/// A tensor of the checkpoint on its way into the archive.
final class SourceTensor {
    let decision: ConversionPlan.Decision
    private let source: any TensorSource
    private let method: Int8Scales
    private(set) var bytes = ByteView([])
    /// Scales of the rows, for int8.
    private(set) var scales = FloatBuffer(count: 0)
    private var isPrepared = false
    var hash = ContentHash()
    var statistics = ConversionStatistics()

    var info: TensorInfo { decision.tensor }
    /// Whether NaN or infinity among the values ends the conversion.
    var mustBeFinite: Bool { decision.nonFiniteCount == 0 }

    /// BF16 values that fp16 would change, for which the tensor was kept, or did change.
    var roundedByFP16: Int {
        let isRounded = info.dtype == .bf16 && decision.outputs[0].dtype == .f16
        return isRounded ? statistics.changed : decision.fp16InexactCount
    }

    init(_ decision: ConversionPlan.Decision, source: any TensorSource, scales: Int8Scales) {
        (self.decision, self.source, method) = (decision, source, scales)
    }

    /// Loads the values and finds the scales, the first time it is called.
    ///
    /// - Throws: errors of the source, or `NonFiniteValue`.
    func prepare(_ scratch: Codec.Scratch) throws {
        guard !isPrepared else { return }
        isPrepared = true
        bytes = try source.bytes(of: info)
        guard decision.conversion == .int8PerChannel else { return }
        scales = try Codec.scales(method, of: bytes, info.dtype, rows: info.shape[0], scratch)
    }

    /// Lets go of the pages behind the values `range`, in bytes.
    func releasePages(_ range: Range<Int>) {
        bytes.slice(range.lowerBound, range.count).releasePages()
    }

    /// Lets go of the values; the scales stay.
    func release() { bytes = ByteView([]) }
}

/// A tensor of the output.
final class OutputTensor {
    /// As the file lists it.
    let info: TensorInfo
    /// In its own type, which differs where it is split into planes.
    let plain: TensorInfo
    let source: SourceTensor
    /// Whether this is the scale that goes with an int8 weight.
    let isScale: Bool
    var firstFrame = 0
    var frameCount = 0
    var hash = ContentHash()

    init(_ info: TensorInfo, plain: TensorInfo, of source: SourceTensor) {
        (self.info, self.plain, self.source) = (info, plain, source)
        isScale = info.name != source.info.name
    }

    /// Whether the values are stored as two planes of bytes.
    var isSplit: Bool { info.dtype != plain.dtype }

    /// Whether the bytes, and hence their hash, are those of the source.
    var isCopy: Bool { source.decision.conversion == .keep && !isSplit }

    /// The bytes of each frame: pieces of a chunk, and none over the border of two planes.
    func frameRanges(chunkByteCount chunk: Int) -> [Range<Int>] {
        let plane = isSplit ? info.byteCount / 2 : info.byteCount
        return (0..<(isSplit ? 2 : 1)).flatMap { index in
            stride(from: 0, to: plane, by: chunk).map {
                index * plane + $0..<index * plane + min($0 + chunk, plane)
            }
        }
    }

    /// Which plane a frame is in; 0 for tensors that are not split.
    func plane(_ range: Range<Int>) -> Int {
        isSplit && range.lowerBound >= info.byteCount / 2 ? 1 : 0
    }

    /// The elements that the bytes `range` of a frame hold, or hold a byte of.
    func elements(_ range: Range<Int>) -> Range<Int> {
        if isSplit {
            let start = plane(range) * (info.byteCount / 2)
            return range.lowerBound - start..<range.upperBound - start
        }
        return range.lowerBound * 8 / info.dtype.bitWidth..<range.upperBound * 8
            / info.dtype.bitWidth
    }

    /// The source's bytes that the bytes `range` of a frame are made from.
    func sourceRange(_ range: Range<Int>) -> Range<Int> {
        if isCopy { return range }
        let (elements, width) = (elements(range), source.info.dtype.bitWidth / 8)
        return elements.lowerBound * width..<elements.upperBound * width
    }
}

/// One frame: which bytes of the output it holds, and what has become of them so far.
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

    /// Index of the file it goes to.
    let file: Int
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

    init(_ tensor: OutputTensor?, _ range: Range<Int>, _ content: Content?, file: Int) {
        (self.tensor, self.range, self.content, self.file) = (tensor, range, content, file)
    }

    /// Memory that `place(in:compresses:)` takes.
    func footprint(compresses: Bool) -> Int {
        (tensor?.isCopy ?? true ? 0 : Arena.footprint(range.count))
            + (compresses ? Arena.footprint(FrameEncoder.bound(range.count)) : 0)
    }

    /// Takes memory for the content, unless it is a view of the source, and for what it is
    /// compressed to.
    func place(in arena: Arena, compresses: Bool) {
        if let tensor, !tensor.isCopy { content = .memory(arena.take(range.count)) }
        if compresses { compressed = arena.take(FrameEncoder.bound(range.count)) }
    }
}
