import CSanaKernels

/// The values of a stored tensor as numbers: floats widened, int8 weights times their scale.
public struct StoredValues: Sendable {
    private let bytes: ByteView
    let dtype: DType
    /// Of every row, for int8.
    private let scale: FloatBuffer?
    /// Values in a row.
    private let columns: Int
    public let count: Int

    /// Longest run that can be compared at once.
    static let blockCount = 1 << 16

    /// Floats, and int8 with a scale `[rows, 1, …]`; `nil` for everything else.
    ///
    /// - Throws: errors of the source.
    public init?(_ tensor: TensorInfo, scale: TensorInfo?, in source: any TensorSource) throws {
        let rows = tensor.shape.first ?? 1
        if tensor.dtype == .i8, let scale, scale.dtype.isFloatWeight, scale.elementCount == rows {
            self.scale = try source.bytes(of: scale).widened(from: scale.dtype)
        } else if tensor.dtype.isFloatWeight {
            self.scale = nil
        } else {
            return nil
        }
        (dtype, count) = (tensor.dtype, tensor.elementCount)
        columns = rows > 0 ? tensor.elementCount / rows : 0
        bytes = try source.bytes(of: tensor)
    }

    /// Compares with as many values of another tensor; memory does not grow with their number.
    public func compare(with reference: StoredValues) -> ErrorSums {
        precondition(count == reference.count)
        let size = min(count, Self.blockCount)
        let (ours, theirs) = (FloatBuffer(count: size), FloatBuffer(count: size))
        return ErrorSums { compare in
            for start in stride(from: 0, to: count, by: Self.blockCount) {
                let range = start..<min(start + Self.blockCount, count)
                widen(range, to: ours.pointer)
                reference.widen(range, to: theirs.pointer)
                compare(
                    UnsafeBufferPointer(start: ours.pointer, count: range.count), theirs.pointer)
            }
        }
    }

    /// Gives back the memory of a mapped file's pages: of a whole stretch at once, which drops what
    /// the first touches of neighbouring stretches had mapped again.
    public func releasePages(_ range: Range<Int>) {
        let width = dtype.bitWidth / 8
        bytes.slice(range.lowerBound * width, range.count * width).releasePages()
    }

    func widen(_ range: Range<Int>, to target: UnsafeMutablePointer<Float>) {
        let source = bytes.slice(
            range.lowerBound * (dtype.bitWidth / 8), range.count * (dtype.bitWidth / 8))
        switch dtype {
        case .bf16: Kernels.best.widen_bf16(source.address, target, range.count)
        case .f16: Kernels.best.widen_f16(source.address, target, range.count)
        case .i8:
            var index = range.lowerBound
            while index < range.upperBound, let scale {
                let row = index / columns
                let run = min((row + 1) * columns, range.upperBound) - index
                let offset = index - range.lowerBound
                Kernels.best.widen_i8(
                    (source.address + offset).assumingMemoryBound(to: Int8.self),
                    scale.pointer[row], target + offset, run)
                index += run
            }
        default:
            UnsafeMutableRawPointer(target).copyMemory(
                from: source.address, byteCount: 4 * range.count)
        }
        source.releasePages()
    }
}
