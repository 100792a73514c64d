import Foundation
import SanaModel

/// The charts of the page.
extension ReportPage {
    func layerChart(_ subject: Subject, id: Int) throws -> Chart? {
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
    func historyCharts() throws -> [Chart] {
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
                        return times[finding.path]?.runs.first.map {
                            (label(run), exp($0.logarithm))
                        }
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

    func roofline(_ profile: Gate.Judgement?) throws -> Chart? {
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
    func tradeoff() throws -> Chart? {
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
            let compute = ComputeMode.label(ofRecord: $0.run.compute)
            return Kind(
                type: $0.joined.dtype + (compute == "fp32" ? "" : ", \(compute)"),
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

    func errors(_ verification: Gate.Judgement?) throws -> Chart? {
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
}

extension RunRow {
    /// The relative RMS that its tolerance allows; `nil` for a profile.
    fileprivate var relativeRMSTolerance: Double? {
        guard let tolerance, let metric = metric.flatMap(Metric.init(rawValue:)) else { return nil }
        return metric.relativeRMS(tolerance)
    }
}
