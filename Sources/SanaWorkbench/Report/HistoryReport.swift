import SanaModel

/// How runs of the history are shown.
extension RunSummary {
    package var json: JSONValue {
        .fields([
            "id": .int(Int(joined.id)), "uuid": .string(run.uuid), "kind": .string(run.kind),
            "started_at": .string(run.startedAt), "model": .string(run.modelPath),
            "dtype": .string(joined.dtype),
            "digest": .string(joined.digest), "machine": .string(joined.machine),
            "reference": .text(run.reference),
            "threads": .int(run.threads), "compute": .string(run.compute),
            "numerics": .string(run.numerics),
            "batch": .int(run.sizes.batch), "height": .int(run.sizes.height),
            "width": .int(run.sizes.width), "caption_tokens": .int(run.sizes.tokens),
            "sizes": run.sizes.json, "canary_gflops": .double(run.canaryGflops),
            "peak_rss_bytes": .int(run.peakRssBytes), "metric": .text(run.metric),
            "tolerance": .double(run.tolerance), "verdict": .text(run.verdict),
            "cause": .text(run.cause),
            "problems": .array(run.problemLines.map { .string($0) }),
            "output_relative_rms": .double(joined.outputRelativeRms),
            "output_relative_power": .double(joined.outputRelativePower),
            "total_median_ns": .double(joined.totalMedianNs),
            "architecture": .text(run.architecture), "clock": .string(run.clock),
            "canary": .text(run.canary), "allowed": .bool(run.allowed),
            "tool_version": .string(run.toolVersion),
            "git_commit": .text(run.gitCommit),
        ])
    }

    /// Verdict of a verification, latency of a profile.
    private var outcome: String {
        if let verdict = run.verdict {
            let isPower = run.metric == Metric.relativePower.rawValue
            let error = (isPower ? joined.outputRelativePower : joined.outputRelativeRms).map(
                Format.scientific)
            return verdict.printable
                + (error.map { ", output \(isPower ? "power" : "RMS") \($0)" } ?? "")
                + (run.cause.map { ", cause \($0.printable)" } ?? "")
                + (problemKinds.isEmpty ? "" : ", " + problemKinds.joined(separator: ", "))
        }
        let what = run.isOfPipeline ? "per sampling" : "per forward"
        return joined.totalMedianNs.map { "\(Format.nanoseconds($0)) \(what)" } ?? ""
    }

    /// What is wrong with the golden, each kind once.
    private var problemKinds: [String] {
        var seen = Set<Substring>()
        return run.problemLines.compactMap { $0.split(separator: ":").first }
            .filter { seen.insert($0).inserted }.map { String($0).printable }
    }

    package var text: String {
        """
        run \(joined.id), \(run.kind.printable) of \(run.modelPath.printable) at \(run.startedAt.printable): \(outcome)
        \(joined.dtype.printable) weights \(String(joined.digest.prefix(12)).printable), compute \
        \(ComputeMode.label(ofRecord: run.compute).printable), numerics \(run.numerics.printable), \
        \(run.sizes.text)
        machine \(joined.machine.printable), \(run.threads) threads, peak memory \(Format.bytes(run.peakRssBytes)), sana-tools \
        \(run.toolVersion.printable), commit \(run.gitCommit.map { String($0.prefix(12)).printable } ?? "none")
        """
            + (run.reference.map { (run.isOfPipeline ? "\n" : "\nagainst ") + $0.printable } ?? "")
            + run.problemLines.map { "\n" + $0.printable }.joined()
    }

    package static func table(_ runs: [RunSummary]) -> TextTable {
        var table = TextTable(
            [
                ("run", .right), ("started", .left), ("kind", .left), ("model", .left),
                ("dtype", .left),
                ("latent", .right), ("batch", .right), ("threads", .right), ("outcome", .left),
            ], optional: ["batch", "threads", "latent", "dtype", "kind"], names: "model")
        for summary in runs {
            let run = summary.run
            table.append([
                "\(summary.joined.id)", run.startedAt.printable, run.kind.printable,
                run.modelPath.printable, summary.joined.dtype.printable,
                run.sizes.area ?? "",
                "\(run.sizes.batch)", "\(run.threads)", summary.outcome,
            ])
        }
        return table
    }
}

extension LayerResult {
    package var json: JSONValue {
        .fields([
            "path": .string(path), "samples": samples.map { .int($0) } ?? .null,
            "median_ns": .double(medianNs), "relative_rms": .double(relativeRms),
            "relative_power": .double(relativePower), "max_abs": .double(maxAbs),
            "cosine": .double(cosine), "sqnr_db": .double(sqnrDb),
            "own_relative_rms": .double(ownRelativeRms),
            "inherited_relative_rms": .double(inheritedRelativeRms),
            "tolerance": .double(tolerance),
            "verdict": .text(verdict),
        ])
    }

    package static func table(_ layers: [LayerResult]) -> TextTable {
        let isIsolated = layers.contains { $0.ownRelativeRms != nil }
        let own: [(String, TextTable.Alignment)] = [("own", .right), ("inherited", .right)]
        var table = TextTable(
            [("layer", .left), ("median", .right), ("rel. RMS", .right)]
                + (isIsolated ? own : [])
                + [("max abs", .right), ("SQNR dB", .right), ("verdict", .left)])
        for layer in layers {
            func scientific(_ value: Double?) -> String { value.map(Format.scientific) ?? "" }
            table.append(
                [
                    layer.path.printable, layer.medianNs.map(Format.nanoseconds) ?? "",
                    scientific(layer.relativeRms),
                ]
                    + (isIsolated
                        ? [
                            scientific(layer.ownRelativeRms),
                            scientific(layer.inheritedRelativeRms),
                        ]
                        : [])
                    + [
                        scientific(layer.maxAbs),
                        layer.sqnrDb.map { Format.decimal($0, digits: 1) } ?? "",
                        layer.verdict ?? "",
                    ])
        }
        return table
    }
}
