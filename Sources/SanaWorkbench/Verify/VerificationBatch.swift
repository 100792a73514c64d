import Foundation
import SanaModel
import SanaQuant

/// Several models against several goldens: one result and one record each, one verdict for all.
package struct VerificationBatch {
    package let options: Verification.Options
    /// Files of tolerances; of those that were made for runs like one, the first decides for it.
    package var calibrations: [Calibration] = []
    package let workers: WorkerPool
    /// `nil` where nothing is recorded.
    package let store: HistoryStore?
    package let open: (String) throws -> OpenedModel
    /// The pipeline of a repository, for recorded ones.
    package let pipeline: (String) throws -> OpenedPipeline
    /// The part of all comparisons that is made; all of them where it is `nil`.
    package var shard: Shard?
    /// The weights that converted models are compared with, where they are at hand.
    package var origin: SourceModel?
    /// Archives that must be there and be made from `origin`.
    package var promised: Set<String> = []
    /// Whether tolerances are made of the results.
    package var calibrates = false
    /// Whether models and references are those of the project: what is absent is no typing error.
    package var isProject = false

    package init(
        options: Verification.Options, calibrations: [Calibration] = [], workers: WorkerPool,
        store: HistoryStore?, open: @escaping (String) throws -> OpenedModel,
        pipeline: @escaping (String) throws -> OpenedPipeline, shard: Shard? = nil,
        origin: SourceModel? = nil, promised: Set<String> = [], calibrates: Bool = false,
        isProject: Bool = false
    ) {
        (self.options, self.calibrations, self.workers) = (options, calibrations, workers)
        (self.store, self.open, self.pipeline, self.shard) = (store, open, pipeline, shard)
        (self.origin, self.promised, self.calibrates) = (origin, promised, calibrates)
        self.isProject = isProject
    }

    /// What came of it.
    package struct Outcome {
        package var results: [Verification] = []
        /// What could not be compared, and why.
        package var failures: [Failure] = []
        /// Numbers of the runs that were recorded, one for each result.
        package var runs: [Int64] = []
        /// The same of comparisons that could not take place though they should have.
        package var failedRuns: [Int64] = []
        /// See `Calibration.scales`; of the model that tolerances are made of.
        package var scales: [String: [Float]] = [:]
        /// What the gate says of all these; `nil` where it was not asked.
        package var night: NightOutcome?

        /// Over what could be compared.
        package var verdict: Verdict { results.map(\.verdict).max() ?? .pass }
    }

    /// A comparison that could not take place.
    package struct Failure {
        package let model: String
        /// `nil` where the model cannot be read, whatever it is compared with.
        package let reference: Reference?
        package let error: any DiagnosticError
        /// When it was met: reports that are rendered twice say the same.
        package var date = Date()

        /// Whether a sampling is among what could not be compared.
        package var isOfSampling: Bool {
            if case .forward = reference { false } else { true }
        }
    }

    /// A golden to compare with.
    package enum Reference {
        case forward(String)
        case trajectory(String)
        case pipeline(String)

        package var path: String {
            switch self {
            case .forward(let path), .trajectory(let path), .pipeline(let path): path
            }
        }

        /// What was given with --reference: a forward, or a pipeline where its file says so.
        package init(_ path: String) {
            let opened = try? OpenedFile.open(path)
            self =
                opened?.1["format"] == PipelineGolden.format ? .pipeline(path) : .forward(path)
        }

        /// What may be compared with it, by the names that tolerances of layers match.
        ///
        /// - Throws: what opening it throws.
        package func paths() throws -> [String] {
            switch self {
            case .forward(let path):
                let golden = try Golden(path: path)
                return golden.activationNames + golden.outputNames.map { Golden.outputPrefix + $0 }
            case .trajectory(let path):
                let golden = try TrajectoryGolden(path: path)
                return (0..<golden.steps).map(TrajectoryGolden.name) + [TrajectoryGolden.outputName]
            case .pipeline(let path): return try PipelineGolden(path: path).paths
            }
        }
    }

    /// Compares each model with each golden. What cannot be read does not keep the others from
    /// being compared.
    ///
    /// - Throws: errors that are no `DiagnosticError`.
    package func run(_ models: [String], _ references: [Reference]) throws -> Outcome {
        let progress = Notices.progress("verify")
        defer { progress.finish() }
        var outcome = Outcome()
        var warned = Set<String>()
        for (index, path) in models.enumerated() {
            let first = index * references.count
            let mine = references.enumerated().filter { shard?.contains(first + $0.offset) ?? true }
            guard !mine.isEmpty else { continue }
            do {
                let (opened, loaded) = try load(path)
                let options = options(for: loaded)
                let model = try comparingScales(of: loaded, opened, options)
                if calibrates { outcome.scales = try ChannelScales.read(opened.source) }
                if !calibrations.isEmpty, options.tolerances.calibrated == nil,
                    warned.insert(path).inserted
                {
                    Notices.note(
                        "sana-tools: no calibration matches \(path.printable) "
                            + "(\(Calibration.Subject(model, options).text)); using --tolerance"
                    )
                }
                if let calibrated = options.tolerances.calibrated,
                    warned.insert(path).inserted
                {
                    warnOfGoldens(outside: calibrated, of: path, mine.map(\.element.path))
                }
                for (number, reference) in mine {
                    progress.update(
                        index * references.count + number, of: models.count * references.count)
                    do {
                        let (result, run) = try verify(model, at: path, reference, options)
                        outcome.results.append(result)
                        if calibrates { try warnOfBlindness(opened, model, reference) }
                        if let run { outcome.runs.append(run) }
                    } catch let error as any DiagnosticError {
                        let failure = Failure(model: path, reference: reference, error: error)
                        outcome.failures.append(failure)
                        outcome.failedRuns += try record(failure, [reference], model)
                    }
                }
            } catch let error as any DiagnosticError {
                let failure = Failure(model: path, reference: nil, error: error)
                outcome.failures.append(failure)
                outcome.failedRuns += try record(failure, mine.map(\.element), nil)
            }
        }
        return outcome
    }

    /// The model at `path`, compared with its source where that is at hand.
    private func load(_ path: String) throws -> (OpenedModel, LoadedModel) {
        let isPromised = promised.contains(path)
        if isPromised, !path.pathExists { throw AbsentArchive(path: path) }
        let opened = try open(path)
        let model = try opened.load(workers: workers, checksHashes: true)
        guard let origin else { return (opened, model) }
        origin.note(model)
        return (
            opened, try origin.compared(model, opened, isPromised: isPromised, workers: workers)
        )
    }

    /// The model, compared with the scales that its file of tolerances recorded.
    private func comparingScales(
        of model: LoadedModel, _ opened: OpenedModel, _ options: Verification.Options
    ) throws -> LoadedModel {
        let recorded = options.tolerances.calibrated?.scales ?? [:]
        guard !recorded.isEmpty else { return model }
        guard let deviations = try ChannelScales.compare(opened.source, with: recorded) else {
            Notices.note(
                "sana-tools: warning: \(model.label.printable) was converted with other rules than "
                    + "the calibrated model, so its scales are not compared")
            return model
        }
        return model.deviating(deviations)
    }

    /// Says which weights' faults a golden cannot show: tolerances made with it miss them, too.
    private func warnOfBlindness(
        _ opened: OpenedModel, _ model: LoadedModel, _ reference: Reference
    ) throws {
        guard case .forward(let path) = reference else { return }
        let names: [String]
        do {
            names = try GoldenBlindness.find(opened, model, Golden(path: path), workers: workers)
        } catch let unknown as GoldenBlindness.Unknown {
            Notices.note(
                "sana-tools: warning: cannot determine which faults \(path.printable) does not show: "
                    + unknown.reason.printable)
            return
        }
        guard let warning = GoldenBlindness.warning(path, names) else { return }
        Notices.note("sana-tools: warning: " + warning)
    }

    /// Records comparisons that should have taken place, as failed, for whoever judges the night.
    ///
    /// A path that the user named and where nothing is says nothing of any model.
    private func record(
        _ failure: Failure, _ references: [Reference], _ model: LoadedModel?
    ) throws -> [Int64] {
        let category = failure.error.category
        guard let store, category != .usage, category != .noInput || isProject else { return [] }
        return try references.map { reference in
            try store.record(
                .failure(failure, of: reference, model, options, threads: workers.threadCount))
        }
    }

    /// Says which goldens tolerances were not made with: another timestep may need more.
    private func warnOfGoldens(
        outside calibration: Calibration, of model: String, _ references: [String]
    ) {
        let others = references.map(\.lastPathComponent).filter {
            !calibration.references.contains($0)
        }
        guard !calibration.references.isEmpty, let other = others.first else { return }
        Notices.note(
            "sana-tools: the tolerances for \(model.printable) were not calibrated with \(other.printable)"
                + (others.count > 1 ? " and \(others.count - 1) more" : "")
                + ", which may need larger ones: calibrate with all goldens")
    }

    /// The options with the tolerances that were made for runs like this one.
    private func options(for model: LoadedModel) -> Verification.Options {
        var options = options
        let subject = Calibration.Subject(model, options)
        let fitting = calibrations.filter { calibration in
            (options.metric ?? calibration.metric) == calibration.metric
                && calibration.applies(to: subject, allowStale: options.allowStale)
        }
        guard let chosen = fitting.first(where: { $0.subject != nil }) ?? fitting.first
        else { return options }
        options.tolerances.calibrated = chosen
        options.metric = chosen.metric
        return options
    }

    private func verify(
        _ model: LoadedModel, at repository: String, _ reference: Reference,
        _ options: Verification.Options
    ) throws -> (Verification, run: Int64?) {
        var result: Verification
        let sizes: RunSizes
        switch reference {
        case .forward(let path):
            let golden = try Golden(path: path)
            let model =
                golden.provenance.foreignClass(model) == nil
                ? try model.configured(by: golden).tiled(options.tile) : model
            result = try Verification.run(model, golden, options, workers: workers)
            result.storedBytes = model.storedBytes
            sizes = RunSizes(model.network.sizes(of: golden.inputs))
            return (result, try store?.record(.verification(result, model, sizes, workers)))
        case .trajectory(let path):
            let golden = try TrajectoryGolden(path: path)
            result = try Verification.run(model, golden, options, workers: workers)
            sizes = RunSizes(golden.inputs)
        case .pipeline(let path):
            let golden = try PipelineGolden(path: path)
            let source = try pipeline(repository)
            result = try Verification.run(model, source, golden, options, workers: workers)
            sizes = try golden.sizes()
        }
        result.storedBytes = model.storedBytes
        return (result, try store?.record(.verification(result, model, sizes, workers)))
    }
}

extension JUnitReport {
    /// - Throws: `FileError`.
    package func write(_ path: String) throws {
        let file = try OutputFile(path, replaceExisting: true)
        try file.write(Array((text + "\n").utf8))
        try file.commit()
    }
}
