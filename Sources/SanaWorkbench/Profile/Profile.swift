import Foundation
import SanaModel

/// Where the time of a forward goes.
package struct Profile: Sendable {
    /// Name of the whole forward in the history.
    package static let totalPath = "total"
    /// How CPU time is read: the sum of the threads' own clocks. Runs of another clock are another
    /// series.
    package static let clock = "threads"

    /// One module.
    package struct Layer: Sendable {
        package let module: ModuleGraph.Module
        package let timing: Timing
        /// CPU time of all threads, in nanoseconds, one for each sample of `timing`.
        package let cpu: [Int]
        /// Part of the forward, by medians; a module contains its children.
        package let share: Double
        /// Bytes of weights as stored, and of activations, that it must move at least.
        package let bytes: Int
        /// The element type of its products.
        package let compute: ComputeMode

        /// Rate of the module's matrix products; `nil` where it has none.
        package var gflops: Double? {
            module.operations > 0 && timing.median > 0
                ? Double(module.operations) / timing.median : nil
        }

        /// Billions of bytes a second that those bytes make.
        package var bandwidth: Double? { timing.median > 0 ? Double(bytes) / timing.median : nil }
    }

    /// One timed forward and what the host did meanwhile, or the mean of several.
    package struct Repetition: Sendable, Equatable {
        /// How many.
        package private(set) var forwards = 1
        package let nanoseconds: Int
        /// Part of it that went to rounding activations to int8.
        package let quantizationShare: Double
        /// Rate of the canary between its blocks.
        package let canaryGFLOPS: Double
        /// The same for a second of CPU time: what other processes take does not count.
        package let canaryCPUGFLOPS: Double
        /// CPU time of the canary on all threads.
        package let canaryCPUNanoseconds: Int
        /// CPU time of the forward on all threads, without the canary's.
        package let cpuNanoseconds: Int
        /// The same by the process's clock, which counts threads that run to the last tick only,
        /// with what threads spent on waiting for each other: the one that old builds read.
        package let processNanoseconds: Int
        /// Part of all CPUs that others took, 0...1; `nil` where the system does not tell.
        package let otherLoad: Double?
        /// Nanoseconds that a cache line took from one thread to another and back, just before the
        /// forward or behind it; `nil` where it could not be told.
        package let coreDistance: Double?

        /// One forward, or one sampling, as its parts were timed.
        ///
        /// - Parameters:
        ///   - wall, cpu: nanoseconds without the canary's.
        ///   - process: CPU time of the process, the canary's included.
        init(
            wall: Int, cpu: Int, process: Int, quantization: Duration,
            canary: ProfileProbe.CanaryTime, gflop: Double, otherLoad: Double?,
            coreDistance: Double?
        ) {
            nanoseconds = max(1, wall)
            quantizationShare = quantization.inSeconds * 1e9 / Double(nanoseconds)
            let gflop = gflop * Double(canary.slices)
            canaryGFLOPS = gflop / Double(max(1, canary.wall)) * 1e9
            canaryCPUGFLOPS = gflop / Double(max(1, canary.cpu)) * 1e9
            canaryCPUNanoseconds = max(1, canary.cpu)
            cpuNanoseconds = max(1, cpu)
            processNanoseconds = max(0, process - canary.cpu)
            (self.otherLoad, self.coreDistance) = (otherLoad, coreDistance)
        }

        /// - Parameter all: forwards with the same work of the canary, at least one.
        init(meanOf all: ArraySlice<Repetition>) {
            let count = Double(all.count)
            func mean(_ value: (Repetition) -> Double) -> Double {
                all.reduce(0) { $0 + value($1) } / count
            }
            forwards = all.count
            nanoseconds = Int(mean { Double($0.nanoseconds) })
            quantizationShare =
                mean { $0.quantizationShare * Double($0.nanoseconds) } / Double(nanoseconds)
            canaryGFLOPS = 1 / mean { 1 / $0.canaryGFLOPS }
            canaryCPUGFLOPS = 1 / mean { 1 / $0.canaryCPUGFLOPS }
            canaryCPUNanoseconds = Int(mean { Double($0.canaryCPUNanoseconds) })
            cpuNanoseconds = Int(mean { Double($0.cpuNanoseconds) })
            processNanoseconds = Int(mean { Double($0.processNanoseconds) })
            let loads = all.compactMap(\.otherLoad)
            otherLoad = loads.isEmpty ? nil : loads.reduce(0, +) / Double(loads.count)
            coreDistance = all.compactMap(\.coreDistance).max()
        }
    }

    /// What records have of a profile beside latencies.
    package struct Facts: Sendable {
        let loadSeconds: Double
        let repetitions: [Repetition]
        let warnings: [String]
        /// `nil` where it says nothing of single modules, as the next one.
        var peaks: Peaks?
        var probeOverhead: Double?
    }

    package let model: String
    /// Types of the stored weights, joined by +.
    package let dtype: String
    package let compute: String
    package let numerics: Numerics
    package let sizes: RunSizes
    package let threads: Int
    /// In execution order, parents before children.
    package let layers: [Layer]
    package let total: Timing
    package let repetitions: [Repetition]
    /// Operations of one forward.
    package let operations: Int
    package var peaks: Peaks
    /// Time that the probes themselves took, as part of the forward.
    package let probeOverhead: Double
    package let peakRSSBytes: Int
    /// Decoding and binding the weights.
    package let loadSeconds: Double
    /// Bytes of the weights as stored.
    package let storedBytes: Int
    /// What disturbs timing, a sentence each.
    package let warnings: [String]
    package let startedAt: Date
    package let seconds: Double

    /// Rate of the whole forward.
    package var gflops: Double { Double(operations) / total.median }
    /// Rate of a fixed matrix product of the model's own kernels, the best of those measured.
    package var canaryGFLOPS: Double { peaks.sgemmGFLOPS }
}

extension Profile {
    /// What kind of work time goes to.
    package enum Work: String, CaseIterable, Sendable {
        case gemm, attention, depthwise, elementwise, quantization
    }

    /// Parts of the forward by kind of work, from medians; they add up to 1.
    ///
    /// A module's own time is what its children leave of it: norms, gates and activations in a
    /// block and its feed-forward, the products between heads in attention.
    package var allocation: [Work: Double] {
        var own = [Profile.totalPath: total.median]
        let known = Set(layers.map(\.module.path))
        for layer in layers { own[layer.module.path] = layer.timing.median }
        for layer in layers {
            own[parent(of: layer.module.path, among: known), default: 0] -= layer.timing.median
        }
        var result = Dictionary(uniqueKeysWithValues: Work.allCases.map { ($0, 0.0) })
        let works = Dictionary(
            uniqueKeysWithValues: layers.map { ($0.module.path, $0.module.work) })
        for (path, nanoseconds) in own {
            result[works[path] ?? .elementwise, default: 0] += nanoseconds / total.median
        }
        // Linear layers round what they read.
        let quantization = repetitions.map(\.quantizationShare).median
        result[.quantization] = quantization
        result[.gemm, default: 0] -= quantization
        return result
    }

    /// The nearest module around `path`; the forward itself where there is none.
    private func parent(of path: String, among known: Set<String>) -> String {
        var rest = path[...]
        while let dot = rest.lastIndex(of: ".") {
            rest = rest[..<dot]
            if known.contains(String(rest)) { return String(rest) }
        }
        return Self.totalPath
    }
}

extension ModuleGraph.Module {
    /// What a module does beside its children.
    fileprivate var work: Profile.Work {
        switch kind {
        case "Linear": .gemm
        case "Conv2d": path.hasSuffix(".conv_depth") ? .depthwise : .gemm
        case "Attention": .attention
        default: .elementwise
        }
    }
}
