import Foundation
import Mustache
import SanaModel

/// The history as one HTML page: what got worse first, what it rests on below.
struct ReportPage {
    let store: HistoryStore
    let judgements: [Gate.Judgement]
    /// A PNG of a trajectory check.
    var picture: [UInt8]?

    /// The page.
    ///
    /// - Throws: `HistoryError`.
    func html() throws -> String {
        Markup.contentType
        let template = try MustacheTemplate(
            string: String(decoding: PackageResources.report_mustache, as: UTF8.self))
        let verification = newest(.verify)
        let profile = newest(.profile, beside: verification)
        var charts = try [layerChart(profile, verification)].compactMap { $0 }
        charts += try historyCharts()
        charts += try [roofline(profile), tradeoff(), errors(verification)].compactMap { $0 }
        var context: [String: Any] = [
            "word": judgements.verdict.gateWord, "headline": headline,
            "subject": "\(judgements.count) series of \(store.path.lastPathComponent.printable), "
                + "\(try store.runCount()) runs",
            "sentences": sentences, "charts": charts.map(\.context),
            "facts": try facts(profile ?? verification), "version": SanaToolsCommand.version,
        ]
        if !worse.isEmpty { context["worse"] = ["rows": worse] as [String: Any] }
        if let picture {
            let captions = (ContactSheet.captions(inPNG: picture) ?? []).map(\.printable)
            var fields: [String: Any] = ["data": Data(picture).base64EncodedString()]
            if !captions.isEmpty {
                fields["caption"] = ["rows": captions] as [String: Any]
                fields["alt"] = ", from the top: " + captions.joined(separator: "; ")
            }
            context["picture"] = fields
        }
        return template.render(context)
    }

    /// The run to show in full: the worst, of the same stored types as `other` where several are as bad.
    private func newest(
        _ kind: RunRecord.Kind, beside other: Gate.Judgement? = nil
    ) -> Gate.Judgement? {
        func rank(_ judgement: Gate.Judgement) -> (Verdict, Int, Int64) {
            let joined = judgement.run.joined
            let isPartner = joined.dtype == other?.run.joined.dtype
            return (judgement.verdict, isPartner ? 1 : 0, joined.id)
        }
        return judgements.filter { $0.run.run.kind == kind.rawValue }
            .max { rank($0) < rank($1) }
    }

    private var headline: String {
        let failed = judgements.filter { $0.verdict == .fail }
        let slower = failed.count { $0.latency != nil }
        switch judgements.verdict {
        case .pass: return "Nothing got worse"
        case .inconclusive: return "The evidence does not decide"
        case .fail:
            return [
                slower > 0 ? "\(slower) of \(judgements.count) got slower" : nil,
                failed.count > slower
                    ? "\(failed.count - slower) of \(judgements.count) got less accurate" : nil,
            ].compactMap { $0 }.joined(separator: ", ")
        }
    }

    /// Headings of what did not pass; of everything where all passed.
    private var sentences: [String] {
        let open = judgements.filter { $0.verdict != .pass }
        let headings = (open.isEmpty ? judgements : open).sorted { $0.verdict > $1.verdict }
            .prefix(8).map(\.heading)
        return (worst.isEmpty ? [] : ["Worst: " + worst.joined(separator: "; ") + "."]) + headings
    }

    /// The worst layer of each judgement that failed.
    private var worst: [String] {
        judgements.filter { $0.verdict == .fail }.prefix(4).compactMap { judgement in
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
    }

    private var worse: [[String: Any]] {
        judgements.filter { $0.verdict != .pass }.sorted { $0.verdict > $1.verdict }.flatMap {
            judgement -> [[String: Any]] in
            let run = "\(judgement.run.joined.id)"
            let slower = (judgement.latency?.findings ?? []).filter { $0.verdict != .pass }
                .sorted { ($0.verdict, $0.decisive.ratio) > ($1.verdict, $1.decisive.ratio) }
                .prefix(6)
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
                .prefix(6).map { finding in
                    [
                        "path": finding.path.printable, "measure": "relative RMS error",
                        "before": finding.baseline.map(Format.scientific) ?? "not finite",
                        "now": finding.candidate.map(Format.scientific) ?? "not finite",
                        "change": finding.ratio.isFinite ? Format.change(finding.ratio) : "",
                        "word": finding.verdict.gateWord,
                        "run": run,
                    ]
                }
        }.prefix(18).map { $0 }
    }

    private func layerChart(
        _ profile: Gate.Judgement?, _ verification: Gate.Judgement?
    ) throws -> Chart? {
        let latencies = try profile.map { try store.run($0.run.joined.id).1 } ?? []
        let errors = try verification.map { try store.run($0.run.joined.id).1 } ?? []
        let slower = Set(
            (profile?.latency?.findings ?? []).filter { $0.verdict == .fail }.map(\.path))
        let wrong = Set((verification?.accuracy ?? []).filter { $0.verdict == .fail }.map(\.path))
        let byPath = Dictionary(errors.map { ($0.path, $0.relativeRms) }) { first, _ in first }
        let timed = Dictionary(latencies.map { ($0.path, $0.medianNs) }) { first, _ in first }
        var seen = Set<String>()
        let paths = (latencies + errors).map(\.path).filter { path in
            let depth = path.split(separator: ".").count
            let isShown = path.hasPrefix("transformer_blocks.") ? depth <= 3 : depth <= 2
            return isShown && path != Profile.totalPath && seen.insert(path).inserted
        }
        return Chart.layers(
            paths.prefix(160).map { path in
                (
                    path, byPath[path] ?? nil, timed[path] ?? nil,
                    wrong.contains(path), slower.contains(path)
                )
            })
    }

    /// The forward of every profiled series and the output's error of every verified one; where a
    /// layer got slower, that layer too, since a forward's own time wanders with its host.
    private func historyCharts() throws -> [Chart] {
        try judgements.sorted { $0.verdict > $1.verdict }.prefix(8).enumerated().flatMap {
            index, judgement -> [Chart] in
            let subject = judgement.run.run
            let mine = try store.runs(
                ofSeries: judgement.run.joined.seriesId, limit: StepDetection.longestHistory)
            let name =
                "\(subject.modelPath.lastPathComponent), \(judgement.run.joined.dtype), "
                + "latent \(subject.height)×\(subject.width)"
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
                        measure: "Relative RMS", format: Format.scientific)
                ].compactMap { $0 }
            }
            let forward = Chart.history(
                "the forward: \(name)", id: "history-\(index)",
                mine.compactMap { run in run.joined.totalMedianNs.map { (label(run), $0) } })
            let slower = (judgement.latency?.findings ?? []).filter {
                $0.verdict == .fail && $0.path != Profile.totalPath
            }.max { $0.decisive.ratio < $1.decisive.ratio }
            let layer = try slower.flatMap { finding in
                Chart.history(
                    "\(finding.path): \(name)", id: "history-\(index)-layer",
                    try mine.compactMap { run in
                        let pool = GatePool([try store.gateSamples(run)])
                        let times = finding.cpu == nil ? pool.wall : pool.cpu
                        return times[finding.path]?.runMedians.first.map { (label(run), $0) }
                    }, measure: "Part of the rest of its forward", format: Format.percent)
            }
            return [layer, forward].compactMap { $0 }
        }
    }

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

    /// Every stored type of the model, and of those verified against the same goldens: a checkpoint of
    /// another type has another digest.
    private func tradeoff() throws -> Chart? {
        guard let digest = judgements.last?.run.joined.digest else { return nil }
        let runs = try store.newestOfEachSeries()
        let goldens = Set(
            runs.filter { $0.joined.digest == digest }
                .compactMap { $0.run.reference?.lastPathComponent })
        let digests = Set(
            runs.filter { goldens.contains($0.run.reference?.lastPathComponent ?? "") }
                .map(\.joined.digest) + [digest])
        let types = Dictionary(grouping: runs.filter { digests.contains($0.joined.digest) }) {
            $0.joined.dtype + ($0.run.compute == "fp32" ? "" : ", \($0.run.compute)")
        }
        return Chart.tradeoff(
            types.sorted { $0.key < $1.key }.compactMap { name, runs in
                runs.compactMap(\.run.storedBytes).last.map { bytes in
                    Chart.Stored(
                        name: name, bytes: bytes,
                        error: runs.compactMap(\.joined.outputRelativeRms).last,
                        latency: runs.compactMap(\.joined.totalMedianNs).last)
                }
            })
    }

    private func errors(_ verification: Gate.Judgement?) throws -> Chart? {
        guard let verification else { return nil }
        let layers = try store.run(verification.run.joined.id).1
        return Chart.errors(
            layers.filter { $0.path.split(separator: ".").count <= 3 }.compactMap { layer in
                layer.ownRelativeRms.map { (layer.path, $0, layer.inheritedRelativeRms) }
            }.prefix(160).map { $0 })
    }

    private func facts(_ judgement: Gate.Judgement?) throws -> [[String: Any]] {
        guard let run = judgement?.run else { return [] }
        let machine = try store.machine(of: run)
        let facts: [(String, String?)] = [
            ("Model", run.run.modelPath), ("Weights (SHA-256)", run.joined.digest),
            ("Stored types", run.joined.dtype), ("Run", "\(run.joined.id), \(run.run.uuid)"),
            ("Started", run.run.startedAt), ("Processor", machine?.cpu),
            ("Processors", machine.map { "\($0.processors)" }),
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
                "Latent, batch, caption tokens",
                "\(run.run.height)×\(run.run.width), \(run.run.batch), \(run.run.captionTokens)"
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
