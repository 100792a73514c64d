import Foundation
import SanaModel
import Testing

@testable import SanaWorkbench

struct LatencyGateTests {
    @Test("a module outside the blocks must cost half a percent of the forward")
    func thresholds() {
        let options = GateOptions()
        func threshold(_ path: String, _ share: Double, runs: Int = 1) -> Double {
            options.threshold(path, share: share, runs: runs)
        }
        #expect(threshold("total", 1) == 0.03)
        #expect(threshold("transformer_blocks.0", 0.01) == 0.03)
        #expect(threshold("transformer_blocks.0", 0.01, runs: 3) == 0.025)
        #expect(threshold("transformer_blocks.0.attn1", 0.01) == 0.06)
        #expect(threshold("norm_out", 0.01) == 0.5)
        #expect(threshold("patch_embed", 0.1) == 0.06)
        #expect(threshold("norm_out", 0) > 1e3)
    }

    /// A profile of two blocks on a host of some speed, with noise between runs and within each.
    private func run(
        _ seed: UInt64, slow: [String: Double] = [:], speed: Double = 1, load: Double = 0.01,
        repetitions: Int = 12, between: Double = 0.002, waiting: Double = 1,
        distant: Range<Int> = 0..<0
    ) -> GateSamples {
        var random = SplitMix64(seed: seed)
        func noise(_ size: Double) -> Double {
            1 + (Double(random.next() % 1000) / 1000 - 0.5) * size
        }
        let paths = ["patch_embed", "transformer_blocks.0", "transformer_blocks.1"]
        let layers = zip(paths, [10e6, 45e6, 45e6]).map { path, time in
            let own = noise(3.5 * between)
            let values = (0..<repetitions).map { index in
                let factor = (slow[path] ?? 1) * (slow["total"] ?? 1) / speed
                return time * factor * own * noise(0.01) * (distant.contains(index) ? 1.6 : 1)
            }
            return GateSamples.Layer(
                path: path, wall: values.map { $0 * waiting }, cpu: values.map { $0 * 1.9 })
        }
        func sum(_ times: KeyPath<GateSamples.Layer, [Double]>) -> [Double] {
            (0..<repetitions).map { index in
                layers.reduce(0) { $0 + $1[keyPath: times][index] }
            }
        }
        let rate = noise(3.5 * between)
        return GateSamples(
            total: .init(path: "total", wall: sum(\.wall), cpu: sum(\.cpu)), layers: layers,
            host: (0..<repetitions).map {
                .init(
                    canaryGFLOPS: 150 * speed * rate * noise(0.01),
                    canaryCPUGFLOPS: 75 * speed * rate * noise(0.01), otherLoad: load,
                    coreDistance: distant.contains($0) ? 300 : 55 + Double($0 % 3))
            })
    }

    private func compare(
        _ candidate: GateSamples..., runs: UInt64 = 10, between: Double = 0.002,
        neighbours: [GateSamples] = []
    ) throws -> LatencyGate.Result {
        try #require(
            LatencyGate.compare(
                candidate, with: (1...runs).map { run($0, between: between) },
                neighbours: neighbours, GateOptions()))
    }

    @Test func sameModelPasses() throws {
        let result = try compare(run(99))
        #expect(result.verdict == .pass)
        #expect(result.doubts.isEmpty)
        #expect(result.layers.count == 3)
        #expect(result.findings.allSatisfy { $0.limit >= $0.threshold })
    }

    @Test func slowBlockIsNamedAndNoOther() throws {
        let result = try compare(run(99, slow: ["transformer_blocks.1": 1.05]))
        #expect(
            result.layers.filter { $0.verdict == .fail }.map(\.path) == ["transformer_blocks.1"])
        #expect(result.verdict == .fail)
        let layer = try #require(result.layers.last)
        #expect(abs(layer.decisive.ratio - 1.05) < 0.01)
        #expect(layer.decisive.interval.low > 1.02)
        #expect(layer.decisive.interval.high < 1.08)
    }

    /// A block that got faster leaves the others a larger part of the rest, and they are as they
    /// were.
    @Test func fasterBlockMakesNoOtherSlower() throws {
        let result = try compare(run(99, slow: ["transformer_blocks.1": 0.7]))
        let other = try #require(result.layers.first { $0.path == "transformer_blocks.0" })
        #expect(other.decisive.ratio > 1.2)
        #expect(other.verdict != .fail)
        #expect(result.verdict == .pass)
    }

    @Test func slowForwardIsARegressionOnAnyHost() throws {
        let hosts = [(1, 0.01, 1.05), (1.2, 0.01, 1.05), (0.8, 0.01, 1.05), (0.8, 0.6, 1.12)]
        for (speed, load, slow) in hosts {
            let result = try compare(run(99, slow: ["total": slow], speed: speed, load: load))
            #expect(result.total.verdict == .fail, "\(speed), \(load)")
            #expect(result.layers.allSatisfy { $0.verdict == .pass })
        }
        #expect(try compare(run(99, slow: ["total": 1.01])).verdict == .pass)
    }

    /// What another load costs is not known to a percent; nor does it hide more than that.
    @Test func slowOrBusyHostIsReportedAndSilencesNothing() throws {
        let throttled = try compare(run(99, speed: 0.8))
        #expect(throttled.verdict == .pass)
        #expect(throttled.doubts.count == 1)
        #expect(throttled.doubts.first?.contains("slower") == true)
        let busy = try compare(run(99, load: 0.4))
        #expect(busy.verdict == .inconclusive)
        #expect((0.04..<0.08).contains(busy.total.limit))
        #expect(busy.doubts.first?.contains("busier") == true)
        #expect(busy.layers.allSatisfy { $0.verdict == .pass })
        let idle = try compare(run(99, load: 0.02))
        #expect(idle.verdict == .pass)
    }

    /// Runs that differ by 5 % among themselves cannot tell a slowdown of 3 %: that is no pass.
    @Test func spreadBetweenRunsAboveTheThresholdIsInconclusive() throws {
        let same = try compare(run(99), between: 0.05)
        #expect(same.total.limit > 0.1)
        #expect(same.total.verdict == .inconclusive)
        #expect(same.verdict == .inconclusive)
        let slow = try compare(run(99, slow: ["total": 3]), between: 0.05)
        #expect(slow.total.verdict == .fail)
    }

    /// The interval has the spread between runs in it, not that of repetitions alone.
    @Test func intervalHoldsTheTruth() throws {
        let hits = (0..<200).count { trial in
            let runs = (0..<11).map { run(UInt64(trial * 11 + $0), between: 0.01) }
            let result = LatencyGate.compare([runs[0]], with: Array(runs[1...]), GateOptions())
            guard let interval = result?.total.decisive.interval else { return false }
            return interval.low <= 1 && 1 <= interval.high
        }
        #expect(hits >= 180, "\(hits) of 200")
    }

    @Test func tooFewRunsOrRepetitionsAreInconclusive() throws {
        let few = try compare(run(99, slow: ["total": 1.4], repetitions: 3), runs: 1)
        #expect(few.verdict == .inconclusive)
        #expect(few.doubts.contains { $0.contains("repetitions") })
        #expect(few.doubts.contains { $0.contains("runs") })
        #expect(try compare(run(99, repetitions: 3)).verdict == .inconclusive)
        #expect(try compare(run(99), runs: 4).verdict == .inconclusive)
        #expect(try compare(run(99), runs: 5).verdict != .fail)
        #expect(try compare(run(99, slow: ["total": 1.4]), runs: 5).verdict == .fail)
    }

    /// A baseline of one run takes the spread from the runs around it.
    @Test func namedBaselineOfOneRunIsJudgedByTheSpreadOfItsNeighbours() throws {
        let neighbours = (20...29).map { run($0) }
        let slow = try compare(
            run(99, slow: ["total": 1.05]), runs: 1, neighbours: neighbours)
        #expect(slow.verdict == .fail)
        let same = try compare(run(99), runs: 1, neighbours: neighbours)
        #expect(same.verdict == .pass)
    }

    /// Forwards of many runs say nothing of how much layers differ.
    @Test func forwardsOfNeighboursDoNotReplaceABaseline() throws {
        let forwards = (1...30).map { run($0).forward }
        let few = try compare(run(99), runs: 3, neighbours: forwards)
        #expect(few.verdict == .inconclusive)
        #expect(few.doubts.contains { $0.hasPrefix("3 runs do not show") })
        #expect(try compare(run(99), neighbours: forwards).verdict == .pass)
    }

    @Test func pooledRunsHaveAFinerLimit() throws {
        let slow = ["transformer_blocks.1": 1.03]
        let result = try compare(run(97, slow: slow), run(98, slow: slow), run(99, slow: slow))
        let layer = try #require(result.layers.last)
        #expect(layer.threshold == 0.025)
        #expect(layer.verdict == .fail)
        // One odd run of three does not count.
        let odd = try compare(run(97), run(98), run(99, slow: ["transformer_blocks.1": 1.4]))
        #expect(odd.layers.allSatisfy { $0.verdict != .fail })
    }

    /// More wall time alone is never a regression, nor is it a pass on a host that is as it was.
    @Test func lostParallelismIsInconclusive() throws {
        let serial = try compare(run(99, waiting: 1.4))
        #expect(serial.total.verdict == .inconclusive)
        #expect(serial.doubts.first?.contains("threads wait") == true)
        let busy = try compare(run(99, load: 0.6, waiting: 1.4))
        #expect(busy.doubts.count == 1)
    }

    /// Cores without a cache in common make a small model 1.6 times as slow, and the canary not.
    @Test func repetitionsOnDistantCoresAreLeftOut() throws {
        let some = try compare(run(99, repetitions: 20, distant: 0..<8))
        #expect(some.verdict == .pass)
        let slow = try compare(
            run(99, slow: ["total": 1.05], repetitions: 20, distant: 0..<8))
        #expect(slow.total.verdict == .fail)
        let all = try compare(run(99, distant: 0..<12))
        #expect(all.verdict == .inconclusive)
        #expect(all.doubts.first?.contains("other cores than usual") == true)
        let others = (1...10).map { run($0, distant: 0..<12) }
        let baseline = try #require(
            LatencyGate.compare([run(99)], with: others, GateOptions()))
        #expect(baseline.verdict == .inconclusive)
        // One odd run that was nearer than all others makes those no worse.
        var odd = run(1)
        odd = GateSamples(
            total: odd.total, layers: odd.layers,
            host: odd.host.map {
                .init(
                    canaryGFLOPS: $0.canaryGFLOPS, canaryCPUGFLOPS: $0.canaryCPUGFLOPS,
                    otherLoad: 0, coreDistance: 20)
            })
        let mixed = try #require(
            LatencyGate.compare([run(99)], with: [odd] + (2...10).map { run($0) }, GateOptions()))
        #expect(mixed.verdict == .pass)
        #expect(mixed.leftOut.baseline == 1)
        #expect(mixed.leftOut.candidate == 0)
        let pooled = try compare(run(98, distant: 0..<12), run(99))
        #expect(pooled.verdict == .pass)
        #expect(pooled.leftOut.baseline == 0)
        #expect(pooled.leftOut.candidate == 1)
        // Where all are far, they are alike.
        let far = try #require(
            LatencyGate.compare([run(99, distant: 0..<12)], with: others, GateOptions()))
        #expect(far.verdict == .pass)
    }

    @Test func placementThatMostHadIsTheUsualOneAndWasteIsLimited() {
        var distances = CoreDistances()
        #expect(!distances.isUnusual(300))
        distances.note(nil)
        distances.note(300)
        #expect(!distances.isUnusual(300))
        distances.note(60)
        distances.note(64)
        #expect(distances.usual == 62)
        #expect(distances.isUnusual(300))
        #expect(distances.isUnusual(38))
        #expect(!distances.isUnusual(75))
        #expect(!distances.isUnusual(52))
        #expect(!distances.isUnusual(nil))
        let (first, second) = (distances.allowsWaste(seconds: 6), distances.allowsWaste(seconds: 6))
        #expect(first)
        #expect(!second)
        let third = distances.allowsWaste(seconds: 3)
        #expect(third)
        #expect(CoreDistances([38, 61, 62, 66, 300, 300]).usual == 62)
    }

    /// On a host whose canary slows down by a part, the model slows down by the square of it.
    @Test func exponentOfTheCanaryIsThatOfTheBaseline() throws {
        var random = NormalGenerator(seed: 9)
        func runs(_ exponent: Double, spread: Double, count: Int = 10) -> [(
            time: Double, rate: Double
        )] {
            (0..<count).map { _ in
                let rate = spread * Double(random.next())
                return (3 - exponent * rate + 0.003 * Double(random.next()), rate)
            }
        }
        func exponent(_ runs: [(time: Double, rate: Double)]) -> Double {
            HostSensitivity(runs).exponent
        }
        #expect(abs(exponent(runs(2, spread: 0.05)) - 2) < 0.15)
        #expect(abs(exponent(runs(1.4, spread: 0.05)) - 1.4) < 0.15)
        #expect(exponent(runs(0.2, spread: 0.05)) == 1)
        #expect(exponent(runs(5, spread: 0.05)) == 2.5)
        // Where the canary does not vary, or the runs are few, nothing is known.
        #expect(exponent(runs(2, spread: 0.001)) == 1)
        #expect(exponent(runs(2, spread: 0.05, count: 4)) == 1)
    }

    /// The process's clock, of old versions, cannot tell.
    @Test func runsOfTheOldClockAreInconclusive() throws {
        var old = run(99)
        old.clock = nil
        let result = try compare(old)
        #expect(result.verdict == .inconclusive)
        #expect(result.total.cpu == nil)
    }

    @Test func slowDriftIsFoundThoughEachNightIsLikeTheOneBefore() throws {
        var random = NormalGenerator(seed: 5)
        func nights(_ drift: Double, _ count: Int) -> [DriftGate.Night] {
            (0..<count).map { night in
                let noise = 0.005 * Double(random.next())
                let drifted = drift * Double(max(0, night - 9))
                return .init(run: Int64(night + 1), logarithm: 4 + noise + drifted)
            }
        }
        #expect(DriftGate.judge(nights(0, 10)) == nil)
        let same = try #require(DriftGate.judge(nights(0, 60)))
        #expect(!same.isAlarm)
        #expect(same.reference == Array(1...10))
        let drifting = try #require(DriftGate.judge(nights(0.001, 60)))
        #expect(drifting.isAlarm)
        #expect(drifting.ratio > 1 + DriftGate.smallest)
        // A baseline that was pinned after the drift is the new reference.
        var after = nights(0.001, 60)
        let level = after[59].logarithm
        after += nights(0, 20).map { .init(run: $0.run + 60, logarithm: $0.logarithm - 4 + level) }
        #expect(try #require(DriftGate.judge(after)).isAlarm)
        let pinned = try #require(DriftGate.judge(after, pinned: 61))
        #expect(!pinned.isAlarm)
        #expect(pinned.reference == Array(61...70))
    }

    /// The sum is far above its limit in both.
    @Test func aHostThatMovedByOnePercentIsNoDrift() throws {
        func nights(_ step: Double) -> [DriftGate.Night] {
            (0..<60).map { night in
                let wobble = 0.002 * Double(night * 7 % 5 - 2)
                return .init(run: Int64(night + 1), logarithm: wobble + (night < 10 ? 0 : step))
            }
        }
        let moved = try #require(DriftGate.judge(nights(0.014)))
        #expect(moved.sum > Cusum.alarm)
        #expect(!moved.isAlarm)
        let slower = try #require(DriftGate.judge(nights(0.03)))
        #expect(slower.isAlarm)
    }

    @Test func errorsMayNotRiseBeyondRounding() {
        func layer(_ rms: Double?) -> LayerResult {
            LayerResult(
                path: "a", samples: nil, medianNs: nil, relativeRms: rms, relativePower: nil,
                maxAbs: nil, cosine: nil, sqnrDb: nil, ownRelativeRms: nil,
                inheritedRelativeRms: nil, tolerance: 1, verdict: "pass")
        }
        func verdict(_ now: Double?, _ before: Double?...) -> Verdict? {
            AccuracyGate.compare([layer(now)], with: before.map { [layer($0)] }, largestRatio: 1.02)
                .first?.verdict
        }
        #expect(verdict(1e-3, 1e-3) == .pass)
        #expect(verdict(1.01e-3, 1e-3) == .pass)
        #expect(verdict(1.05e-3, 1e-3) == .fail)
        #expect(verdict(1.05e-3, 2e-3, 1e-3) == .fail)
        // Sums in another order.
        #expect(verdict(9e-7, 5e-7) == .pass)
        #expect(verdict(3e-6, 5e-7) == .fail)
        #expect(verdict(nil, 1e-3) == .fail)
        #expect(verdict(nil, nil) == .pass)
        #expect(verdict(1) == nil)
    }
}
