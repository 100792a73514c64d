import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

struct PairedProfileTests {
    /// Pairs of forwards of two blocks on a host whose speed drifts by far more than models differ.
    private func profile(
        pairs: Int = 40, block: Double = 1, total: Double = 1, clockOnly: Bool = false,
        load: Double? = 0.01
    ) -> PairedProfile {
        var random = SplitMix64(seed: 5)
        func noise() -> Double { 1 + (Double(random.next() % 1000) / 1000 - 0.5) * 0.01 }
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
        #expect(result.verdict == .pass && result.doubts.isEmpty && result.findings.count == 3)
        #expect(result.findings.allSatisfy { abs($0.wall.ratio - 1) < 0.005 })
    }

    @Test func slowBlockIsNamedAndNoOther() throws {
        let result = PairedGate.judge(profile(block: 1.05))
        let slow = result.findings.filter { $0.verdict == .fail && $0.path != "total" }
        #expect(slow.map(\.path) == ["transformer_blocks.1"])
        #expect(abs((slow.first?.cpu.ratio ?? 0) - 1.05) < 0.005)
        let interval = try #require(slow.first?.cpu.interval)
        #expect(interval.low > 1.04 && interval.high < 1.06)
    }

    @Test func slowForwardIsNoFaultOfABlock() {
        let result = PairedGate.judge(profile(total: 1.03))
        #expect(result.findings.filter { $0.verdict == .fail }.map(\.path) == ["total"])
        #expect(PairedGate.judge(profile(total: 1.01)).verdict == .pass)
        #expect(PairedGate.judge(profile(total: 0.9)).verdict == .pass)
        // Threads that wait cost no processor time.
        #expect(PairedGate.judge(profile(total: 1.2, clockOnly: true)).verdict == .fail)
    }

    @Test func tooFewPairsAndBusyHostsDecideNothing() {
        let few = PairedGate.judge(profile(pairs: 12, total: 1.5))
        #expect(few.verdict == .inconclusive)
        #expect(few.doubts == ["12 pairs cannot tell: --pairs must be at least 13"])
        #expect(PairedGate.judge(profile(pairs: 13, total: 1.5)).verdict == .fail)
        #expect(PairedGate.judge(profile(total: 1.5, load: 0.3)).verdict == .inconclusive)
        #expect(PairedGate.judge(profile(load: 0.3)).verdict == .pass)
        #expect(PairedGate.judge(profile(total: 1.5, load: nil)).verdict == .fail)
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
                    command + ["30"],
                    environment: ["SANA_SLOWDOWN": "transformer_blocks.1=0.5"]))
            let json = try #require(run.json, "\(run.talk)")
            return (run, json, json["verdict"]?.string)
        }
        var judged = try judge()
        // Where others use the processors meanwhile, ratios are of no worth, and it says so.
        for _ in 0..<2 where judged.verdict == "inconclusive" { judged = try judge() }
        let layers = try #require(judged.json["layers"]?.array)
        #expect(
            layers.compactMap { $0["path"]?.string }
                == ["total"] + (0..<4).map { "transformer_blocks.\($0)" })
        #expect(layers.allSatisfy { $0["candidate_cpu_ns"]?.array?.count == 30 })
        let ratios = layers.compactMap { $0["ratio"]?.double }
        if judged.verdict == "inconclusive" {
            #expect(judged.run.code == 3 && judged.json["doubts"]?.array?.isEmpty == false)
        } else {
            #expect(judged.run.code == 1 && judged.verdict == "regress")
            #expect(ratios[2] > 1.2 && ratios[2] == ratios.max(), "\(ratios)")
        }
        let few = try program.run(command + ["4"])
        #expect(few.code == 3 && few.json?["doubts"]?.array?.first != nil)
        for wrong in [
            ["--gate"], ["--trace", "t.json"], ["--shard", "1/2"], ["fixtures/tiny/plain"],
        ] {
            #expect(try program.run(command + ["4"] + wrong).code == 64, "\(wrong)")
        }
        #expect(try program.run("profile", "--pairs", "4").code == 64)
        #expect(try program.run("history", "list").output.isEmpty)
    }
}
