import SanaModel

/// Takes time and memory of a sampling's stages, of their steps and of what is loaded for them, and
/// shows which one runs.
package final class StageClock {
    /// What went on under one name, in one go or in several.
    struct Span: Sendable, Equatable {
        /// A stage, a step of it or something loaded: `prompt`, `denoise.3`, `load.vae`.
        fileprivate(set) var path: String
        var nanoseconds = 0
        /// CPU time of all threads.
        var cpu = 0
        /// Memory that was resident as it began.
        let startBytes: Int
        /// The most that was resident meanwhile, if the clock tells spans apart; else since the
        /// process began.
        var peakBytes = 0
    }

    /// What spans of loading are called by.
    static let loading = "load"

    /// In the order in which they began.
    private(set) var spans: [Span] = []
    private let workers: WorkerPool
    private let tellsPeaksApart: Bool
    private let interlude: () -> Void
    private let progress: any ProgressDisplay
    private var current: (path: String, start: ContinuousClock.Instant, cpu: Int)?
    private var stage = ""
    private var stageStart = ContinuousClock.now
    /// Steps of the stage that were marked.
    private var marks = 0

    /// - Parameters:
    ///   - title: before the name of what runs.
    ///   - tellsPeaksApart: whether the system's count of the most memory begins anew with each
    ///     span. What watches the process from outside then no longer sees its peak.
    ///   - interlude: runs after each step and each stage, and is part of none.
    package init(
        _ title: String, _ workers: WorkerPool, tellsPeaksApart: Bool = false,
        interlude: @escaping () -> Void = {}
    ) {
        (progress, self.workers) = (Notices.progress(title), workers)
        (self.tellsPeaksApart, self.interlude) = (tellsPeaksApart, interlude)
    }

    /// Runs a stage.
    ///
    /// - Parameter hasSteps: whether it calls `step`.
    func run<Value>(
        _ name: String, hasSteps: Bool = false, _ body: () throws -> Value
    ) rethrows -> Value {
        (stage, stageStart, marks) = (name, .now, 0)
        progress.show("\(name) …")
        enter(hasSteps ? "\(name).0" : name)
        let value = try body()
        // What comes after the last marked step is none.
        if marks > 0, let path = current?.path { rename(path, to: name) }
        leave()
        interlude()
        return value
    }

    /// A step of the stage that runs has ended, and nobody knows how many there are.
    func mark() {
        marks += 1
        leave()
        interlude()
        enter("\(stage).\(marks)")
    }

    /// A step of the stage that runs has ended.
    ///
    /// - Parameter number: of those done.
    func step(_ number: Int, of count: Int) {
        leave()
        interlude()
        let left =
            (ContinuousClock.now - stageStart).inSeconds / Double(number) * Double(count - number)
        progress.show(
            "\(stage) \(number) of \(count)"
                + (left > 0 ? ", \(Format.decimal(left, digits: left < 10 ? 1 : 0)) s left" : ""))
        enter(number < count ? "\(stage).\(number)" : stage)
    }

    /// Loads something within a stage, which it is no part of.
    func load<Value>(_ name: String, _ body: () throws -> Value) rethrows -> Value {
        let outer = current?.path
        enter("\(Self.loading).\(name)")
        let value = try body()
        leave()
        if let outer { enter(outer) }
        return value
    }

    /// Ends the line of progress.
    func finish() { progress.finish() }

    /// Seconds of everything under a name: a stage, or all that was loaded.
    func seconds(_ path: String) -> Double {
        spans.filter { $0.isWithin(path) }.reduce(0) { $0 + Double($1.nanoseconds) / 1e9 }
    }

    private func enter(_ path: String) {
        leave()
        if tellsPeaksApart { Machine.restartPeak() }
        if !spans.contains(where: { $0.path == path }) {
            spans.append(Span(path: path, startBytes: Machine.residentBytes))
        }
        current = (path, .now, workers.cpuNanoseconds)
    }

    private func rename(_ path: String, to name: String) {
        guard let index = spans.firstIndex(where: { $0.path == path }) else { return }
        spans[index].path = name
        current?.path = name
    }

    private func leave() {
        guard let current, let index = spans.firstIndex(where: { $0.path == current.path }) else {
            return
        }
        spans[index].nanoseconds += (ContinuousClock.now - current.start).inNanoseconds
        spans[index].cpu += max(0, workers.cpuNanoseconds - current.cpu)
        spans[index].peakBytes = max(spans[index].peakBytes, Machine.peakResidentBytes)
        self.current = nil
    }
}

extension StageClock.Span {
    /// Whether it is of that name, or a step of it.
    func isWithin(_ path: String) -> Bool { self.path == path || self.path.hasPrefix(path + ".") }
}

/// A pipeline's components, loaded under the eyes of a clock.
struct ClockedSource: PipelineSource {
    let source: OpenedPipeline
    let clock: StageClock

    var pipeline: PipelineClass { source.pipeline }

    private func load<Value>(
        _ component: PipelineComponent, _ body: () throws -> Value
    ) rethrows -> Value {
        try clock.load(component.rawValue, body)
    }

    func tokenizer() throws -> Tokenizer { try load(.tokenizer, source.tokenizer) }
    func textEncoder() throws -> Gemma2Model { try load(.textEncoder, source.textEncoder) }
    func transformer() throws -> SanaTransformer2DModel {
        try load(.transformer, source.transformer)
    }
    func controlNet() throws -> SanaControlNetModel { try load(.controlNet, source.controlNet) }
    func encoder() throws -> AutoencoderDCEncoder { try load(.vae, source.encoder) }
    func decoder() throws -> AutoencoderDCDecoder { try load(.vae, source.decoder) }
    var instructions: (any InstructionStore)? { source.instructions }
    func scheduler() throws -> (json: JSONValue, file: String) { try source.scheduler() }
    func transformerConfig() throws -> SanaConfig { try source.transformerConfig() }
    func autoencoderConfig() throws -> AutoencoderDCConfig { try source.autoencoderConfig() }
}
