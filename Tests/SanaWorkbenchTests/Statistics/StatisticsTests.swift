import SanaModel
import Testing

@testable import SanaWorkbench

/// Reference values are scipy 1.x's and numpy's.
struct StatisticsTests {
    @Test func quantilesAndSpread() {
        let values: [Double] = [40, 10, 30, 20, 15, 12, 90]
        #expect(values.median == 20)
        #expect(values.medianAbsoluteDeviation == 10)
        #expect(abs(values.quantile(0.95) - 75) < 1e-9)
        #expect([Double]().median.isNaN)
        #expect([3.0].quantile(0.9) == 3)
    }

    /// scipy 1.17: `t.sf(t, df)` and `t.isf(p, df)`.
    @Test func studentsTailsAndQuantiles() {
        let tails: [(Double, Double, Double)] = [
            (1, 1, 0.25000000000000006), (2.5, 4, 0.03338327240599407),
            (3.7, 11.2, 0.0016993616661823633), (-1.2, 7, 0.8654140315863967), (0, 3, 0.5),
        ]
        for (t, freedom, tail) in tails {
            #expect(abs(StudentT.upperTail(t, freedom) - tail) < 1e-12, "\(t), \(freedom)")
        }
        let quantiles: [(Double, Double, Double)] = [
            (0.00135, 11, 3.8498926780143545), (0.025, 4, 2.7764451051977943),
            (0.0001, 11.2, 5.411308252610554), (0.00135, 4, 6.62007155118839),
        ]
        for (tail, freedom, t) in quantiles {
            #expect(
                abs(StudentT.quantile(upperTail: tail, freedom) - t) < 1e-9, "\(tail), \(freedom)")
        }
    }

    /// numpy: `2.2219 * factor * sorted(pdist(x))[h * (h - 1) // 2 - 1]`, `h = n // 2 + 1`.
    @Test func qnIsARobustStandardDeviation() {
        let values: [Double] = [3, 5.5, -1.2, 2.4, 4.1, 6.3, 1.1, 7, -2.2, 8]
        func near(_ values: [Double], _ expected: Double) -> Bool {
            RobustSpread.qn(values).map { abs($0 - expected) < 1e-9 } ?? false
        }
        #expect(near(values, 4.02518115942029))
        #expect(near(Array(values[..<5]), 2.625397040000001))
        #expect(near([1, 2], 0.8865381000000001))
        #expect(near(Array(values[..<9]) + [1e9], 4.830217391304347))
        #expect(near(values + [0.5], 3.7449766129032263))
        #expect(RobustSpread.qn([1]) == nil)
        // Of normal values it is the standard deviation, whatever their number.
        var generator = NormalGenerator(seed: 7)
        for count in [3, 5, 10, 20] {
            let mean = (0..<4000).reduce(0.0) { sum, _ in
                sum + (RobustSpread.qn((0..<count).map { _ in Double(generator.next()) }) ?? 0)
            }
            #expect(abs(mean / 4000 - 1) < 0.04, "\(count)")
        }
    }

    @Test func smallShiftsAddUp() {
        let quiet = Cusum((0..<200).map { $0 % 2 == 0 ? 1.0 : -1 })
        #expect(!quiet.isAlarm)
        #expect(quiet.start == nil)
        let shifted = Cusum([0, 0, 0] + Array(repeating: 2, count: 11))
        #expect(shifted.isAlarm)
        #expect(shifted.start == 3)
        #expect(!Cusum(Array(repeating: 2, count: 10)).isAlarm)
        // One odd night is none.
        #expect(!Cusum([0, 1000, 0, 0]).isAlarm)
    }

    @Test func bootstrapIsTheSameInEveryRunAndHoldsTheMedian() throws {
        let values = (0..<25).map { Double($0 * 7 % 25) }
        let interval = try #require(Bootstrap.median(of: values))
        #expect(interval == Bootstrap.median(of: values))
        #expect(interval.low < 12)
        #expect(interval.high > 12)
        // numpy's percentile bootstrap of the same median gives 7 and 17, one rank either way.
        #expect(abs(interval.low - 7) <= 1)
        #expect(abs(interval.high - 17) <= 1)
        #expect(Bootstrap.median(of: [1]) == nil)
        #expect(Bootstrap.median(of: [2, 2, 2]) == Interval(low: 2, high: 2))
        let ratio = try #require(
            Bootstrap.ratioOfMedians(values.map { $0 * 3 + 3 }, to: [1, 1, 1]))
        #expect(ratio.low < 39)
        #expect(ratio.high > 39)
    }

    @Test func smallSamplesWithoutTiesAreCountedOut() {
        let disjoint = MannWhitney(larger: [7, 8, 9, 10, 11], smaller: [1, 2, 3, 4, 5])
        #expect(disjoint.u == 25)
        #expect(abs(disjoint.pValue - 0.003968253968253968) < 1e-15)
        let mixed = MannWhitney(
            larger: [5.1, 4.2, 6.3, 8.8, 7.7, 9.1], smaller: [4.9, 3.8, 6.1, 5.0, 2.2, 7.0, 1.5])
        #expect(mixed.u == 35)
        #expect(abs(mixed.pValue - 0.02564102564102564) < 1e-15)
        #expect(MannWhitney(larger: [], smaller: [1]).pValue == 1)
        #expect(MannWhitney(larger: [1], smaller: [2]).pValue == 1)
    }

    @Test func tiesAndLargeSamplesAreApproximated() {
        let ties = MannWhitney(larger: [3, 3, 4, 5, 5, 6, 7], smaller: [1, 2, 3, 3, 4, 4, 5])
        #expect(ties.u == 38)
        #expect(abs(ties.pValue - 0.045043047568075936) < 1e-12)
        let partial = MannWhitney(
            larger: [1.5, 2.5, 3.5, 4.5], smaller: [1, 2, 3, 4, 5, 6, 7, 8])
        #expect(partial.u == 10)
        #expect(abs(partial.pValue - 0.8585858585858586) < 1e-12)
        let a = [
            12.441, 7.844, 10.818, 9.832, 9.947, 10.184, 8.38, 10.168, 9.535, 13.723, 10.626,
            10.047, 10.119, 9.732, 9.345, 10.009, 10.882, 10.161, 11.358, 10.2, 10.424, 11.946,
            10.945, 9.895, 10.217,
        ]
        let b = [
            10.541, 11.935, 9.73, 9.756, 11.002, 9.114, 9.708, 10.883, 10.58, 10.092, 10.67, 7.172,
            11.021, 9.04, 8.331, 10.276, 10.701, 9.555, 8.924, 10.026, 9.947, 11.406, 10.747,
            10.194, 11.112, 9.794, 9.074, 10.584, 10.583, 9.785,
        ]
        let large = MannWhitney(larger: a, smaller: b)
        #expect(large.u == 408.5)
        #expect(abs(large.pValue - 0.2884864282568347) < 1e-9)
        #expect(MannWhitney(larger: [1, 1], smaller: [1, 1, 1]).pValue == 1)
    }

    @Test func signedRanksWithoutTiesAreCountedOut() {
        let all = Wilcoxon((1...11).map(Double.init))
        #expect(all.rankSum == 66)
        #expect(abs(all.pValue - 0.00048828125) < 1e-15)
        let mixed: [Double] = [3, 5.5, -1.2, 2.4, 4.1, 6.3, 1.1, 7, -2.2, 8]
        #expect(Wilcoxon(mixed).rankSum == 50.0)
        #expect(abs(Wilcoxon(mixed).pValue - 0.009765625) < 1e-15)
        #expect(Wilcoxon([]).pValue == 1)
        #expect(Wilcoxon([0, 0]).pValue == 1)
        #expect(Wilcoxon.fewestPairs(level: 0.001) == 10)
        #expect(Wilcoxon(Array(repeating: 1, count: 10)).rankSum == 55)
        #expect(Wilcoxon((1...10).map(Double.init)).pValue <= 0.001)
        #expect(Wilcoxon((1...9).map(Double.init)).pValue > 0.001)
    }

    @Test func signedRanksWithTiesOrManyAreApproximated() {
        let tied: [Double] = [1, 1, 2, -1, 3, 3, -2, 4, 4, 4, 5, 0, 0]
        #expect(Wilcoxon(tied).rankSum == 59.5)
        #expect(abs(Wilcoxon(tied).pValue - 0.010084509626203901) < 1e-12)
        let many = (0..<80).map { Double($0 * 37 % 101) - 40.25 }
        #expect(Wilcoxon(many).rankSum == 2180.0)
        #expect(abs(Wilcoxon(many).pValue - 0.0036425516434552456) < 1e-12)
    }

    @Test func hodgesLehmannIsTheMedianOfMeans() throws {
        let mixed: [Double] = [3, 5.5, -1.2, 2.4, 4.1, 6.3, 1.1, 7, -2.2, 8]
        let estimate = HodgesLehmann(mixed)
        #expect(abs(estimate.estimate - 3.4) < 1e-12)
        // The ends beyond which Wilcoxon's test of a shift is significant at 5 %.
        #expect(try #require(estimate.interval) == Interval(low: 0.6, high: 6.25))
        #expect(HodgesLehmann([2]).estimate == 2)
        #expect(HodgesLehmann([2]).interval == nil)
        let outlier = HodgesLehmann([1, 1, 1, 1, 1, 1, 1, 1, 1e9])
        #expect(outlier.estimate == 1)
    }

    @Test func holmStopsAtTheFirstThatIsNot() {
        #expect(Holm.cutoff([0.001, 0.04, 0.03, 0.2], level: 0.05) == 0.001)
        #expect(Holm.cutoff([0.01, 0.02, 0.03], level: 0.05) == 0.03)
        #expect(Holm.cutoff([0.5], level: 0.05) == 0)
        #expect(Holm.cutoff([], level: 0.05) == 0)
    }

    @Test func stepsAreFoundWhereTheyAreAndOddNightsAreNone() {
        var random = SplitMix64(seed: 5)
        func noise() -> Double { Double(random.next() % 1000) / 1000 - 0.5 }
        let values = (0..<60).map { ($0 < 25 ? 100.0 : $0 < 45 ? 110 : 104) + noise() }
        let pieces = StepDetection.pieces(values)
        #expect(pieces.map(\.range) == [0..<25, 25..<45, 45..<60])
        #expect(zip(pieces, [100.0, 110, 104]).allSatisfy { abs($0.level - $1) < 0.5 })
        var odd = (0..<40).map { _ in 100 + noise() }
        odd[17] = 250
        #expect(StepDetection.pieces(odd).map(\.range) == [0..<40])
        #expect(StepDetection.pieces([]).isEmpty)
        #expect(StepDetection.pieces([1, 5]).map(\.range) == [0..<2])
        #expect(StepDetection.pieces(Array(repeating: 3, count: 30)).count == 1)
        // Only the newest part of a very long history is looked at.
        let long = StepDetection.pieces(Array(repeating: 1, count: 350) + [2, 2, 2, 2])
        #expect(long.map(\.range) == [54..<350, 350..<354])
    }
}
