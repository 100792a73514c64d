import Testing

@testable import SanaTools

struct LatencyGateTests {
    /// A profile of two blocks on a host of some speed, with a little noise.
    private func run(
        _ seed: UInt64, slow: [String: Double] = [:], speed: Double = 1, load: Double = 0.01
    ) -> GateSamples {
        var random = SplitMix64(seed: seed)
        func noise() -> Double { 1 + (Double(random.next() % 1000) / 1000 - 0.5) * 0.01 }
        let count = 12
        let paths = ["patch_embed", "transformer_blocks.0", "transformer_blocks.1"]
        let layers = zip(paths, [10e6, 45e6, 45e6]).map { path, time in
            let values = (0..<count).map { _ in time * (slow[path] ?? 1) * noise() / speed }
            return GateSamples.Layer(path: path, wall: values, cpu: values.map { $0 * 1.9 })
        }
        let total = (0..<count).map { index in
            layers.reduce(0) { $0 + $1.wall[index] } * (slow["total"] ?? 1)
        }
        return GateSamples(
            total: .init(path: "total", wall: total, cpu: total.map { $0 * 1.9 }), layers: layers,
            host: (0..<count).map { _ in
                .init(
                    canaryGFLOPS: 150 * speed * noise(), canaryCPUGFLOPS: 75 * speed * noise(),
                    otherLoad: load)
            })
    }

    private func compare(_ candidate: GateSamples) throws -> LatencyGate.Result {
        try #require(
            LatencyGate.compare([candidate], with: (1...5).map { run($0) }, GateOptions()))
    }

    @Test func sameModelPasses() throws {
        let result = try compare(run(9))
        #expect(result.verdict == .pass && result.doubts.isEmpty && result.layers.count == 3)
    }

    @Test func slowBlockIsNamedAndNoOther() throws {
        let result = try compare(run(9, slow: ["transformer_blocks.1": 1.05]))
        #expect(
            result.layers.filter { $0.verdict == .fail }.map(\.path) == ["transformer_blocks.1"])
        let layer = try #require(result.layers.last)
        #expect(abs(layer.decisive.ratio - 1.05) < 0.01)
        let interval = try #require(layer.decisive.interval)
        #expect(interval.low > 1.03 && interval.high < 1.07)
    }

    /// A model of many layers with few repetitions: what the test cannot tell is no pass.
    @Test func tooFewRepetitionsForManyLayersAreInconclusive() throws {
        func run(_ seed: UInt64, repetitions: Int, slow: Double = 1) -> GateSamples {
            var random = SplitMix64(seed: seed)
            let layers = (0..<100).map { index in
                let time = 1e7 * (index == 7 ? slow : 1)
                let values = (0..<repetitions).map { _ in
                    time * (1 + Double(random.next() % 1000) / 1e5)
                }
                return GateSamples.Layer(
                    path: "transformer_blocks.\(index)", wall: values, cpu: values.map { $0 * 2 })
            }
            let total = (0..<repetitions).map { sample in layers.reduce(0) { $0 + $1.wall[sample] }
            }
            return GateSamples(
                total: .init(path: "total", wall: total, cpu: total.map { $0 * 2 }),
                layers: layers,
                host: (0..<repetitions).map { _ in
                    .init(canaryGFLOPS: 150, canaryCPUGFLOPS: 75, otherLoad: 0.01)
                })
        }
        func judge(repetitions: Int, runs: UInt64, slow: Double = 1.5) throws -> LatencyGate.Result
        {
            try #require(
                LatencyGate.compare(
                    [run(99, repetitions: repetitions, slow: slow)],
                    with: (1...runs).map { run($0, repetitions: repetitions) }, GateOptions()))
        }
        let few = try judge(repetitions: 5, runs: 3)
        #expect(few.verdict == .inconclusive && few.doubts.count == 1)
        #expect(few.doubts.first?.contains("transformer_blocks.7 ") == true)
        #expect(few.layers.count { $0.verdict != .pass } == 1)
        let same = try judge(repetitions: 5, runs: 3, slow: 1)
        #expect(same.verdict == .pass && same.doubts.isEmpty)
        #expect(try judge(repetitions: 5, runs: 10).layers[7].verdict == .fail)
        #expect(try judge(repetitions: 10, runs: 3).layers[7].verdict == .fail)
    }

    @Test func slowForwardIsARegressionOnAnyFasterOrEqualHost() throws {
        let slow = ["patch_embed", "transformer_blocks.0", "transformer_blocks.1"]
        let factors = Dictionary(uniqueKeysWithValues: slow.map { ($0, 1.03) })
        let result = try compare(run(9, slow: factors))
        #expect(result.total.verdict == .fail && result.layers.allSatisfy { $0.verdict == .pass })
        #expect(try compare(run(9, slow: factors, speed: 1.2)).total.verdict == .fail)
    }

    @Test func slowHostIsInconclusiveEvenWhereTheModelIsSlowToo() throws {
        let throttled = try compare(run(9, speed: 0.8))
        #expect(throttled.verdict == .inconclusive && throttled.doubts.count == 1)
        #expect(throttled.layers.allSatisfy { $0.verdict == .pass })
        let both = try compare(run(9, slow: ["transformer_blocks.0": 1.3], speed: 0.8))
        #expect(both.verdict == .inconclusive)
        let busy = try compare(run(9, slow: ["transformer_blocks.0": 1.3], load: 0.4))
        #expect(busy.verdict == .inconclusive && busy.doubts.count == 1)
    }

    /// Layers are measured against their own forward: a slow host is no reason to doubt them.
    @Test func pooledRunsAreJudgedByTheirMediansWithoutTheCanary() throws {
        var options = GateOptions()
        options.isPooled = true
        func judge(_ slow: Double, speed: Double = 1, load: Double = 0.01) throws -> Verdict {
            let runs = (20...22).map {
                run($0, slow: ["transformer_blocks.1": slow], speed: speed, load: load)
            }
            let result = try #require(
                LatencyGate.compare(runs, with: (1...5).map { run($0) }, options))
            return try #require(result.layers.last).verdict
        }
        #expect(try judge(1.04) == .fail && judge(1.02) == .pass)
        #expect(try judge(1.04, speed: 0.8) == .fail && judge(1.04, load: 0.4) == .inconclusive)
        // One odd run of three does not count.
        let odd = try #require(
            LatencyGate.compare(
                [run(20), run(21), run(22, slow: ["transformer_blocks.1": 1.4])],
                with: (1...5).map { run($0) }, options))
        #expect(odd.layers.allSatisfy { $0.verdict == .pass })
    }

    @Test func lostParallelismShowsOnTheClockAlone() throws {
        var serial = run(9)
        serial = GateSamples(
            total: .init(
                path: "total", wall: serial.total.wall.map { $0 * 1.4 }, cpu: serial.total.cpu),
            layers: serial.layers, host: serial.host)
        let result = try compare(serial)
        #expect(result.total.verdict == .fail && (result.total.cpu?.ratio ?? 9) < 1.01)
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
        #expect(verdict(1e-3, 1e-3) == .pass && verdict(1.01e-3, 1e-3) == .pass)
        #expect(verdict(1.05e-3, 1e-3) == .fail && verdict(1.05e-3, 2e-3, 1e-3) == .fail)
        // Sums in another order.
        #expect(verdict(9e-7, 5e-7) == .pass && verdict(3e-6, 5e-7) == .fail)
        #expect(verdict(nil, 1e-3) == .fail && verdict(nil, nil) == .pass)
        #expect(verdict(1) == nil)
    }
}
