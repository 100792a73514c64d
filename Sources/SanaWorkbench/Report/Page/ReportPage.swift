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
            string: String(decoding: PackageResources.report_mustache, as: UTF8.self))
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
                "reference": (run.reference?.lastPathComponent ?? "").printable,
                "found": found, "word": judgement.word,
                "cause": (judgement.failure ?? judgement.reason ?? run.cause ?? "").printable,
                "run": "\(joined.id)",
            ]
        }
        let rest = judgements.count - rows.count
        return rows + (rest > 0 ? [["path": "… and \(rest) more", "word": ""]] : [])
    }

    /// Runs that the first table shows.
    private static let mostRows = 30

    private var judgements: [Gate.Judgement] { outcome.judgements }

    /// A model to show in full: runs of the same weights and stored types, or one alone.
    private struct Subject {
        package var profile: Gate.Judgement?
        package var verification: Gate.Judgement?

        /// The profile where it stands beside a verification.
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

    private func layerChart(_ subject: Subject, id: Int) throws -> Chart? {
        let (profile, verification) = (subject.profile, subject.verification)
        let latencies = try profile.map { try store.run($0.run.joined.id).1 } ?? []
        let errors = try verification.map { try store.run($0.run.joined.id).1 } ?? []
        let slower = Set(
            (profile?.latency?.findings ?? []).filter { $0.verdict == .fail }.map(\.path))
        let wrong = Set((verification?.accuracy ?? []).filter { $0.verdict == .fail }.map(\.path))
        let byPath = Dictionary(errors.map { ($0.path, $0.relativeRms) }) { first, _ in first }
        let timed = Dictionary(latencies.map { ($0.path, $0.medianNs) }) { first, _ in first }
        var seen = Set<String>()
        let paths = (latencies + errors).map(\.path).filter { path in
            ModuleLevel(path: path) != .inner && path != Profile.totalPath
                && seen.insert(path).inserted
        }
        let run = (verification ?? profile)?.run
        let name = run.map { "\($0.run.modelPath.lastPathComponent), \($0.joined.dtype)" } ?? ""
        var chart = Chart.layers(
            paths.prefix(Self.mostLayers).map { path in
                Chart.LayerMeasure(
                    path: path, error: byPath[path] ?? nil, latency: timed[path] ?? nil,
                    isWrong: wrong.contains(path), isSlow: slower.contains(path))
            }, tolerance: verification?.run.run.relativeRMSTolerance)
        chart?.title += " of \(name)"
        if id > 0 { chart?.id += "-\(id)" }
        if paths.count > Self.mostLayers {
            chart?.note +=
                " The first \(Self.mostLayers) layers, and \(paths.count - Self.mostLayers) more."
        }
        return chart
    }

    /// Layers that a chart shows.
    private static let mostLayers = 160

    /// The forward of every profiled series and the output's error of every verified one; where a
    /// layer got slower, that layer too, since a forward's own time varies with its host.
    private func historyCharts() throws -> [Chart] {
        let rest = judgements.count - Self.mostHistories
        var charts = try outcome.ordered.prefix(Self.mostHistories).enumerated().flatMap {
            index, judgement -> [Chart] in
            let subject = judgement.run.run
            let mine = try store.runs(
                ofSeries: judgement.run.joined.seriesId, limit: StepDetection.longestHistory)
            let name =
                "\(subject.modelPath.lastPathComponent), \(judgement.run.joined.dtype), "
                + (subject.sizes.area.map { "latent \($0)" } ?? subject.sizes.text)
            func label(_ run: RunSummary) -> String {
                "run \(run.joined.id), \(run.run.startedAt.prefix(10))"
            }
            guard subject.kind == RunRecord.Kind.profile.rawValue else {
                let errors = mine.compactMap { run in
                    run.joined.outputRelativeRms.map { (label(run), $0) }
                }
                return [
                    Chart.history(
                        "the output's error: \(name)", id: "history-\(index)", errors,
                        measure: "Relative RMS", tolerance: subject.relativeRMSTolerance,
                        format: Format.scientific)
                ].compactMap { $0 }
            }
            let forward = Chart.history(
                "the forward: \(name)", id: "history-\(index)",
                mine.compactMap { run in run.joined.totalMedianNs.map { (label(run), $0) } })
            let slower = (judgement.latency?.findings ?? []).filter {
                $0.verdict == .fail && $0.path != Profile.totalPath
            }.max { $0.decisive.ratio < $1.decisive.ratio }
            let sensitivity = judgement.latency?.sensitivity ?? HostSensitivity.neutral.exponent
            let layer = try slower.flatMap { finding in
                Chart.history(
                    "\(finding.path): \(name)", id: "history-\(index)-layer",
                    try mine.compactMap { run in
                        let pool = GatePool([try store.gateSamples(run)], sensitivity: sensitivity)
                        let times = finding.cpu == nil ? pool.wall : pool.cpu
                        return times[finding.path]?.runMedians.first.map { (label(run), $0) }
                    }, measure: "Relative to the rest of its forward", format: Format.percent)
            }
            return [layer, forward].compactMap { $0 }
        }
        if rest > 0, !charts.isEmpty {
            charts[charts.count - 1].note +=
                " \(rest) more series \(rest == 1 ? "is" : "are") not drawn."
        }
        return charts
    }

    /// Series whose histories are drawn, the worst first.
    private static let mostHistories = 8

    private func roofline(_ profile: Gate.Judgement?) throws -> Chart? {
        guard let run = profile?.run, let roof = try store.roof(like: run) else { return nil }
        let work = try store.work(of: run)
        let points = try store.run(run.joined.id).1.compactMap { layer in
            work[layer.path].flatMap { work -> Chart.RooflinePoint? in
                guard let time = layer.medianNs, time > 0, work.operations > 0, work.bytes > 0,
                    LayerWorkRow.products.contains(work.kind)
                else { return nil }
                let operations = Double(work.operations)
                return .init(
                    path: layer.path, intensity: operations / Double(work.bytes),
                    rate: operations / time)
            }
        }
        return Chart.roofline(points, roof)
    }

    /// Every stored type of the model, and of those verified against the same goldens: a checkpoint
    /// of another type has another digest.
    private func tradeoff() throws -> Chart? {
        guard let digest = judgements.last?.run.joined.digest else { return nil }
        let runs = try store.newestOfEachSeries()
        let goldens = Set(
            runs.filter { $0.joined.digest == digest }
                .compactMap { $0.run.reference?.lastPathComponent })
        let digests = Set(
            runs.filter { goldens.contains($0.run.reference?.lastPathComponent ?? "") }
                .map(\.joined.digest) + [digest])
        /// Runs of one model, computed alike.
        struct Kind: Hashable {
            let type: String
            let model: String
            let digest: String
        }
        let kinds = Dictionary(grouping: runs.filter { digests.contains($0.joined.digest) }) {
            Kind(
                type: $0.joined.dtype + ($0.run.compute == "fp32" ? "" : ", \($0.run.compute)"),
                model: Series.modelName($0.run.modelPath), digest: $0.joined.digest)
        }
        let counts = Dictionary(kinds.keys.map { ($0.type, 1) }, uniquingKeysWith: +)
        return Chart.tradeoff(
            kinds.sorted { ($0.key.type, $0.key.model) < ($1.key.type, $1.key.model) }
                .compactMap { kind, runs in
                    runs.compactMap(\.run.storedBytes).last.map { bytes in
                        Chart.Stored(
                            name: kind.type + (counts[kind.type] == 1 ? "" : " of \(kind.model)"),
                            bytes: bytes, error: runs.compactMap(\.joined.outputRelativeRms).last,
                            latency: runs.compactMap(\.joined.totalMedianNs).last)
                    }
                })
    }

    private func errors(_ verification: Gate.Judgement?) throws -> Chart? {
        guard let verification else { return nil }
        let layers = try store.run(verification.run.joined.id).1
        let own = layers.filter { $0.path.split(separator: ".").count <= 3 }.compactMap { layer in
            layer.ownRelativeRms.map { (layer.path, $0, layer.inheritedRelativeRms) }
        }
        var chart = Chart.errors(Array(own.prefix(Self.mostLayers)))
        if own.count > Self.mostLayers {
            chart?.note +=
                " The first \(Self.mostLayers) layers, and \(own.count - Self.mostLayers) more."
        }
        return chart
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
            ("Compute", run.run.compute), ("Numerics", run.run.numerics),
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

extension RunRow {
    /// The relative RMS that its tolerance allows; `nil` for a profile.
    fileprivate var relativeRMSTolerance: Double? {
        guard let tolerance, let metric = metric.flatMap(Metric.init(rawValue:)) else { return nil }
        return metric.relativeRMS(tolerance)
    }
}
