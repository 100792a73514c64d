import Foundation
import SanaModel
import SanaQuant

/// Several models against several goldens: one result and one record each, one verdict for all.
struct VerificationBatch {
    let options: Verification.Options
    /// Files of tolerances; of those that were made for runs like one, the first decides for it.
    var calibrations: [Calibration] = []
    let workers: WorkerPool
    /// `nil` where nothing is recorded.
    let store: HistoryStore?
    let open: (String) throws -> OpenedModel
    /// The part of all comparisons that is made; all of them where it is `nil`.
    var shard: Shard?

    /// What came of it.
    struct Outcome {
        var results: [Verification] = []
        /// What could not be compared, and why.
        var failures: [Failure] = []
        /// Numbers of the runs that were recorded, one for each result.
        var runs: [Int64] = []
        /// What the gate says of them; empty where it was not asked.
        var judgements: [Gate.Judgement] = []

        /// Over what could be compared.
        var verdict: Verdict { results.map(\.verdict).max() ?? .pass }
    }

    /// A comparison that could not take place.
    struct Failure {
        let model: String
        /// `nil` where the model cannot be read, whatever it is compared with.
        let reference: Reference?
        let error: any DiagnosticError
        /// When it was met: reports that are rendered twice say the same.
        var date = Date()

        /// Whether a sampling is among what could not be compared.
        var isOfSampling: Bool {
            if case .forward = reference { false } else { true }
        }
    }

    /// A golden to compare with.
    enum Reference {
        case forward(String)
        case trajectory(String)

        var path: String {
            switch self {
            case .forward(let path), .trajectory(let path): path
            }
        }

        /// What may be compared with it, by the names that tolerances of layers match.
        ///
        /// - Throws: what opening it throws.
        func paths() throws -> [String] {
            switch self {
            case .forward(let path):
                let golden = try Golden(path: path)
                return golden.activationNames + golden.outputNames.map { Golden.outputPrefix + $0 }
            case .trajectory(let path):
                let golden = try TrajectoryGolden(path: path)
                return (0..<golden.steps).map(TrajectoryGolden.name) + [TrajectoryGolden.outputName]
            }
        }
    }

    /// Compares each model with each golden. What cannot be read does not keep the others from
    /// being compared.
    ///
    /// - Throws: errors that are no `DiagnosticError`.
    func run(_ models: [String], _ references: [Reference]) throws -> Outcome {
        let progress = ProgressLine("verify")
        defer { progress.finish() }
        var outcome = Outcome()
        var warned = Set<String>()
        for (index, path) in models.enumerated() {
            let first = index * references.count
            let mine = references.enumerated().filter { shard?.contains(first + $0.offset) ?? true }
            guard !mine.isEmpty else { continue }
            do {
                let model = try open(path).load(workers: workers, checksHashes: true)
                let options = options(for: model)
                if !calibrations.isEmpty, options.tolerances.calibrated == nil,
                    warned.insert(path).inserted
                {
                    Console.note(
                        "sana-tools: no file of tolerances was made for \(path.printable) "
                            + "(\(Calibration.Subject(model, options).text)): --tolerance applies to it"
                    )
                }
                if let calibrated = options.tolerances.calibrated,
                    warned.insert(path).inserted
                {
                    remark(on: calibrated, of: path, mine.map(\.element.path))
                }
                for (number, reference) in mine {
                    progress.update(
                        index * references.count + number, of: models.count * references.count)
                    do {
                        let (result, run) = try verify(model, reference, options)
                        outcome.results.append(result)
                        if let run { outcome.runs.append(run) }
                    } catch let error as any DiagnosticError {
                        outcome.failures.append(
                            Failure(model: path, reference: reference, error: error))
                    }
                }
            } catch let error as any DiagnosticError {
                outcome.failures.append(Failure(model: path, reference: nil, error: error))
            }
        }
        return outcome
    }

    /// Says which goldens tolerances were not made with: another timestep may need more.
    private func remark(on calibration: Calibration, of model: String, _ references: [String]) {
        let others = references.map(\.lastPathComponent).filter {
            !calibration.references.contains($0)
        }
        guard !calibration.references.isEmpty, let other = others.first else { return }
        Console.note(
            "sana-tools: the tolerances for \(model.printable) were not made with \(other.printable)"
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
        _ model: LoadedModel, _ reference: Reference, _ options: Verification.Options
    ) throws -> (Verification, run: Int64?) {
        let result: Verification
        let sizes: RunSizes
        switch reference {
        case .forward(let path):
            let golden = try Golden(path: path)
            result = try Verification.run(model, golden, options, workers: workers)
            sizes = RunSizes(golden.inputs)
        case .trajectory(let path):
            let golden = try TrajectoryGolden(path: path)
            result = try Verification.run(model, golden, options, workers: workers)
            sizes = RunSizes(golden.inputs)
        }
        return (result, try store?.record(.verification(result, model, sizes, workers)))
    }
}

extension JUnitReport {
    /// - Throws: `FileError`.
    func write(_ path: String) throws {
        let file = try OutputFile(path, replaceExisting: true)
        try file.write(Array((text + "\n").utf8))
        try file.commit()
    }
}
