import SanaModel

/// What `--format github` writes: annotations and the conclusion to stdout, the results to the
/// summary of the step.
package struct GitHubReport {
    private let annotations: [WorkflowCommand]
    package let summary: StepSummary

    package init(
        _ conclusion: String, _ annotations: [WorkflowCommand], _ blocks: [StepSummary.Block]
    ) {
        self.annotations = annotations
        summary = StepSummary(conclusion: conclusion, blocks: blocks)
    }

    /// What stdout gets.
    package var text: String {
        (WorkflowCommand.lines(annotations) + [WorkflowCommand.plain(summary.conclusion)])
            .joined(separator: "\n")
    }
}

extension Inspection {
    package var github: GitHubReport {
        let annotations = problems.map { problem in
            WorkflowCommand(
                problem.severity == .error ? .error : .warning, problem.id,
                "\(problem.location): \(problem.message)\n\(problem.remedy)",
                path: [label.appendingPath(problem.location), label].first {
                    $0.pathExists && !$0.isFolder
                })
        }
        let title = "\(label): \(problemCount)"
        return GitHubReport(
            title, annotations,
            [.init(title: title, isOpen: !problems.isEmpty, markdown: markdown)])
    }
}

extension VerificationBatch.Outcome {
    package var github: GitHubReport {
        let annotations = results.compactMap(\.annotation) + failures.map(\.annotation)
        let blocks =
            results.map { result in
                StepSummary.Block(
                    title: result.title, isOpen: result.verdict != .pass,
                    markdown: result.markdown(.init()))
            }
            + failures.map {
                StepSummary.Block(title: "ERROR  \($0.model)", isOpen: true, markdown: $0.markdown)
            } + (night?.ordered ?? []).map(\.block)
        return GitHubReport(
            summary, annotations + (night?.annotations ?? []), blocks)
    }
}

extension Verification {
    fileprivate var title: String {
        "\(verdict.rawValue.uppercased())  \(model) against \(reference)"
    }

    /// `nil` where it passes.
    fileprivate var annotation: WorkflowCommand? {
        guard verdict != .pass else { return nil }
        let lines = explanation + problems.map(\.line)
        return WorkflowCommand(
            verdict == .fail ? .error : .warning, "verify: \(verdict.rawValue)",
            ([title] + lines.prefix(10)).joined(separator: "\n"), path: model)
    }
}

extension VerificationBatch.Failure {
    fileprivate var annotation: WorkflowCommand { WorkflowCommand(error) }
}

extension NightOutcome {
    package var github: GitHubReport {
        GitHubReport(line, annotations, ordered.map(\.block))
    }

    fileprivate var annotations: [WorkflowCommand] {
        failedSteps.map { WorkflowCommand(.error, "step failed", $0) }
            + ordered.compactMap(\.annotation)
            + unverified.map { WorkflowCommand(.warning, "not verified", $0.text) }
    }
}

extension Gate.Judgement {
    fileprivate var block: StepSummary.Block {
        let title = heading.split(separator: "\n").first.map(String.init) ?? word
        return .init(title: title, isOpen: verdict != .pass, markdown: markdown)
    }

    /// `nil` where nothing got worse.
    fileprivate var annotation: WorkflowCommand? {
        guard verdict != .pass else { return nil }
        return WorkflowCommand(
            verdict == .fail ? .error : .warning, "gate: \(word)", heading,
            path: run.run.modelPath)
    }
}

extension GitHubReport {
    package init(_ profiles: [any ProfileDocument], leaves: Bool, _ outcome: NightOutcome?) {
        let warnings = profiles.flatMap { profile in
            profile.warnings.map {
                WorkflowCommand(.warning, "profile", "\(profile.model): \($0)")
            }
        }
        let blocks = profiles.map { profile in
            StepSummary.Block(
                title: profile.headline, isOpen: false, markdown: profile.markdown(leaves: leaves))
        }
        self.init(
            outcome?.line ?? profiles.map(\.headline).joined(separator: "; "),
            warnings + (outcome?.annotations ?? []),
            blocks + (outcome?.ordered.map(\.block) ?? []))
    }
}

extension ProfileDocument {
    fileprivate var headline: String { "\(model): \(Format.nanoseconds(total.median)) a \(unit)" }
}

extension PairedReport {
    package var github: GitHubReport {
        let level: WorkflowCommand.Level? =
            switch result.verdict {
            case .pass: nil
            case .inconclusive: .warning
            case .fail: .error
            }
        let title = heading.split(separator: "\n").first.map(String.init) ?? ""
        return GitHubReport(
            title,
            level.map {
                [WorkflowCommand($0, "profile: \(result.verdict.gateWord)", heading)]
            } ?? [],
            [.init(title: title, isOpen: level != nil, markdown: markdown)])
    }
}

extension NightOutcomeReport {
    package var github: GitHubReport {
        let annotations = steps.compactMap { step -> WorkflowCommand? in
            guard step.exitCode != 0 else { return nil }
            return WorkflowCommand(
                step.exitCode == 3 ? .warning : .error, "\(step.name): \(step.verdict)",
                step.summary)
        }
        return GitHubReport(
            conclusion, annotations, [.init(title: "Steps", isOpen: true, markdown: markdown)])
    }
}
