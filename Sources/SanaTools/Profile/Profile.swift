import Foundation
import SanaModel

/// Where the time of a forward goes.
struct Profile: Sendable {
    /// Name under which the whole forward stands in the history.
    static let totalPath = "total"

    /// One module.
    struct Layer: Sendable {
        let module: ModuleInfo
        let timing: Timing
        /// Processor time of all threads, in nanoseconds, one for each sample of `timing`.
        let cpu: [Int]
        /// Part of the forward, by medians; a module contains its children.
        let share: Double
        /// Bytes of weights as stored, and of activations, that it must move at least.
        let bytes: Int
        /// Whether its products are of int8 with int8.
        let isInt8: Bool

        /// Rate of the module's matrix products; `nil` where it has none.
        var gflops: Double? {
            module.operations > 0 && timing.median > 0
                ? Double(module.operations) / timing.median : nil
        }

        /// Billions of bytes a second that those bytes make.
        var bandwidth: Double? { timing.median > 0 ? Double(bytes) / timing.median : nil }
    }

    /// One timed forward and what the host did meanwhile.
    struct Repetition: Sendable, Equatable {
        let nanoseconds: Int
        /// Part of it that went to rounding activations to int8.
        let quantizationShare: Double
        /// Rate of the SGEMM canary just before and after it.
        let canaryGFLOPS: Double
        /// The same for a second of processor time: what other processes take does not count.
        let canaryCPUGFLOPS: Double
        /// Processor time that this process took.
        let cpuNanoseconds: Int
        /// Part of all processors that others took, 0...1; `nil` where the system does not tell.
        let otherLoad: Double?
        /// CPU time of the canary and of the forward next to it, where they are known.
        var canaryCPUNanoseconds: Int?
        var modelCPUNanoseconds: Int?
    }

    /// The best rates that this machine showed.
    struct Peaks: Sendable, Equatable {
        let sgemmGFLOPS: Double
        /// Multiply-adds on registers, which no product of fp32 can beat.
        let multiplyAddGFLOPS: Double
        /// The same for int8.
        let int8MultiplyAddGOPS: Double
        /// A product of fp32 that waits for no memory.
        let tileGFLOPS: Double
        let int8GOPS: Double
        /// Billions of bytes read a second.
        let readBandwidth: Double

        /// What a roofline allows for `operations` on `bytes`.
        func attainable(operations: Int, bytes: Int, isInt8: Bool) -> Double {
            min(
                isInt8 ? int8MultiplyAddGOPS : multiplyAddGFLOPS,
                Double(operations) / Double(max(bytes, 1)) * readBandwidth)
        }
    }

    let model: String
    let compute: String
    let numerics: Numerics
    let sizes: RunSizes
    let threads: Int
    /// In execution order, parents before children.
    let layers: [Layer]
    let total: Timing
    let repetitions: [Repetition]
    /// Operations of one forward.
    let operations: Int
    let peaks: Peaks
    /// Time that the probes themselves took, as part of the forward.
    let probeOverhead: Double
    let peakRSSBytes: Int
    /// Decoding and binding the weights.
    let loadSeconds: Double
    /// Bytes of the weights as stored.
    let storedBytes: Int
    /// What disturbs timing, a sentence each.
    let warnings: [String]
    let startedAt: Date
    let seconds: Double
    /// How CPU time was measured.
    var clock = Series.processClock
    /// Identifies the canary's kernel.
    var canary: String?

    /// Rate of the whole forward.
    var gflops: Double { Double(operations) / total.median }
    /// Rate of a fixed matrix product, the best measured between the forwards.
    var canaryGFLOPS: Double { peaks.sgemmGFLOPS }

    /// What the roofline allows for a layer; `nil` where it has no matrix products.
    func attainable(_ layer: Layer) -> Double? {
        guard layer.module.operations > 0 else { return nil }
        return peaks.attainable(
            operations: layer.module.operations, bytes: layer.bytes, isInt8: layer.isInt8)
    }
}

extension Profile {
    /// What kind of work time goes to.
    enum Work: String, CaseIterable, Sendable {
        case gemm, attention, depthwise, elementwise, quantization
    }

    /// Parts of the forward by kind of work, from medians; they add up to 1.
    ///
    /// A module's own time is what its children leave of it: norms, gates and activations in a block
    /// and its feed-forward, the products between heads in attention.
    var allocation: [Work: Double] {
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

extension ModuleInfo {
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
