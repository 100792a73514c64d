import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct RunEstimateTests {
    /// scipy.stats.trim_mean(values, 0.2).
    @Test func fifthAtEitherEndDoesNotCount() {
        let values = [0.1, -9, 0.3, 0.2, 50, 0.4, 1.2, 0.5, -7, 80]
        #expect(abs(RunEstimate(trimmedMeanOf: values).logarithm - 0.45) < 1e-12)
    }

    @Test(
        arguments: [([2], 2), ([1, 4], 2.5), ([1, 100, 3], 3), ([0, 1, 2, 900], 1.5)]
            as [([Double], Double)])
    func fewAreAsRobustAsTheyCanBe(_ values: [Double], _ expected: Double) {
        #expect(RunEstimate(trimmedMeanOf: values).logarithm == expected)
    }

    /// What the estimate says of its own error is what estimates of many runs differ by.
    @Test func varianceIsThatOfRunsAlike() {
        var random = SplitMix64(seed: 5)
        let runs = (0..<400).map { _ in
            RunEstimate(
                trimmedMeanOf: (0..<40).map { _ in
                    (0..<12).reduce(-6) { sum, _ in sum + .random(in: 0..<1, using: &random) }
                })
        }
        let seen = runs.reduce(0.0) { $0 + $1.logarithm * $1.logarithm } / 400
        let told = runs.reduce(0.0) { $0 + $1.variance } / 400
        #expect(abs(seen / told - 1) < 0.2, "\(seen) \(told)")
    }
}
