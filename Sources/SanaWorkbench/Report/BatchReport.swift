import Foundation
import SanaModel

/// How several verifications are shown, with what could not be compared.
extension VerificationBatch.Outcome {
    package var isEmpty: Bool { results.isEmpty && failures.isEmpty }

    package var json: [JSONValue] {
        var documents = results.map(\.json)
        for (index, judgement) in (night?.judgements ?? []).enumerated()
        where index < documents.count {
            documents[index] = documents[index].setting("gate", to: judgement.json)
        }
        return documents + failures.map(\.json)
    }

    package func text(_ detail: Verification.Detail) -> String {
        (results.map { $0.text(detail) } + failures.map(\.text)
            + (night?.ordered ?? []).map(\.text)
            + [overview.map { $0.text + "\n" }, summary]
            .compactMap { $0 }).joined(separator: "\n")
    }

    /// A row for each comparison, where there are several.
    private var overview: TextTable? {
        guard results.count > 1 else { return nil }
        var table = TextTable(
            [
                ("model", .left), ("reference", .left), ("dtype", .left), ("compute", .left),
                ("size", .right), ("output error", .right), ("largest error", .right),
                ("time", .right), ("verdict", .left),
            ], optional: ["compute", "time", "size", "reference", "largest error"])
        for result in results {
            let metric = result.metric
            table.append([
                result.model.printable, result.reference.lastPathComponent.printable,
                result.dtypes.joined(separator: "+"),
                ComputeMode.label(ofRecord: result.compute),
                result.storedBytes.map(Format.bytes) ?? "",
                result.output.map { Format.scientific(metric.value($0.comparison)) } ?? "",
                result.worst.map { Format.scientific(metric.value($0.comparison)) } ?? "",
                Format.nanoseconds(result.seconds * 1e9), result.verdict.rawValue,
            ])
        }
        return table
    }

    package func markdown(_ detail: Verification.Detail) -> String {
        (["**\(summary)**\n"] + (overview.map { [$0.markdown + "\n"] } ?? [])
            + results.map { $0.markdown(detail) } + failures.map(\.markdown)
            + (night?.ordered ?? []).map { "\n" + $0.markdown }).joined(separator: "\n")
    }

    /// The one verdict over all: what was found now, and where that is good what got worse.
    var summary: String {
        guard failures.isEmpty, verdict != .fail, let night, night.verdict > verdict else {
            return comparisons
        }
        return night.line
    }

    /// The verdict over the comparisons.
    private var comparisons: String {
        let total = results.count
        let failed = results.filter { $0.verdict == .fail }.count
        let open = results.filter { $0.verdict == .inconclusive }.count
        guard failures.isEmpty else {
            return "ERROR: \(failures.count) of \(total + failures.count) could not be read"
                + (total > 0 ? ", \(failed) of \(total) comparisons failed" : "")
        }
        switch verdict {
        case .pass: return "PASS: \(total) of \(total) comparisons within tolerance"
        case .fail: return "FAIL: \(failed) of \(total) comparisons failed"
        case .inconclusive: return "INCONCLUSIVE: \(open) of \(total) comparisons are inconclusive"
        }
    }

    /// What was sampled along each trajectory, below what diffusers made of it; `nil` where
    /// nothing was or latents are no pictures.
    package var pictures: ContactSheet? {
        var sheet = ContactSheet()
        var seen = Set<String>()
        for first in results where first.sampling != nil {
            guard seen.insert(first.reference).inserted, let golden = first.sampling?.golden
            else { continue }
            sheet.add(.init(source: "diffusers", trajectory: first.reference), golden)
            for result in results where result.reference == first.reference {
                guard let final = result.sampling?.final else { continue }
                sheet.add(
                    .init(
                        source: result.model, trajectory: result.reference,
                        dtypes: result.dtypes.joined(separator: "+"), compute: result.compute),
                    final)
                if let (tensor, factor) = result.pipeline?.difference {
                    let source = "\(result.model) minus diffusers, × \(factor)"
                    sheet.add(.init(source: source, trajectory: result.reference), tensor)
                }
            }
        }
        return sheet.isEmpty ? nil : sheet
    }

    package var junit: JUnitReport {
        JUnitReport(
            suites: results.map(\.junit)
                + failures.map { failure in
                    let outcome = JUnitReport.Case.Outcome.error(
                        type: "\(failure.error.category)", message: failure.error.fullMessage)
                    return .init(
                        name: failure.subject(" against "), startedAt: failure.date, seconds: 0,
                        cases: [.init(name: "read", outcome: outcome)])
                } + (night.map { [$0.junit] } ?? []))
    }
}

extension NightOutcome {
    /// One case for each run judged, and for each model that is missed.
    fileprivate var junit: JUnitReport.Suite {
        let missed = unverified.map { model in
            JUnitReport.Case(
                name: model.model,
                outcome: .error(type: Verdict.inconclusive.rawValue, message: model.text))
        }
        let dates = judgements.compactMap { try? Date($0.run.run.startedAt, strategy: .iso8601) }
        return .init(
            name: "gate", startedAt: dates.max() ?? Date(), seconds: 0,
            properties: [("verdict", word)], cases: judgements.map(\.junit) + missed, output: line)
    }
}

extension Gate.Judgement {
    fileprivate var junit: JUnitReport.Case {
        let outcome: JUnitReport.Case.Outcome =
            switch verdict {
            case .pass: .passed
            case .inconclusive: .error(type: word, message: heading)
            case .fail: .failed(type: word, message: heading)
            }
        let against = run.run.reference.map { " against \($0)" } ?? ""
        return .init(name: "\(run.run.kind) of \(run.run.modelPath)\(against)", outcome: outcome)
    }
}

extension VerificationBatch.Failure {
    /// Stands in for the verdict of a comparison.
    private static let verdict = "error"

    fileprivate func subject(_ separator: String) -> String {
        reference.map { model + separator + $0.path } ?? model
    }

    fileprivate var json: JSONValue {
        .fields([
            "model": .string(model), "reference": .text(reference?.path),
            "verdict": .string(Self.verdict), "message": .string(error.description),
            "hint": .text(error.hint),
        ])
    }

    fileprivate var text: String {
        let lines = error.fullMessage.split(separator: "\n").map { "      \($0)" }
        return
            (["\(Self.verdict.uppercased())  \(subject("  against  ").printable)"] + lines + [""])
            .joined(separator: "\n")
    }

    var markdown: String {
        let subject = [model, reference?.path].compactMap { $0.map(Markdown.code) }
        let message = Markdown.paragraph(error.fullMessage)
        return "### ⚠ \(subject.joined(separator: " against "))\n\n\(Self.verdict): \(message)\n"
    }
}
