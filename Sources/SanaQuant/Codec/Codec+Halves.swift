import CSanaKernels
import SanaModel

/// What fp16 would do to the values of a tensor.
struct HalfRounding: Equatable {
    /// BF16 values that fp16 does not hold exactly: those below 2⁻¹⁷ with more digits than are left
    /// there, and those beyond 65504. Of F32 values only the latter. NaN does not count.
    var inexact = 0
    /// Whether a value is beyond 65504, and would be clipped.
    var overflows = false
    /// Whether ‖a − r‖₂ / ‖r‖₂ of the rounded a and the source r is over the limit.
    var isLarge = false
}

extension Codec {
    /// Largest relative RMS with which fp16 may round a BF16 tensor unasked. Real weights stay at
    /// about 1e-8, a hundredth of what one rounding of an activation to fp32 costs over a forward.
    static let negligibleRMS = 1e-6
    /// Largest error of rounding a value that fp16 holds as a subnormal number: half of 2⁻²⁴.
    private static let halfStep = 0x1p-25

    /// Measures what fp16 would do to `source`; nothing for types other than BF16 and F32.
    ///
    /// Pages of the source are let go behind the count. The error is bounded by the number of
    /// values that change, and measured only until the bound is under the limit.
    static func halfRounding(
        of source: ByteView, _ dtype: DType, _ scratch: Scratch
    ) -> HalfRounding {
        guard dtype != .f32 else { return overflow(inF32: source) }
        var result = HalfRounding()
        guard dtype == .bf16 else { return result }
        var largest = Float(0)
        source.stream { bytes in
            guard let start = bytes.baseAddress else { return }
            result.inexact += kernels.inexact_f16_of_bf16(start, bytes.count / 2)
            let bits = UInt32(kernels.largest_magnitude16(start, bytes.count / 2)) << 16
            largest = max(largest, Float(bitPattern: bits))
        }
        result.overflows = largest > largestFinite(.f16)
        result.isLarge =
            result.overflows || result.inexact > 0 && !isNegligible(result.inexact, source, scratch)
        return result
    }

    private static func overflow(inF32 source: ByteView) -> HalfRounding {
        var result = HalfRounding()
        let limit = largestFinite(.f16)
        source.stream { bytes in
            let values = bytes.bindMemory(to: Float.self)
            guard let start = values.baseAddress,
                !(kernels.absolute_maximum(start, values.count) <= limit)
            else { return }
            result.inexact += values.count { abs($0) > limit && $0.isFinite }
        }
        result.overflows = result.inexact > 0
        return result
    }

    /// Whether rounding all values to fp16 keeps the relative RMS within the limit.
    private static func isNegligible(
        _ inexact: Int, _ source: ByteView, _ scratch: Scratch
    ) -> Bool {
        let worst = Double(inexact) * halfStep * halfStep
        let limit = negligibleRMS * negligibleRMS
        var sums = ConversionStatistics()
        for first in stride(from: 0, to: source.count, by: 2 * blockCount) {
            let part = source.slice(first, min(2 * blockCount, source.count - first))
            let statistics = part.withUnsafeBytes { bytes in
                try? cast(
                    bytes, from: .bf16, scratch.halves.first(bytes.count), to: .f16, scratch)
            }
            // Values that are not finite are not a matter of rounding.
            guard let statistics else { return false }
            sums.merge(statistics)
            part.releasePages()
            if worst <= limit * sums.squaredReference { return true }
        }
        return sums.relativeRMS <= negligibleRMS
    }
}
