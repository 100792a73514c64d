import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

/// The gate on recorded noise: how often it cries wolf, and how often it sees the wolf.
///
/// `fixtures/gate/noise.csv` has 60 profiles of one model, half of them beside other builds, which took
/// half of the processors. reports/gate.md has the method and the figures that this suite prints.
struct GateProofTests {
    private let runs: [GateSamples]

    init() throws {
        let text = String(decoding: try fileBytes(Fixtures.path + "/gate/noise.csv"), as: UTF8.self)
        runs = try RecordedNoise.runs(text)
    }

    private struct Tally {
        var counts: [Verdict: Int] = [:]
        /// Pairs on a host that was as in the baseline, and the regressions found in them.
        var quiet = 0
        var quietFailures = 0
        var pairs: Int { counts.values.reduce(0, +) }
        func share(_ verdict: Verdict) -> Double { Double(counts[verdict] ?? 0) / Double(pairs) }

        var text: String {
            let all = [Verdict.pass, .inconclusive, .fail].map {
                "\($0.gateWord) \(Format.percent(share($0)))"
            }
            return all.joined(separator: ", ")
                + "; host as in the baseline: \(quietFailures) of \(quiet) regress"
        }
    }

    /// - Parameters:
    ///   - baseline: number of runs to compare with.
    ///   - pooled: number of runs that are judged together.
    ///   - changed: what a run of the noise becomes before it is judged.
    private func tally(
        _ name: String, pairs: Int = 500, baseline: Int = 10, pooled: Int = 1,
        isQuiet: Bool = false, _ changed: (GateSamples, Int) -> GateSamples
    ) -> Tally {
        var random = SplitMix64(seed: 11)
        let pool = isQuiet ? runs.filter { $0.load < 0.15 } : runs
        var tally = Tally()
        for pair in 0..<pairs {
            let drawn = pool.shuffled(using: &random).prefix(baseline + pooled)
            var options = GateOptions()
            options.isPooled = pooled >= GateOptions.fewestPooled
            guard
                let result = LatencyGate.compare(
                    drawn.suffix(pooled).map { changed($0, pair) },
                    with: Array(drawn.dropLast(pooled)), options)
            else { continue }
            tally.counts[result.verdict, default: 0] += 1
            if result.doubts.isEmpty {
                tally.quiet += 1
                if result.verdict == .fail { tally.quietFailures += 1 }
            }
        }
        print("gate: \(name), \(pairs) pairs, \(pooled) against \(baseline): \(tally.text)")
        return tally
    }

    @Test func sameModelIsHardlyEverCalledSlower() {
        #expect(tally("A/A") { run, _ in run }.share(.fail) <= 0.01)
        #expect(tally("A/A, quiet", isQuiet: true) { run, _ in run }.share(.fail) <= 0.01)
    }

    @Test func slowBlockIsFound() {
        let quiet = tally("one block 5 % slower, quiet", isQuiet: true) { run, pair in
            run.slowed(1.05, below: "transformer_blocks.\(pair % 4)")
        }
        _ = tally("one block 5 % slower", pairs: 200) { run, pair in
            run.slowed(1.05, below: "transformer_blocks.\(pair % 4)")
        }
        _ = tally("one block 10 % slower, quiet", pairs: 200, isQuiet: true) { run, pair in
            run.slowed(1.10, below: "transformer_blocks.\(pair % 4)")
        }
        #expect(Double(quiet.quietFailures) >= 0.9 * Double(quiet.quiet))
    }

    /// Three runs judged together.
    @Test func slowBlockIsFoundInPooledRuns() {
        let same = tally("A/A, quiet", pooled: 3, isQuiet: true) { run, _ in run }
        let all = tally("A/A", pooled: 3) { run, _ in run }
        let slow = tally("one block 5 % slower, quiet", pooled: 3, isQuiet: true) { run, pair in
            run.slowed(1.05, below: "transformer_blocks.\(pair % 4)")
        }
        _ = tally("one block 5 % slower", pairs: 200, pooled: 3) { run, pair in
            run.slowed(1.05, below: "transformer_blocks.\(pair % 4)")
        }
        #expect(same.share(.fail) <= 0.01 && all.share(.fail) <= 0.01)
        #expect(slow.share(.fail) >= 0.95)
    }

    @Test func slowForwardIsFound() {
        for (percent, factor) in [(3, 1.03), (20, 1.2)] {
            _ = tally("forward \(percent) % slower, quiet", pairs: 200, isQuiet: true) { run, _ in
                run.slowed(factor, below: "")
            }
        }
        let found = tally("forward 50 % slower, quiet", pairs: 200, isQuiet: true) { run, _ in
            run.slowed(1.5, below: "")
        }
        #expect(found.share(.pass) <= 0.2)
    }

    /// Quiet baselines, candidates that ran while other builds took half of the processors.
    @Test func busyHostIsNoRegression() {
        for pooled in [1, 3] { busyHostIsNoRegression(pooled) }
    }

    private func busyHostIsNoRegression(_ pooled: Int) {
        let (quiet, busy) = (runs.filter { $0.load < 0.15 }, runs.filter { $0.load >= 0.35 })
        var (random, tally) = (SplitMix64(seed: 3), Tally())
        for pair in 0..<200 {
            let baseline = Array(quiet.shuffled(using: &random).prefix(10))
            var options = GateOptions()
            options.isPooled = pooled >= GateOptions.fewestPooled
            let candidates = (0..<pooled).map { busy[(pair + $0) % busy.count] }
            if let result = LatencyGate.compare(candidates, with: baseline, options) {
                tally.counts[result.verdict, default: 0] += 1
            }
        }
        print("gate: quiet baseline, busy host, 200 pairs, \(pooled) runs: \(tally.text)")
        #expect(tally.pairs == 200 && tally.share(.fail) == 0 && tally.share(.inconclusive) > 0.5)
    }
}

/// Reads `fixtures/gate/noise.csv`.
private enum RecordedNoise {
    static func runs(_ text: String) throws -> [GateSamples] {
        let lines = text.split(separator: "\n").map {
            $0.split(separator: ",", omittingEmptySubsequences: false)
        }
        let header = try #require(lines.first)
        let groups = Dictionary(grouping: lines.dropFirst()) { Int($0[0]) ?? 0 }
        return try groups.sorted { $0.key < $1.key }.map { _, rows in
            func column(_ index: Int) throws -> [Double] {
                try rows.map { try #require(Double($0[index])) }
            }
            var layers: [GateSamples.Layer] = []
            for index in stride(from: 4, to: header.count, by: 2) {
                layers.append(
                    .init(
                        path: String(header[index].split(separator: ":")[0]),
                        wall: try column(index), cpu: try column(index + 1)))
            }
            let (canary, canaryCPU, load) = (try column(1), try column(2), try column(3))
            // The forward is the first of them.
            let total = layers.removeFirst()
            try #require(total.path == Profile.totalPath && layers.count == 16)
            return GateSamples(
                total: total, layers: layers,
                host: rows.indices.map {
                    .init(
                        canaryGFLOPS: canary[$0], canaryCPUGFLOPS: canaryCPU[$0],
                        otherLoad: load[$0])
                })
        }
    }
}

extension GateSamples {
    /// Median part of the processors that others took.
    fileprivate var load: Double { host.compactMap(\.otherLoad).median }

    /// The run with a block and its parts, or with `""` everything, slower by a factor.
    fileprivate func slowed(_ factor: Double, below path: String) -> GateSamples {
        func slow(_ layer: Layer) -> Layer {
            guard layer.path.hasPrefix(path) else { return layer }
            return Layer(
                path: layer.path, wall: layer.wall.map { $0 * factor },
                cpu: layer.cpu.map { $0 * factor })
        }
        let changed = layers.map(slow)
        guard !path.isEmpty, let before = layers.first(where: { $0.path == path }) else {
            return GateSamples(total: slow(total), layers: changed, host: host)
        }
        let more = factor - 1
        let total = Layer(
            path: total.path, wall: zip(total.wall, before.wall).map { $0 + more * $1 },
            cpu: zip(total.cpu, before.cpu).map { $0 + more * $1 })
        return GateSamples(total: total, layers: changed, host: host)
    }
}
