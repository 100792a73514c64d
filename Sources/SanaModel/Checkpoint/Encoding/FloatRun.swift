/// Floats that are widened a run at a time, so that those of a whole tensor need no memory besides
/// that of its file.
enum FloatRun: Sendable {
    case stored(ByteView, DType)
    /// Values that were made of something else.
    case made(FloatBuffer)

    /// Calls `body` with the values `range`: in place where they are stored so.
    func withValues(_ range: Range<Int>, _ body: (UnsafePointer<Float>) -> Void) {
        switch self {
        case .made(let buffer): body(UnsafePointer(buffer.pointer + range.lowerBound))
        case .stored(let bytes, let dtype):
            let width = dtype.bitWidth / 8
            let part = bytes.slice(range.lowerBound * width, range.count * width)
            if dtype == .f32, Int(bitPattern: part.address) % MemoryLayout<Float>.alignment == 0 {
                return body(part.address.assumingMemoryBound(to: Float.self))
            }
            withUnsafeTemporaryAllocation(of: Float.self, capacity: max(range.count, 1)) { memory in
                guard let start = memory.baseAddress else { return }
                part.widen(from: dtype, into: start)
                body(UnsafePointer(start))
            }
        }
    }
}

extension TensorSource {
    /// The values of a float tensor, which are read as they are asked for.
    ///
    /// - Throws: `BadDataError` for another type.
    func floatRun(_ tensor: TensorInfo, file: String) throws -> FloatRun {
        guard tensor.dtype.isFloatWeight else { return .made(try floats(tensor, file: file)) }
        return .stored(try bytes(of: tensor), tensor.dtype)
    }
}
