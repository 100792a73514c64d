import CSignalCleanup
import Foundation
import SanaModel

/// Two builds of sana-tools on one model: processes take turns, in the order ABBA.
///
/// The upgrade of a tool changes the kernels of every model at once, and no profile of the past can
/// be repeated; so the old build is measured now, beside the new one.
package struct BuildComparison {
    /// The other build's file.
    package let other: String
    /// Arguments of `profile` that both builds get, the model among them.
    package let arguments: [String]

    package init(other: String, arguments: [String]) {
        (self.other, self.arguments) = (other, arguments)
    }
    /// Timed forwards of one process.
    package static let repetitions = 5

    /// What one process measured.
    package struct Turn: Sendable, Equatable {
        /// `nil` for builds that read the process's clock.
        package let clock: String?
        package let canary: String?
        package let samples: GateSamples
        /// CPU time of each forward by the process's clock, which every build tells.
        package let processCPU: [Double]
        package let threads: Int
    }

    /// - Throws: `UsageError` when a build cannot be run or says nothing of use.
    package func run(
        _ options: PairedProfile.Options, sizes: RunSizes, progress: (Int, Int) -> Void
    ) throws -> PairedProfile {
        let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe"))
        guard let own else { throw UsageError("cannot find this program's own file") }
        let before = HostState.now
        var (mine, theirs): ([Turn], [Turn]) = ([], [])
        for pair in 0..<options.pairs {
            progress(pair, options.pairs)
            for isMine in PairedProfile.turns(of: pair) {
                if isMine {
                    mine.append(try measure(own))
                } else {
                    theirs.append(try measure(other))
                }
            }
        }
        let load = HostState.now.since(before).otherShare
        return Self.pair(mine, theirs, other, sizes, load, options)
    }

    /// Puts turns side by side.
    package static func pair(
        _ mine: [Turn], _ theirs: [Turn], _ other: String, _ sizes: RunSizes, _ load: Double?,
        _ options: PairedProfile.Options
    ) -> PairedProfile {
        let scale = TurnScale(mine + theirs)
        let (new, old) = (mine.map(scale.times), theirs.map(scale.times))
        let paths = Set(new.flatMap(\.keys)), others = Set(old.flatMap(\.keys))
        func samples(_ path: String) -> PairedProfile.Samples {
            .init(
                path: path,
                pairs: zip(new, old).compactMap { mine, theirs in
                    guard let mine = mine[path], let theirs = theirs[path] else { return nil }
                    return PairedProfile.Pair(candidate: mine, baseline: theirs)
                })
        }
        let blocks = mine.first?.samples.layers.map(\.path).filter {
            ModuleLevel(path: $0) == .block && others.contains($0)
        }
        return PairedProfile(
            candidate: "this build", baseline: other, sizes: sizes,
            threads: mine.first?.threads ?? 0, total: samples(Profile.totalPath),
            blocks: (blocks ?? []).map(samples),
            unmatched: paths.symmetricDifference(others).sorted(), otherLoad: load,
            options: options, unit: "processes")
    }

    private func measure(_ binary: String) throws -> Turn {
        let process = Process()
        process.executableURL = URL(fileURLWithPath: binary)
        process.environment = ChildProcess.environment
        process.arguments =
            ["profile"] + arguments
            + [
                "--repeat", "\(Self.repetitions)", "--warmup", "1", "--no-record", "--format",
                "json", "--quiet",
            ]
        let output = Pipe()
        process.standardOutput = output
        defer { signal_cleanup_set_child(0) }
        do { try process.run() } catch {
            throw UsageError(
                "cannot run \(binary.printable): \(error.localizedDescription)",
                remedy: "give another build of sana-tools to --against-build")
        }
        signal_cleanup_set_child(process.processIdentifier)
        let text = output.fileHandleForReading.readDataToEndOfFile()
        process.waitUntilExit()
        guard process.terminationReason == .exit, process.terminationStatus == 0,
            let json = try? JSONScanner.parse(String(decoding: text, as: UTF8.self)),
            let turn = Turn(json["results"]?.array?.first ?? json)
        else {
            throw UsageError(
                "\(binary.printable) could not profile the model (exit code "
                    + "\(process.terminationStatus))",
                remedy: "give another build of sana-tools to --against-build")
        }
        return turn
    }
}

extension BuildComparison.Turn {
    /// A result of `profile --format json`, which old builds write by itself; `nil` where that is
    /// not what it seems.
    package init?(_ json: JSONValue) {
        func numbers(_ value: JSONValue?, _ key: String) -> [Double] {
            (value?.array ?? []).compactMap { $0[key]?.double }
        }
        let repetitions = json["repetitions"]
        let cpu = numbers(repetitions, "cpu_ns")
        let wall = (json["total"]?["samples_ns"]?.array ?? []).compactMap(\.double)
        let (rates, cpuRates) = (
            numbers(repetitions, "canary_gflops"), numbers(repetitions, "canary_cpu_gflops")
        )
        guard !cpu.isEmpty, cpu.count == wall.count, rates.count == cpu.count,
            cpuRates.count == cpu.count, (wall + rates + cpuRates).allSatisfy({ $0 > 0 }),
            cpu.allSatisfy({ $0 >= 0 })
        else { return nil }
        (clock, canary) = (json["clock"]?.string, json["canary"]?.string)
        let process = numbers(repetitions, "process_cpu_ns")
        processCPU = process.count == cpu.count ? process : cpu
        threads = json["threads"]?.int ?? 0
        samples = GateSamples(
            total: .init(path: Profile.totalPath, wall: wall, cpu: cpu),
            layers: (json["layers"]?.array ?? []).compactMap { layer in
                guard let path = layer["path"]?.string else { return nil }
                let walls = (layer["samples_ns"]?.array ?? []).compactMap(\.double)
                let cpus = (layer["cpu_ns"]?.array ?? []).compactMap(\.double)
                guard walls.count == wall.count, cpus.count == wall.count else { return nil }
                return .init(path: path, wall: walls, cpu: cpus)
            },
            host: zip(rates, cpuRates).map {
                .init(canaryGFLOPS: $0, canaryCPUGFLOPS: $1, otherLoad: nil)
            }, clock: clock)
    }
}

/// How turns of two builds are made comparable.
private struct TurnScale {
    /// Whether both read the threads' clocks.
    private let isExact: Bool
    /// A rate of the canary that times are scaled to; `nil` where the two have different ones.
    private let rate: (wall: Double, cpu: Double)?

    package init(_ turns: [BuildComparison.Turn]) {
        isExact = turns.allSatisfy { $0.clock == Profile.clock }
        let host = turns.flatMap(\.samples.host)
        let canaries = Set(turns.map(\.canary))
        rate =
            canaries.count == 1 && canaries.first != .some(nil) && !host.isEmpty
            ? (host.map(\.canaryGFLOPS).median, host.map(\.canaryCPUGFLOPS).median) : nil
    }

    /// Times of the forward and of each block in one turn, by path.
    package func times(_ turn: BuildComparison.Turn) -> [String: PairedProfile.Times] {
        let (total, host) = (turn.samples.total, turn.samples.host)
        guard isExact else {
            // Ticks are missed and made up for later: only a mean has all of them.
            let mean = turn.processCPU.reduce(0, +) / Double(turn.processCPU.count)
            return [total.path: .init(wall: total.wall.median, cpu: mean)]
        }
        var result: [String: PairedProfile.Times] = [:]
        for layer in [total] + turn.samples.layers
        where layer.path == total.path || ModuleLevel(path: layer.path) == .block {
            let wall = zip(layer.wall, host).map {
                $0 * $1.canaryGFLOPS / (rate?.wall ?? $1.canaryGFLOPS)
            }
            let cpu = zip(layer.cpu, host).map {
                $0 * $1.canaryCPUGFLOPS / (rate?.cpu ?? $1.canaryCPUGFLOPS)
            }
            result[layer.path] = .init(wall: wall.median, cpu: cpu.median)
        }
        return result
    }
}
