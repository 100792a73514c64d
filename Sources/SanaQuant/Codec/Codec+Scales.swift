import CSanaKernels
import SanaModel

/// How the scale of an int8 weight's output channel is chosen.
public enum Int8Scales: String, Sendable, CaseIterable {
    /// absmax / 127: no value is clipped.
    case absmax
    /// The scale of the smallest squared error that was found; see `Codec.scales`.
    case squaredError = "squared-error"
}

extension Codec {
    /// Multiples of absmax / 127 that are tried: smaller ones clip the largest values and round the
    /// others finer, larger ones only move the grid.
    private static let scaleFactors = (60...110).map { Float($0) / 100 }
    /// Candidates that are refined, and how often.
    private static let (refinedCount, refinementCount) = (4, 4)

    /// The scale of every row, by `method`. Rows that have none of their own (see `rowScales`) keep
    /// 1.
    ///
    /// The squared error of a row has many minima. Best of a grid of scales, and of the scales that
    /// fit what these round to in the least squares; no row's error is larger than with absmax.
    /// That makes no smaller error of the model's output: on sana-digits it is larger on most
    /// inputs (`fixtures/compare_scales.py`), hence absmax is the default.
    ///
    /// - Throws: `NonFiniteValue`, the element counted from the tensor's first.
    static func scales(
        _ method: Int8Scales, of source: ByteView, _ dtype: DType, rows: Int, _ scratch: Scratch
    ) throws(NonFiniteValue) -> FloatBuffer {
        let scales = try rowScales(of: source, dtype, rows: rows, scratch)
        let rowByteCount = source.count / max(rows, 1)
        guard method == .squaredError, rowByteCount > 0 else { return scales }
        // Pages are let go by the stretch, since neighbouring rows share them.
        var released = 0
        for row in 0..<rows {
            let values = source.slice(row * rowByteCount, rowByteCount)
            scales.pointer[row] = values.withUnsafeBytes {
                bestScale(of: $0, dtype, from: scales.pointer[row], scratch)
            }
            let end = (row + 1) * rowByteCount
            if end - released >= 4 << 20 || row == rows - 1 {
                source.slice(released, end - released).releasePages()
                released = end
            }
        }
        return scales
    }

    /// A scale with its squared error, and the one that fits what it rounds to.
    private struct Candidate {
        let scale: Float
        let error: Double
        let fitted: Float
    }

    /// The best scale for one row of finite values.
    private static func bestScale(
        of row: UnsafeRawBufferPointer, _ dtype: DType, from absmax: Float, _ scratch: Scratch
    ) -> Float {
        let isWidened = row.count / (dtype.bitWidth / 8) <= blockCount
        if isWidened { widenRow(row, dtype, 0, scratch) }
        func measure(_ scale: Float) -> Candidate? {
            // The largest product must not overflow, nor the inverse.
            guard scale > 0, (1 / scale).isFinite, (scale * 127).isFinite else { return nil }
            return candidate(scale, row, dtype, isWidened: isWidened, scratch)
        }
        guard var best = measure(absmax), best.error > 0 else { return absmax }
        var found = scaleFactors.compactMap { measure(absmax * $0) }
        found.sort { ($0.error, $0.scale) < ($1.error, $1.scale) }
        for var candidate in [best] + found.prefix(refinedCount) {
            if candidate.error < best.error { best = candidate }
            for _ in 0..<refinementCount {
                guard let next = measure(candidate.fitted), next.error < candidate.error else {
                    break
                }
                candidate = next
                if candidate.error < best.error { best = candidate }
            }
        }
        return best.scale
    }

    /// Rounds a row with `scale`, just as `quantize` does, and measures the error.
    private static func candidate(
        _ scale: Float, _ row: UnsafeRawBufferPointer, _ dtype: DType, isWidened: Bool,
        _ scratch: Scratch
    ) -> Candidate {
        var sums = sk_comparison()
        let total = row.count / (dtype.bitWidth / 8)
        let integers = scratch.integers
        for first in stride(from: 0, to: total, by: blockCount) {
            let count = min(blockCount, total - first)
            if !isWidened { widenRow(row, dtype, first, scratch) }
            let (reference, actual) = (scratch.reference.pointer, scratch.actual.pointer)
            kernels.quantize_i8(reference, 1 / scale, integers, count)
            kernels.widen_i8(integers, scale, actual, count)
            kernels.compare(actual, reference, count, &sums)
        }
        let fit = sums.squared_actual > 0 ? sums.product / sums.squared_actual : 1
        return Candidate(
            scale: scale, error: sums.squared_difference, fitted: Float(Double(scale) * fit))
    }
}
