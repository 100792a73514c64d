import SanaModel

/// How runs of the history are shown.
extension RunSummary {
    var json: JSONValue {
        .fields([
            "id": .int(Int(id)), "uuid": .string(uuid), "kind": .string(kind),
            "started_at": .string(startedAt), "model": .string(model), "dtype": .string(dtype),
            "digest": .string(digest), "machine": .string(machine), "reference": .text(reference),
            "threads": .int(threads), "compute": .string(compute), "numerics": .string(numerics),
            "batch": .int(batch), "height": .int(height), "width": .int(width),
            "caption_tokens": .int(captionTokens), "canary_gflops": .double(canaryGflops),
            "peak_rss_bytes": .int(peakRssBytes), "metric": .text(metric),
            "tolerance": .double(tolerance), "verdict": .text(verdict),
            "output_relative_rms": .double(outputRelativeRms),
            "output_relative_power": .double(outputRelativePower),
            "total_median_ns": .double(totalMedianNs), "tool_version": .string(toolVersion),
            "git_commit": .text(gitCommit),
        ])
    }

    /// Verdict of a verification, latency of a profile.
    private var outcome: String {
        if let verdict {
            let isPower = metric == Metric.relativePower.rawValue
            let error = (isPower ? outputRelativePower : outputRelativeRms).map(Format.scientific)
            return verdict.printable
                + (error.map { ", output \(isPower ? "power" : "RMS") \($0)" } ?? "")
        }
        return totalMedianNs.map { "\(Format.nanoseconds($0)) a forward" } ?? ""
    }

    var text: String {
        """
        run \(id), \(kind.printable) of \(model.printable) at \(startedAt.printable): \(outcome)
        \(dtype.printable) weights \(String(digest.prefix(12)).printable), compute \
        \(compute.printable), numerics \(numerics.printable), \
        latent \(height)×\(width), batch \(batch), \(captionTokens) caption tokens
        machine \(machine.printable), \(threads) threads, peak memory \(Format.bytes(peakRssBytes)), sana-tools \
        \(toolVersion.printable), commit \(gitCommit.map { String($0.prefix(12)).printable } ?? "none")
        """
    }

    static func table(_ runs: [RunSummary]) -> TextTable {
        var table = TextTable([
            ("run", .right), ("started", .left), ("kind", .left), ("model", .left),
            ("dtype", .left),
            ("latent", .right), ("batch", .right), ("threads", .right), ("outcome", .left),
        ])
        for run in runs {
            table.append([
                "\(run.id)", run.startedAt.printable, run.kind.printable, run.model.printable,
                run.dtype.printable,
                "\(run.height)×\(run.width)", "\(run.batch)", "\(run.threads)", run.outcome,
            ])
        }
        return table
    }
}

extension LayerResult {
    var json: JSONValue {
        .fields([
            "path": .string(path), "samples": samples.map { .int($0) } ?? .null,
            "median_ns": .double(medianNs), "relative_rms": .double(relativeRms),
            "relative_power": .double(relativePower), "max_abs": .double(maxAbs),
            "cosine": .double(cosine), "sqnr_db": .double(sqnrDb), "tolerance": .double(tolerance),
            "verdict": .text(verdict),
        ])
    }

    static func table(_ layers: [LayerResult]) -> TextTable {
        var table = TextTable([
            ("layer", .left), ("median", .right), ("rel. RMS", .right), ("max abs", .right),
            ("SQNR dB", .right), ("verdict", .left),
        ])
        for layer in layers {
            table.append([
                layer.path.printable, layer.medianNs.map(Format.nanoseconds) ?? "",
                layer.relativeRms.map(Format.scientific) ?? "",
                layer.maxAbs.map(Format.scientific) ?? "",
                layer.sqnrDb.map { Format.decimal($0, digits: 1) } ?? "", layer.verdict ?? "",
            ])
        }
        return table
    }
}
