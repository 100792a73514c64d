import CSanaKernels
import SanaModel

/// A value that no target can hold: NaN or infinity, by its index.
struct NonFiniteValue: Error, Equatable {
    let element: Int
}

/// Conversions of raw values, a bounded run at a time.
enum Codec {
    /// `nonisolated(unsafe)`: the tables are constants of the C library.
    nonisolated(unsafe) static let kernels: sk_kernels = sk_kernels_best().pointee

    /// Values that are widened at once.
    static let blockCount = 1 << 14

    /// Two blocks of floats: source values, and what they became.
    final class Scratch: @unchecked Sendable {
        let reference = FloatBuffer(count: blockCount)
        let actual = FloatBuffer(count: blockCount)
        /// A block of 16-bit values.
        let halves = RawMemory(count: 2 * blockCount)
        /// A block of int8 values.
        let integers = UnsafeMutablePointer<Int8>.allocate(capacity: blockCount)

        deinit { integers.deallocate() }
    }

    /// Largest finite number of a float type.
    static func largestFinite(_ dtype: DType) -> Float {
        switch dtype {
        case .f16: 65504
        case .bf16: Float(bitPattern: 0x7F7F_0000)
        default: .greatestFiniteMagnitude
        }
    }

    // MARK: Float types

    /// Checks that values are finite; those of types that are no float weights pass.
    ///
    /// - Throws: `NonFiniteValue`, the element counted from `source`.
    static func checkFinite(
        _ source: UnsafeRawBufferPointer, _ dtype: DType, _ scratch: Scratch
    ) throws(NonFiniteValue) {
        guard dtype.isFloatWeight else { return }
        let count = source.count / (dtype.bitWidth / 8)
        if let start = source.baseAddress, let maximum = maximum16(start, dtype, count),
            maximum.isFinite
        {
            return
        }
        for start in stride(from: 0, to: count, by: blockCount) {
            try widen(source, dtype, start, min(blockCount, count - start), scratch)
        }
    }

    /// Converts between float types: to nearest even, saturating at the largest finite number.
    ///
    /// - Parameters:
    ///   - source: values of `from`.
    ///   - target: as many values of `to`.
    /// - Throws: `NonFiniteValue`, the element counted from `source`.
    static func cast(
        _ source: UnsafeRawBufferPointer, from: DType, _ target: UnsafeMutableRawBufferPointer,
        to: DType, _ scratch: Scratch
    ) throws(NonFiniteValue) -> ConversionStatistics {
        var statistics = ConversionStatistics()
        let (width, limit) = (to.bitWidth / 8, largestFinite(to))
        guard let start = target.baseAddress else { return statistics }
        let (reference, actual) = (scratch.reference.pointer, scratch.actual.pointer)
        let total = target.count / width
        for first in stride(from: 0, to: total, by: blockCount) {
            let count = min(blockCount, total - first)
            let maximum = try widen(source, from, first, count, scratch)
            let output = start + first * width
            var values = reference
            if maximum > limit {
                actual.update(from: reference, count: count)
                kernels.clip(actual, limit, count)
                values = actual
            }
            narrow(values, to, output, count)
            widen(UnsafeRawPointer(output), to, actual, count)
            statistics.add(actual: actual, reference: reference, count: count, limit: limit)
        }
        return statistics
    }

    /// Converts to a 16-bit type and keeps one byte of every value.
    ///
    /// - Parameters:
    ///   - plane: 0 for the low bytes, 1 for the high ones.
    ///   - target: as many bytes as there are values.
    /// - Returns: what conversion did to the values, the same for both planes.
    /// - Throws: `NonFiniteValue`, the element counted from `source`.
    static func castPlane(
        _ plane: Int, _ source: UnsafeRawBufferPointer, from: DType,
        _ target: UnsafeMutableRawBufferPointer, to: DType, mustBeFinite: Bool, _ scratch: Scratch
    ) throws(NonFiniteValue) -> ConversionStatistics {
        var statistics = ConversionStatistics()
        guard let start = target.baseAddress?.assumingMemoryBound(to: UInt8.self) else {
            return statistics
        }
        let width = from.bitWidth / 8
        for first in stride(from: 0, to: target.count, by: blockCount) {
            let count = min(blockCount, target.count - first)
            let values = source.part(first * width, count * width)
            do throws(NonFiniteValue) {
                if from == to {
                    if mustBeFinite { try checkFinite(values, from, scratch) }
                    statistics.addUnchanged(count)
                } else {
                    statistics.merge(
                        try cast(
                            values, from: from, scratch.halves.first(2 * count), to: to, scratch))
                }
            } catch { throw NonFiniteValue(element: first + error.element) }
            let halves =
                from == to ? values.baseAddress : UnsafeRawPointer(scratch.halves.bytes.baseAddress)
            if let halves { kernels.split_plane(halves, Int32(plane), start + first, count) }
        }
        return statistics
    }

    /// Number of values that are NaN or infinite; 0 for types that are no float weights. Pages of
    /// the source are let go behind the count.
    static func nonFiniteCount(in source: ByteView, _ dtype: DType, _ scratch: Scratch) -> Int {
        guard dtype.isFloatWeight else { return 0 }
        let (values, width) = (scratch.reference.pointer, dtype.bitWidth / 8)
        var total = 0
        source.stream { bytes in
            guard let start = bytes.baseAddress else { return }
            for first in stride(from: 0, to: bytes.count / width, by: blockCount) {
                let count = min(blockCount, bytes.count / width - first)
                if let maximum = maximum16(start + first * width, dtype, count),
                    maximum.isFinite
                {
                    continue
                }
                widen(start + first * width, dtype, values, count)
                guard !kernels.absolute_maximum(values, count).isFinite else { continue }
                total += (0..<count).count { !values[$0].isFinite }
            }
        }
        return total
    }

    // MARK: int8

    /// The scale of every row: absmax / 127, or 1 where all values are zero or too small to divide
    /// by. Pages of the source are let go behind it.
    ///
    /// - Throws: `NonFiniteValue`, the element counted from the tensor's first.
    static func rowScales(
        of source: ByteView, _ dtype: DType, rows: Int, _ scratch: Scratch
    ) throws(NonFiniteValue) -> FloatBuffer {
        let scales = FloatBuffer(count: rows)
        let width = dtype.bitWidth / 8
        let columns = source.count / width / max(rows, 1)
        var (first, row, column, maximum) = (0, 0, 0, Float(0))
        try source.stream { (bytes) throws(NonFiniteValue) in
            let end = bytes.count / width
            var element = 0
            while element < end {
                let count = min(blockCount, columns - column, end - element)
                let largest = bytes.baseAddress.flatMap {
                    maximum16($0 + element * width, dtype, count)
                }
                if let largest, largest.isFinite {
                    maximum = max(maximum, largest)
                } else {
                    do throws(NonFiniteValue) {
                        maximum = max(maximum, try widen(bytes, dtype, element, count, scratch))
                    } catch { throw NonFiniteValue(element: first + error.element) }
                }
                (element, column) = (element + count, column + count)
                guard column == columns else { continue }
                var scale = maximum / 127
                // The product must not round up to infinity.
                if !(scale * 127).isFinite { scale = scale.nextDown }
                scales.pointer[row] = scale > 0 && (1 / scale).isFinite ? scale : 1
                (row, column, maximum) = (row + 1, 0, 0)
            }
            first += end
        }
        return scales
    }

    /// Rounds the values from `first` on to q = w / scale of their row, ties to even.
    ///
    /// - Parameters:
    ///   - source: the whole tensor.
    ///   - target: as many bytes as values to convert; they need not begin or end with a row.
    /// - Throws: `NonFiniteValue`, the element counted from the tensor's first.
    static func quantize(
        _ source: UnsafeRawBufferPointer, _ dtype: DType, from first: Int, columns: Int,
        scales: FloatBuffer, _ target: UnsafeMutableRawBufferPointer, _ scratch: Scratch
    ) throws(NonFiniteValue) -> ConversionStatistics {
        var statistics = ConversionStatistics()
        guard let start = target.baseAddress?.assumingMemoryBound(to: Int8.self) else {
            return statistics
        }
        let (reference, actual) = (scratch.reference.pointer, scratch.actual.pointer)
        let end = first + target.count
        var element = first
        while element < end {
            // A block may hold several rows, so that short rows cost no more than long ones.
            let count = min(blockCount, end - element)
            try widen(source, dtype, element, count, scratch)
            var done = 0
            while done < count {
                let row = (element + done) / columns
                let run = min(count - done, (row + 1) * columns - element - done)
                let (scale, output) = (scales.pointer[row], start + (element - first + done))
                kernels.quantize_i8(reference + done, 1 / scale, output, run)
                kernels.widen_i8(output, scale, actual + done, run)
                // What rounds to more than ±127 is clipped to it, which absmax never does.
                statistics.add(
                    actual: actual + done, reference: reference + done, count: run,
                    limit: min(127.5 * scale, .greatestFiniteMagnitude))
                done += run
            }
            element += count
        }
        return statistics
    }

    // MARK: Pieces

    /// Widens finite values of a row from `first` on, a block at most, into `scratch.reference`.
    static func widenRow(
        _ row: UnsafeRawBufferPointer, _ dtype: DType, _ first: Int, _ scratch: Scratch
    ) {
        let width = dtype.bitWidth / 8
        guard let start = row.baseAddress else { return }
        widen(
            start + first * width, dtype, scratch.reference.pointer,
            min(blockCount, row.count / width - first))
    }

    /// Widens values into `scratch.reference`.
    ///
    /// - Returns: the largest magnitude.
    @discardableResult
    private static func widen(
        _ source: UnsafeRawBufferPointer, _ dtype: DType, _ first: Int, _ count: Int,
        _ scratch: Scratch
    ) throws(NonFiniteValue) -> Float {
        let offset = first * (dtype.bitWidth / 8)
        precondition(count <= blockCount && offset + count * (dtype.bitWidth / 8) <= source.count)
        guard count > 0, let start = source.baseAddress else { return 0 }
        let values = scratch.reference.pointer
        widen(start + offset, dtype, values, count)
        let maximum = kernels.absolute_maximum(values, count)
        guard maximum.isFinite else {
            let index = (0..<count).first { !values[$0].isFinite } ?? 0
            throw NonFiniteValue(element: first + index)
        }
        return maximum
    }

    /// The largest magnitude of 16-bit values, infinite or NaN where one is; `nil` for other types.
    private static func maximum16(
        _ source: UnsafeRawPointer, _ dtype: DType, _ count: Int
    ) -> Float? {
        var (largest, value) = (UInt16(0), Float(0))
        guard dtype == .bf16 || dtype == .f16 else { return nil }
        largest = kernels.largest_magnitude16(source, count)
        widen(&largest, dtype, &value, 1)
        return value
    }

    private static func widen(
        _ source: UnsafeRawPointer, _ dtype: DType, _ target: UnsafeMutablePointer<Float>,
        _ count: Int
    ) {
        switch dtype {
        case .bf16: kernels.widen_bf16(source, target, count)
        case .f16: kernels.widen_f16(source, target, count)
        default: UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: 4 * count)
        }
    }

    private static func narrow(
        _ source: UnsafePointer<Float>, _ dtype: DType, _ target: UnsafeMutableRawPointer,
        _ count: Int
    ) {
        switch dtype {
        case .bf16: kernels.narrow_bf16(source, target, count)
        case .f16: kernels.narrow_f16(source, target, count)
        default: target.copyMemory(from: source, byteCount: 4 * count)
        }
    }
}
