import CEmbeddedFiles
import Foundation
import Mustache
import SanaModel

/// The history as one HTML page: what got worse first, what it rests on below.
package struct ReportPage {
    package let store: HistoryStore
    package let outcome: NightOutcome
    /// PNG files, such as those of trajectory checks.
    package var pictures: [[UInt8]] = []

    package init(store: HistoryStore, outcome: NightOutcome) {
        (self.store, self.outcome) = (store, outcome)
    }

    /// The page.
    ///
    /// - Throws: `HistoryError`.
    package func html() throws -> String {
        Markup.contentType
        let template = try MustacheTemplate(
            string: String(decoding: sana_report_template().data, as: UTF8.self))
        let subjects = subjects
        var charts = try subjects.enumerated().compactMap { index, subject in
            try layerChart(subject, id: index)
        }
        if let last = charts.indices.last, modelsWithoutLayers > 0 {
            charts[last].note +=
                " And \(Format.counted(modelsWithoutLayers, "more model")), whose layers "
                + "'sana-tools history show' lists."
        }
        charts += try historyCharts()
        let profile = subjects.lazy.compactMap(\.profile).first
        let verification = subjects.lazy.compactMap(\.verification).first
        charts += try [roofline(profile), tradeoff(), errors(verification)].compactMap { $0 }
        var context: [String: Any] = [
            "word": outcome.word, "headline": outcome.headline,
            "about": try about(), "night": night,
            "sentences": sentences, "charts": charts.map(\.context),
            "facts": try subjects.flatMap {
                try facts($0.verification ?? $0.profile) + facts($0.pairedProfile)
            },
            "version": ToolVersion.number,
        ]
        if !worse.isEmpty { context["worse"] = ["rows": worse] as [String: Any] }
        if !pictures.isEmpty {
            context["pictures"] = ["each": pictures.map(Self.fields)] as [String: Any]
        }
        return template.render(context)
    }

    private static func fields(ofPicture file: [UInt8]) -> [String: Any] {
        var fields: [String: Any] = ["data": Data(file).base64EncodedString()]
        func add(_ names: [String], _ order: String) {
            let names = names.map(\.printable)
            fields["caption"] = ["order": order, "names": names] as [String: Any]
            fields["alt"] = ", \(order): " + names.joined(separator: "; ")
        }
        if let rows = ContactSheet.captions(inPNG: file), !rows.isEmpty {
            add(rows, "rows from the top, the first one diffusers' samples")
        } else if let names = PictureStrip.names(inPNG: file), !names.isEmpty {
            add(names, "from the left")
        }
        return fields
    }

    /// What the page is about, for its head.
    private func about() throws -> [[String: Any]] {
        func list(_ values: [String], _ count: Int = 5) -> String {
            var seen = Set<String>()
            let unique = values.filter { seen.insert($0).inserted }
            return Self.limited(unique.map(\.printable), to: count).joined(separator: ", ")
        }
        let runs = judgements.map(\.run)
        let machines = try runs.compactMap(store.machine).map {
            "\($0.cpu), \(Format.counted($0.processors, "CPU")), \($0.system)"
        }
        let dates = runs.map(\.run.startedAt).sorted()
        let commits = runs.compactMap(\.run.gitCommit).map { String($0.prefix(12)) }
        let fields = [
            ("Models", list(runs.map { "\($0.run.modelPath) (\($0.joined.dtype))" })),
            ("Machine", list(machines, 3)), ("Commit", list(commits, 3)),
            (
                "Runs",
                dates.first == dates.last
                    ? dates.first ?? ""
                    : "\(dates.first ?? "") to \(dates.last ?? "")"
            ),
            (
                "History",
                "\(store.path.lastPathComponent.printable): "
                    + "\(judgements.count) series judged, \(Format.counted(try store.runCount(), "run"))"
            ),
        ]
        return fields.filter { !$0.1.isEmpty }.map { ["name": $0.0, "value": $0.1.printable] }
    }

    /// A row for each run that was judged, the worst first.
    private var night: [[String: Any]] {
        let rows = outcome.ordered.prefix(Self.mostRows).map { judgement -> [String: Any] in
            let (run, joined) = (judgement.run.run, judgement.run.joined)
            let found =
                joined.outputRelativeRms.map { "output error " + Format.scientific($0) }
                ?? joined.totalMedianNs.map(Format.nanoseconds) ?? ""
            return [
                "path": run.modelPath.printable, "kind": run.kind.printable,
                "dtype": joined.dtype.printable,
                "reference": Self.goldenName(run.reference).printable,
                "found": found, "word": judgement.word,
                "cause": (judgement.failure ?? judgement.reason ?? run.cause ?? "").printable,
                "run": "\(joined.id)",
            ]
        }
        let rest = judgements.count - rows.count
        return rows + (rest > 0 ? [["path": "… and \(rest) more", "word": ""]] : [])
    }

    /// A golden's name without its directory and the suffix that all have.
    private static func goldenName(_ path: String?) -> String {
        let (name, suffix) = (path?.lastPathComponent ?? "", ".safetensors")
        return name.hasSuffix(suffix) ? String(name.dropLast(suffix.count)) : name
    }

    /// Runs that the first table shows.
    private static let mostRows = 30

    var judgements: [Gate.Judgement] { outcome.judgements }

    /// A model to show in full: runs of the same weights and stored types, or one alone.
    struct Subject {
        package var profile: Gate.Judgement?
        package var verification: Gate.Judgement?

        /// The profile, if shown next to a verification.
        package var pairedProfile: Gate.Judgement? { verification == nil ? nil : profile }
    }

    /// The worst verification and the worst profile; next to each the worst of the other kind of
    /// the same model, as latencies of one say nothing about errors of another.
    private var subjects: [Subject] {
        func worst(_ kind: RunRecord.Kind, like other: Gate.Judgement? = nil) -> Gate.Judgement? {
            judgements.filter { judgement in
                judgement.run.run.kind == kind.rawValue
                    && other.map { judgement.run.isOfModel($0.run) } ?? true
            }.max { ($0.rank, $0.run.joined.id) < ($1.rank, $1.run.joined.id) }
        }
        let (verification, profile) = (worst(.verify), worst(.profile))
        let first = Subject(
            profile: verification.flatMap { worst(.profile, like: $0) },
            verification: verification)
        let second = Subject(
            profile: profile, verification: profile.flatMap { worst(.verify, like: $0) })
        let isOne = first.profile?.run.joined.id == profile?.run.joined.id
        return (verification == nil ? [] : [first]) + (isOne || profile == nil ? [] : [second])
    }

    /// Number of judged models whose layers no chart shows.
    private var modelsWithoutLayers: Int {
        let shown = subjects.flatMap { [$0.profile?.run, $0.verification?.run] }.compactMap(\.self)
        var others: [RunSummary] = []
        for run in judgements.map(\.run) where !(shown + others).contains(where: run.isOfModel) {
            others.append(run)
        }
        return others.count
    }

    /// Headings of what did not pass; of everything where all passed.
    private var sentences: [String] {
        let open = outcome.ordered.filter { $0.verdict != .pass }
        let shown = (open.isEmpty ? judgements : open).map(\.heading)
        return (worst.isEmpty ? [] : ["Worst: " + worst.joined(separator: "; ") + "."])
            + outcome.failedSteps.map { "FAIL: \($0.printable)" }
            + Self.limited(shown, to: 8) + outcome.unverified.map(\.text)
    }

    /// The first `count` of `lines`, and how many more there are.
    private static func limited(_ lines: [String], to count: Int) -> [String] {
        lines.count > count ? lines.prefix(count) + ["… and \(lines.count - count) more"] : lines
    }

    /// The worst layer of each judgement that failed.
    private var worst: [String] {
        let found = outcome.ordered.filter { $0.verdict == .fail }.compactMap {
            judgement -> String? in
            if let slow = (judgement.latency?.findings ?? []).filter({ $0.verdict == .fail })
                .max(by: { $0.decisive.ratio < $1.decisive.ratio })
            {
                return
                    "\(slow.path.printable) takes \(Format.percent(slow.decisive.ratio - 1)) longer"
            }
            return judgement.accuracy.filter { $0.verdict == .fail }
                .max { $0.ratio < $1.ratio }.map { rise in
                    let size = rise.ratio.isFinite ? Format.percent(rise.ratio - 1) : nil
                    return "the error of \(rise.path.printable) "
                        + (size.map { "grew by \($0)" } ?? "is not finite")
                }
        }
        return Self.limited(found, to: 4)
    }

    private var worse: [[String: Any]] {
        let rows = outcome.ordered.filter { $0.verdict != .pass }.flatMap {
            judgement -> [[String: Any]] in
            let run = "\(judgement.run.joined.id)"
            let slower = (judgement.latency?.findings ?? []).filter { $0.verdict != .pass }
                .sorted { ($0.verdict, $0.decisive.ratio) > ($1.verdict, $1.decisive.ratio) }
            return slower.map { finding in
                [
                    "path": finding.path.printable, "measure": "latency",
                    "before": Format.nanoseconds(finding.wall.baseline),
                    "now": Format.nanoseconds(finding.wall.candidate),
                    "change": Format.change(finding.decisive.ratio),
                    "word": finding.verdict.gateWord, "run": run,
                ]
            }
                + judgement.accuracy.filter { $0.verdict != .pass }.sorted { $0.ratio > $1.ratio }
                .map { finding in
                    [
                        "path": finding.path.printable, "measure": "relative RMS error",
                        "before": finding.baseline.map(Format.scientific) ?? "not finite",
                        "now": finding.candidate.map(Format.scientific) ?? "not finite",
                        "change": finding.ratio.isFinite ? Format.change(finding.ratio) : "",
                        "word": finding.verdict.gateWord,
                        "run": run,
                    ]
                }
        }
        let most = 18
        guard rows.count > most else { return rows }
        let rest: [String: Any] = ["path": "… and \(rows.count - most) more", "word": ""]
        return Array(rows.prefix(most)) + [rest]
    }

    private func facts(_ judgement: Gate.Judgement?) throws -> [[String: Any]] {
        guard let run = judgement?.run else { return [] }
        let machine = try store.machine(of: run)
        let facts: [(String, String?)] = [
            ("Model", run.run.modelPath), ("Weights (SHA-256)", run.joined.digest),
            ("Stored types", run.joined.dtype), ("Run", "\(run.joined.id), \(run.run.uuid)"),
            ("Started", run.run.startedAt), ("CPU", machine?.cpu),
            ("CPUs", machine.map { "\($0.processors)" }),
            ("Memory", machine.map { Format.bytes($0.memoryBytes) }), ("System", machine?.system),
            ("Instruction set", machine?.instructionSet), ("Threads", "\(run.run.threads)"),
            ("Compute", ComputeMode.label(ofRecord: run.run.compute)),
            ("Numerics", run.run.numerics),
            ("Golden", run.run.reference),
            (
                "Golden at fault",
                run.run.problemLines.isEmpty
                    ? nil : run.run.problemLines.joined(separator: "; ")
            ),
            (
                "Sizes",
                run.run.sizes.text
            ),
            (
                "SGEMM canary",
                run.run.canaryGflops.map { Format.decimal($0, digits: 1) + " GFLOP/s" }
            ),
            ("Memory read", run.run.readBandwidth.map { Format.decimal($0, digits: 1) + " GB/s" }),
            ("Probes", run.run.probeOverhead.map(Format.percent)),
            (
                "Disturbances",
                run.run.warnings.flatMap { warnings in
                    let lines = warnings.split(separator: "\n").map { String($0).printable }
                    return lines.isEmpty ? nil : lines.joined(separator: "; ")
                }
            ),
            ("sana-tools", run.run.toolVersion), ("Commit", run.run.gitCommit),
        ]
        return facts.compactMap { name, value in
            value.map { ["name": name, "value": $0.printable] as [String: Any] }
        }
    }
}
