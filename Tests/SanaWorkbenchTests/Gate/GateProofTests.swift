import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// The gate on recorded noise: how often it cries wolf, and how often it sees the wolf.
///
/// `fixtures/gate/noise.csv` has profiles of one model, every second one beside a process that kept
/// one of two CPUs busy. fixtures/gate/prove.py makes it; reports/gate.md has nights that are
/// really slower.
@Suite(.tags(.slow)) struct GateProofTests {
    private let runs: [GateSamples]

    init() throws {
        let text = String(decoding: try fileBytes(Fixtures.path + "/gate/noise.csv"), as: UTF8.self)
        runs = try RecordedNoise.runs(text)
    }

    private enum Host: CaseIterable { case quiet, busy }

    private func runs(_ host: Host) -> [GateSamples] {
        let middle = runs.map(\.load).median
        return runs.filter { ($0.load > middle) == (host == .busy) }
    }

    private struct Tally {
        var counts: [Verdict: Int] = [:]
        /// How often the interval of the forward held the factor, where that is known.
        var held: Int?
        var pairs: Int { counts.values.reduce(0, +) }
        func share(_ verdict: Verdict) -> Double { Double(counts[verdict] ?? 0) / Double(pairs) }
        var coverage: Double? { held.map { Double($0) / Double(pairs) } }

        var text: String {
            let verdicts = [Verdict.pass, .inconclusive, .fail].map {
                "\($0.gateWord) \(Format.percent(share($0)))"
            }.joined(separator: ", ")
            guard let coverage else { return verdicts }
            return verdicts + "; interval holds the truth in \(Format.percent(coverage))"
        }
    }

    /// - Parameters:
    ///   - pooled: number of runs that are judged together, against the ten before them; all before
    ///     them tell the spread.
    ///   - factor: how much slower the whole forward is, where that is known.
    ///   - changed: what a run of the noise becomes before it is judged.
    private func tally(
        _ name: String, _ host: Host, pairs: Int = 100, pooled: Int = 1, factor: Double? = nil,
        _ changed: (GateSamples, Int) -> GateSamples = { run, _ in run }
    ) throws -> Tally {
        var random = SplitMix64(seed: 11)
        var tally = Tally(held: factor.map { _ in 0 })
        for pair in 0..<pairs {
            let drawn = runs(host).shuffled(using: &random)
            let earlier = Array(drawn.dropLast(pooled).suffix(GateOptions.spreadRuns))
            let result = try #require(
                LatencyGate.compare(
                    drawn.suffix(pooled).map { changed($0, pair) },
                    with: Array(earlier.suffix(10)), neighbours: earlier.map(\.forward),
                    GateOptions()))
            tally.counts[result.verdict, default: 0] += 1
            let interval = result.total.decisive.interval
            if let factor, interval.low <= factor, factor <= interval.high {
                tally.held? += 1
            }
        }
        print("gate: \(name), \(host), \(pairs) pairs, \(pooled) against 10: \(tally.text)")
        return tally
    }

    @Test func noiseIsOfTheCanaryThatRunsNow() throws {
        let text = String(decoding: try fileBytes(Fixtures.path + "/gate/noise.csv"), as: UTF8.self)
        let names = text.prefix { $0 != "\n" }.split(separator: ",").map(String.init)
        #expect(names == ["canary", HostCanary.identity, "clock", Profile.clock])
        #expect(runs(.quiet).count >= 20)
        #expect(runs(.busy).count >= 20)
    }

    @Test
    func sameModelIsHardlyEverCalledSlower() throws {
        for host in Host.allCases {
            let same = try tally("A/A", host, factor: 1)
            #expect(same.share(.fail) <= 0.01)
            #expect(try #require(same.coverage) >= 0.9)
            #expect(try tally("A/A", host, pooled: 3).share(.fail) <= 0.01)
        }
    }

    @Test func slowBlockIsFound() throws {
        for host in Host.allCases {
            let found = try tally("one block 10 % slower", host) { run, pair in
                run.slowed(1.10, below: "transformer_blocks.\(pair % 4)")
            }
            #expect(found.pairs == 100)
            #expect(found.share(.fail) >= 0.95)
            #expect(found.share(.pass) <= 0.01)
        }
        let pooled = try tally("one block 5 % slower", .quiet, pooled: 3) { run, pair in
            run.slowed(1.05, below: "transformer_blocks.\(pair % 4)")
        }
        #expect(pooled.share(.pass) <= 0.01)
    }

    @Test func slowForwardIsFound() throws {
        for host in Host.allCases {
            let much = try tally("forward 10 % slower", host, factor: 1.1) { run, _ in
                run.slowed(1.1, below: "")
            }
            #expect(much.share(.pass) == 0)
            #expect(much.share(.fail) >= 0.95)
            let little = try tally("forward 5 % slower", host, factor: 1.05) { run, _ in
                run.slowed(1.05, below: "")
            }
            #expect(little.share(.pass) <= 0.01)
        }
    }

    /// Quiet baselines, candidates beside a process that took half of the CPUs.
    @Test
    func busyHostIsNoRegression() throws {
        let (quiet, busy) = (runs(.quiet), runs(.busy))
        var random = SplitMix64(seed: 3)
        let failures = try (0..<100).count { pair in
            let baseline = Array(quiet.shuffled(using: &random).prefix(10))
            let result = try #require(
                LatencyGate.compare([busy[pair % busy.count]], with: baseline, GateOptions()))
            return result.verdict == .fail
        }
        print("gate: quiet baseline, busy host: \(failures) of 100 regress")
        #expect(failures <= 1)
    }
}

/// Reads `fixtures/gate/noise.csv`.
private enum RecordedNoise {
    static func runs(_ text: String) throws -> [GateSamples] {
        let lines = text.split(separator: "\n").map {
            $0.split(separator: ",", omittingEmptySubsequences: false)
        }
        try #require(lines.count > 2)
        let header = lines[1]
        let groups = Dictionary(grouping: lines.dropFirst(2)) { Int($0[0]) ?? 0 }
        return try groups.sorted { $0.key < $1.key }.map { _, rows in
            func column(_ index: Int) throws -> [Double] {
                try rows.map { try #require(Double($0[index])) }
            }
            var layers: [GateSamples.Layer] = []
            for index in stride(from: 5, to: header.count, by: 2) {
                layers.append(
                    .init(
                        path: String(header[index].split(separator: ":")[0]),
                        wall: try column(index), cpu: try column(index + 1)))
            }
            let (canary, canaryCPU, load) = (try column(1), try column(2), try column(3))
            let distance = try column(4)
            // The forward is the first of them.
            let total = layers.removeFirst()
            try #require(total.path == Profile.totalPath && layers.count == 16)
            return GateSamples(
                total: total, layers: layers,
                host: rows.indices.map {
                    .init(
                        canaryGFLOPS: canary[$0], canaryCPUGFLOPS: canaryCPU[$0],
                        otherLoad: load[$0],
                        coreDistance: distance[$0] > 0 ? distance[$0] : nil)
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
