import Libc
import SanaModel

/// How far values `a` lie from reference values `r`.
///
/// Every statistic is computed; `Metric` names the one that a tolerance bounds. Sums run in fp64 in
/// a fixed order.
package struct Comparison: Sendable, Equatable {
    /// ‖a − r‖₂² / ‖r‖₂²; infinite when only `r` is zero, or when a value is not finite.
    package let relativePower: Double
    /// max |a − r|; infinite when a value is not finite.
    package let maxAbs: Double
    /// Place of the first element that differs by `maxAbs`, in diffusers' layout.
    package let maxAbsIndex: [Int]
    /// Mean of |a − r|; infinite when a value is not finite.
    package let meanAbs: Double
    /// 99 % of all |a − r| are at most this; less than 1 % above the exact quantile.
    package let p99Abs: Double
    /// a · r / (‖a‖ ‖r‖); 1 when both are zero.
    package let cosine: Double
    /// Elements where `a` or `r` is NaN or infinite.
    package let nonfinite: Int
    /// Root mean square of `r`.
    package let goldenRMS: Double
    /// max |r|
    package let goldenMaxAbs: Double
    /// How often the largest magnitude of `a` and `r` fits into fp16, 65504 / max; below 1 it does
    /// not. Infinite for zeros.
    package let fp16Headroom: Double

    /// ‖a − r‖₂ / ‖r‖₂
    package var relativeRMS: Double { relativePower.squareRoot() }
    /// Signal to error in decibels, −10 log₁₀ of the relative power; `nil` when there is no error.
    package var sqnrDecibels: Double? { relativePower > 0 ? -10 * log10(relativePower) : nil }

    /// - Parameter shape: of both tensors, in diffusers' layout.
    package init(_ sums: ErrorSums, shape: [Int]) {
        let (error, signal) = (sums.squaredDifference, sums.squaredReference)
        let isFinite = sums.nonfinite == 0
        let count = Double(max(sums.count, 1))
        relativePower = !isFinite ? .infinity : error == 0 ? 0 : error / signal
        maxAbs = sums.maxDifference
        maxAbsIndex = Self.index(sums.maxIndex, in: shape)
        meanAbs = isFinite ? sums.absoluteDifference / count : .infinity
        p99Abs = sums.p99Difference
        let norms = (sums.squaredActual * signal).squareRoot()
        cosine =
            !isFinite ? 0 : norms > 0 ? sums.product / norms : sums.squaredActual == signal ? 1 : 0
        nonfinite = sums.nonfinite
        goldenRMS = (signal / count).squareRoot()
        goldenMaxAbs = sums.maxReference
        fp16Headroom = 65504 / max(sums.maxActual, sums.maxReference)
    }

    /// The element numbered `flat` in row-major order.
    private static func index(_ flat: Int, in shape: [Int]) -> [Int] {
        var rest = flat
        var index: [Int] = []
        for extent in shape.reversed() {
            index.append(rest % max(extent, 1))
            rest /= max(extent, 1)
        }
        return index.reversed()
    }
}

/// The statistic that a tolerance bounds.
package enum Metric: String, Sendable, CaseIterable {
    /// ‖a − r‖ / ‖r‖: scale-free, for float weights.
    case relativeRMS = "relative_rms"
    /// ‖a − r‖² / ‖r‖²: for quantized weights; a healthy 8-bit model meets 1e-3.
    case relativePower = "relative_power"

    /// For people, with the ratio that it is.
    package var label: String {
        switch self {
        case .relativeRMS: "\(rawValue) ‖a−r‖/‖r‖"
        case .relativePower: "\(rawValue) ‖a−r‖²/‖r‖²"
        }
    }

    /// What bounds a model where nothing else is asked for.
    ///
    /// - Parameter isQuantized: whether its weights are stored quantized, by us or another program.
    package static func usual(isQuantized: Bool) -> Metric {
        isQuantized ? .relativePower : .relativeRMS
    }

    package func value(_ comparison: Comparison) -> Double {
        switch self {
        case .relativeRMS: comparison.relativeRMS
        case .relativePower: comparison.relativePower
        }
    }

    /// The relative RMS that `tolerance` bounds.
    package func relativeRMS(_ tolerance: Double) -> Double {
        switch self {
        case .relativeRMS: tolerance
        case .relativePower: tolerance.squareRoot()
        }
    }

    /// Whether `comparison` keeps `tolerance`: its value is at most that, and all values are
    /// finite.
    ///
    /// Not an element-wise closeness: one wrong element in a large tensor shows in `maxAbs`, not
    /// here.
    package func passes(_ comparison: Comparison, tolerance: Double) -> Bool {
        comparison.nonfinite == 0 && value(comparison) <= tolerance
    }
}
