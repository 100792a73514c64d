import Foundation
import SanaModel
import SanaQuant

/// Several models against several goldens: one result and one record each, one verdict for all.
struct VerificationBatch {
    let options: Verification.Options
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
        var failures: [(subject: String, error: any DiagnosticError)] = []
        /// Numbers of the runs that were recorded, one for each result.
        var runs: [Int64] = []
        /// What the gate says of them; empty where it was not asked.
        var judgements: [Gate.Judgement] = []

        var verdict: Verdict { results.map(\.verdict).max() ?? .pass }
        /// Paths of everything that was compared.
        var paths: Set<String> { Set(results.flatMap { $0.compared.map(\.path) }) }
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
    }

    /// Compares each model with each golden. What cannot be read does not keep the others from
    /// being compared.
    ///
    /// - Throws: errors that are no `DiagnosticError`.
    func run(_ models: [String], _ references: [Reference]) throws -> Outcome {
        let progress = ProgressLine("verify")
        defer { progress.finish() }
        var outcome = Outcome()
        for (index, path) in models.enumerated() {
            let first = index * references.count
            let mine = references.enumerated().filter { shard?.contains(first + $0.offset) ?? true }
            guard !mine.isEmpty else { continue }
            do {
                let model = try open(path).load(workers: workers, checksHashes: true)
                for (number, reference) in mine {
                    progress.update(
                        index * references.count + number, of: models.count * references.count)
                    do {
                        let (result, run) = try verify(model, reference)
                        outcome.results.append(result)
                        if let run { outcome.runs.append(run) }
                    } catch let error as any DiagnosticError {
                        outcome.failures.append(("\(path) against \(reference.path)", error))
                    }
                }
            } catch let error as any DiagnosticError { outcome.failures.append((path, error)) }
        }
        return outcome
    }

    private func verify(
        _ model: LoadedModel, _ reference: Reference
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

extension VerificationBatch.Outcome {
    var json: JSONValue {
        var documents = results.map(\.json)
        for (index, judgement) in judgements.enumerated() where index < documents.count {
            documents[index] = documents[index].setting("gate", to: judgement.json)
        }
        return .oneOrMany(documents)
    }

    func text(_ detail: Verification.Detail) -> String {
        (results.map { $0.text(detail) } + [summary] + judgements.map(\.text)).joined(
            separator: "\n")
    }

    func markdown(_ detail: Verification.Detail) -> String {
        let sections = results.map { $0.markdown(detail) }
        return
            ((results.count > 1 ? ["**\(summary)**\n"] + sections : sections)
            + judgements.map { "\n" + $0.markdown })
            .joined(separator: "\n")
    }

    /// The one verdict over all.
    private var summary: String {
        let total = results.count
        let failed = results.filter { $0.verdict == .fail }.count
        let open = results.filter { $0.verdict == .inconclusive }.count
        switch verdict {
        case .pass: return "PASS: \(total) of \(total) comparisons within tolerance"
        case .fail: return "FAIL: \(failed) of \(total) comparisons out of tolerance"
        case .inconclusive: return "INCONCLUSIVE: \(open) of \(total) comparisons decide nothing"
        }
    }

    /// What was sampled from the first trajectory, below what diffusers made of it; `nil` where
    /// nothing was or latents are no pictures.
    var pictures: ContactSheet? {
        let first = results.first { $0.sampling != nil }
        guard let first, let golden = first.sampling?.golden,
            var sheet = ContactSheet("diffusers", golden)
        else { return nil }
        for result in results where result.reference == first.reference {
            guard let final = result.sampling?.final else { continue }
            sheet.add("\(result.model) (\(result.compute))", final)
        }
        return sheet
    }

    var junit: JUnitReport {
        JUnitReport(
            suites: results.map(\.junit)
                + failures.map { subject, error in
                    let outcome = JUnitReport.Case.Outcome.error(
                        type: "\(error.category)", message: error.fullMessage)
                    return .init(
                        name: subject, startedAt: Date(), seconds: 0,
                        cases: [.init(name: "read", outcome: outcome)])
                })
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
