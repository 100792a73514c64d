import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

@Suite(.tags(.process)) struct PairedProfileTests {
    /// Pairs of forwards of two blocks on a host whose speed drifts by far more than models differ.
    private func profile(
        pairs: Int = 40, block: Double = 1, total: Double = 1, clockOnly: Bool = false,
        load: Double? = 0.01, noise size: Double = 0.01
    ) -> PairedProfile {
        var random = SplitMix64(seed: 5)
        func noise() -> Double { 1 + (Double(random.next() % 1000) / 1000 - 0.5) * size }
        let paths = ["transformer_blocks.0", "transformer_blocks.1"]
        var samples = ([Profile.totalPath] + paths).map { PairedProfile.Samples(path: $0) }
        for pair in 0..<pairs {
            let drift = 1 + 0.5 * sin(Double(pair))
            func forward(_ factor: Double, _ slow: Double) -> [PairedProfile.Times] {
                let blocks = [40e6 * factor * noise(), 40e6 * factor * slow * noise()]
                return ([blocks[0] + blocks[1] + 20e6 * factor * noise()] + blocks).map {
                    let wall = $0 * drift
                    return .init(wall: wall, cpu: clockOnly ? 1e8 * noise() : wall * 1.9)
                }
            }
            let (mine, theirs) = (forward(total, block), forward(1, 1))
            for index in samples.indices {
                samples[index].pairs.append(
                    .init(candidate: mine[index], baseline: theirs[index]))
            }
        }
        return PairedProfile(
            candidate: "new", baseline: "old",
            sizes: RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), threads: 2,
            total: samples[0], blocks: Array(samples[1...]), unmatched: [], otherLoad: load,
            options: .init(pairs: pairs))
    }

    @Test func sameModelPassesOnAHostThatWanders() {
        let result = PairedGate.judge(profile())
        #expect(result.verdict == .pass)
        #expect(result.doubts.isEmpty)
        #expect(result.findings.count == 3)
        #expect(result.findings.allSatisfy { abs($0.wall.ratio - 1) < 0.005 })
    }

    @Test func slowBlockIsNamedAndNoOther() throws {
        let result = PairedGate.judge(profile(block: 1.05))
        let slow = result.findings.filter { $0.verdict == .fail && $0.path != "total" }
        #expect(slow.map(\.path) == ["transformer_blocks.1"])
        #expect(abs((slow.first?.cpu.ratio ?? 0) - 1.05) < 0.005)
        let interval = try #require(slow.first?.cpu.interval)
        #expect(interval.low > 1.04)
        #expect(interval.high < 1.06)
    }

    @Test func slowForwardIsNoFaultOfABlock() {
        let result = PairedGate.judge(profile(total: 1.03))
        #expect(result.findings.filter { $0.verdict == .fail }.map(\.path) == ["total"])
        #expect(PairedGate.judge(profile(total: 1.01)).verdict == .pass)
        #expect(PairedGate.judge(profile(total: 0.9)).verdict == .pass)
        // Threads that wait cost no CPU time, and wall time alone is no verdict.
        #expect(PairedGate.judge(profile(total: 1.3, clockOnly: true)).verdict == .inconclusive)
    }

    @Test func tooFewPairsAreInconclusive() {
        let few = PairedGate.judge(profile(pairs: 11, total: 1.5))
        #expect(few.verdict == .inconclusive)
        #expect(few.doubts == ["11 pairs are too few: --pairs must be at least 12"])
        #expect(PairedGate.judge(profile(pairs: 12, total: 1.5)).verdict == .fail)
    }

    /// CPU time decides at any load, which is reported.
    @Test func busyHostSilencesNothing() {
        let slow = PairedGate.judge(profile(total: 1.5, load: 0.5))
        #expect(slow.verdict == .fail)
        #expect(slow.doubts.count == 1)
        #expect(PairedGate.judge(profile(load: 0.3)).verdict == .pass)
        #expect(PairedGate.judge(profile(total: 1.5, load: nil)).verdict == .fail)
    }

    /// What the interval holds could be the truth: it ends above the threshold.
    @Test func noiseAboveTheThresholdIsInconclusive() {
        let noisy = PairedGate.judge(profile(noise: 0.4))
        #expect(noisy.verdict == .inconclusive)
        #expect(noisy.findings.allSatisfy { $0.verdict != .fail })
    }

    @Test("turns are in the order ABBA")
    func turns() {
        #expect((0..<3).flatMap(PairedProfile.turns) == [true, false, false, true, true, false])
    }

    /// Processes of two builds: times over the canary, block by block.
    @Test func buildsArePairedByTheirTurns() throws {
        func turn(_ factor: Double, speed: Double, clock: String? = "threads") -> JSONValue {
            let times = [100e6, 101e6, 99e6].map { $0 * factor * speed }
            func list(_ share: Double) -> JSONValue {
                .array(times.map { .int(Int($0 * share)) })
            }
            func layer(_ path: String, _ share: Double) -> JSONValue {
                .fields(["path": .string(path), "samples_ns": list(share), "cpu_ns": list(share)])
            }
            return .fields([
                "threads": .int(2), "clock": .text(clock),
                "canary": .text(clock == nil ? nil : "c"),
                "total": .fields(["samples_ns": list(1)]),
                "repetitions": .array(
                    times.map {
                        .fields([
                            "cpu_ns": .int(Int($0)), "canary_gflops": .double(100 / speed),
                            "canary_cpu_gflops": .double(100 / speed),
                        ])
                    }),
                "layers": .array([
                    layer("transformer_blocks.0", 0.4), layer("transformer_blocks.1", 0.5),
                ]),
            ])
        }
        func judge(_ factor: Double, clock: String? = "threads") throws -> PairedProfile {
            let speeds = (0..<20).map { 1 + 0.3 * sin(Double($0)) }
            let mine = try speeds.map {
                try #require(BuildComparison.Turn(turn(factor, speed: $0)))
            }
            let theirs = try speeds.map {
                try #require(BuildComparison.Turn(turn(1, speed: $0 * 1.1, clock: clock)))
            }
            return BuildComparison.pair(
                mine, theirs, "old", RunSizes(batch: 1, height: 8, width: 8, captionTokens: 3), 0,
                .init(pairs: 20))
        }
        let slow = try judge(1.05)
        #expect(slow.blocks.map(\.path) == ["transformer_blocks.0", "transformer_blocks.1"])
        let result = PairedGate.judge(slow)
        #expect(result.findings.first?.verdict == .fail)
        #expect(abs((result.findings.first?.cpu.ratio ?? 0) - 1.05) < 0.002)
        #expect(PairedGate.judge(try judge(1)).verdict == .pass)
        // Another clock: the forward alone, by what both tell, without the canary.
        #expect(try judge(1, clock: nil).blocks.isEmpty)
        #expect(BuildComparison.Turn(.fields(["clock": .string("threads")])) == nil)
    }

    /// The real thing: one block that really does half as much again, on whatever host this is.
    @Test func commandFindsABlockThatIsReallySlower() throws {
        let program = try BuiltProgram()
        let command = [
            "profile", "fixtures/sana-digits", "--against", "fixtures/sana-digits", "--latent",
            "8x8", "--tokens", "8", "--format", "json", "--pairs",
        ]
        func judge() throws -> (run: BuiltProgram.Outcome, json: JSONValue, verdict: String?) {
            let run = try program.finish(
                program.launch(
                    command + ["30"], program: program.underTest.path,
                    environment: ["SANA_SLOWDOWN": "transformer_blocks.1=0.5"]))
            let json = try #require(run.json, "\(run.talk)")
            return (run, json, json["verdict"]?.string)
        }
        let judged = try judge()
        let layers = try #require(judged.json["layers"]?.array)
        #expect(
            layers.compactMap { $0["path"]?.string }
                == ["total"] + (0..<4).map { "transformer_blocks.\($0)" })
        #expect(layers.allSatisfy { $0["candidate_cpu_ns"]?.array?.count == 30 })
        // CPU time decides whatever else runs on the machine.
        let ratios = layers.compactMap { $0["cpu_ratio"]?.double }
        #expect(judged.run.code == 1)
        #expect(judged.verdict == "regress")
        #expect(ratios[2] > 1.05, "\(ratios)")
        #expect(ratios[2] == ratios.max(), "\(ratios)")
        let few = try program.run(command + ["4", "--no-record"])
        #expect(few.code == 3)
        #expect(few.json?["doubts"]?.array?.first != nil)
        for wrong in [
            ["--gate"], ["--trace", "t.json"], ["--shard", "1/2"], ["fixtures/tiny/plain"],
        ] {
            #expect(try program.run(command + ["4"] + wrong).code == 64, "\(wrong)")
        }
        #expect(try program.run("profile", "--pairs", "4").code == 64)
        // The record of a candidate is a profile in a series of its own.
        let runs = try program.run("history", "list", "--format", "json")
        #expect(runs.results?.first?["kind"]?.string == "profile")
        #expect(runs.results?.first?["reference"]?.string == "fixtures/sana-digits")
    }
}
