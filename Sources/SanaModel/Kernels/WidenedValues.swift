import CSanaKernels

extension ByteView {
    /// The values of a float tensor as fp32; `nil` when `dtype` is not F32, F16 or BF16.
    ///
    /// Widening is exact.
    public func widened(from dtype: DType) -> FloatBuffer? {
        guard dtype.isFloatWeight else { return nil }
        let buffer = FloatBuffer(count: count / (dtype.bitWidth / 8))
        widen(from: dtype, into: buffer)
        return buffer
    }

    /// The values of a float tensor as the bytes of an fp32 one.
    func asFloats(_ dtype: DType) -> ByteView {
        ByteView(count: count / (dtype.bitWidth / 8) * MemoryLayout<Float>.stride) { memory in
            guard let start = memory.bindMemory(to: Float.self).baseAddress else { return }
            widen(from: dtype, into: start)
        }
    }

    /// Writes the values of a float tensor as fp32 to the start of `buffer`, which must have room
    /// for them; a caller that reads many tensors keeps one buffer.
    public func widen(from dtype: DType, into buffer: FloatBuffer) {
        let elements = count / (dtype.bitWidth / 8)
        precondition(elements <= buffer.count)
        widen(from: dtype, into: buffer.pointer)
    }

    /// Writes the values of a float tensor as fp32 to `target`, which must have room for them.
    func widen(from dtype: DType, into target: UnsafeMutablePointer<Float>) {
        precondition(dtype.isFloatWeight)
        let elements = count / (dtype.bitWidth / 8)
        switch dtype {
        case .bf16: Kernels.best.widen_bf16(address, target, elements)
        case .f16: Kernels.best.widen_f16(address, target, elements)
        default:
            UnsafeMutableRawPointer(target).copyMemory(
                from: address, byteCount: elements * MemoryLayout<Float>.stride)
        }
    }
}

extension FloatBuffer {
    /// The rows of `columns` floats that the buffer is full of as columns, in new memory.
    func transposed(columns: Int) -> FloatBuffer {
        let result = FloatBuffer(count: count)
        let rows = count / columns
        Kernels.best.transpose(pointer, rows, columns, columns, result.pointer, rows)
        return result
    }
}
