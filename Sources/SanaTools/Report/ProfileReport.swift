import SanaModel

/// How profiles are shown.
extension Profile {
    /// The interface that other programs read; field names are kept by tests.
    var json: JSONValue {
        .fields([
            "model": .string(model), "compute": .string(compute),
            "numerics": .string(numerics.rawValue), "threads": .int(threads),
            "batch": .int(sizes.batch), "height": .int(sizes.height), "width": .int(sizes.width),
            "caption_tokens": .int(sizes.captionTokens),
            "total": .fields([
                "median_ns": .double(total.median), "p95_ns": .double(total.p95),
                "samples_ns": .array(total.samples.map { .int($0) }), "gflops": .double(gflops),
            ]), "peak_rss_bytes": .int(peakRSSBytes), "canary_gflops": .double(canaryGFLOPS),
            "layers": .array(
                layers.map {
                    .fields([
                        "path": .string($0.module.path), "kind": .string($0.module.kind),
                        "median_ns": .double($0.timing.median), "p95_ns": .double($0.timing.p95),
                        "share": .double($0.share), "gflops": .double($0.gflops),
                        "samples_ns": .array($0.timing.samples.map { .int($0) }),
                    ])
                }),
        ])
    }

    /// - Parameter leaves: show every module; otherwise blocks and their three parts.
    func text(leaves: Bool) -> String { heading + "\n\n" + table(leaves: leaves).text }

    func markdown(leaves: Bool) -> String { heading + "\n\n" + table(leaves: leaves).markdown }

    private var heading: String {
        """
        \(model.printable): \(Format.nanoseconds(total.median)) a forward (p95 \
        \(Format.nanoseconds(total.p95)), \(total.samples.count) repetitions), \
        \(Format.decimal(gflops, digits: 1)) GFLOP/s, \
        \(Format.percent(gflops / canaryGFLOPS)) of this machine's SGEMM at \
        \(Format.decimal(canaryGFLOPS, digits: 1))
        latent \(sizes.height)×\(sizes.width), batch \(sizes.batch), \(sizes.captionTokens) caption tokens, \
        compute \(compute), numerics \(numerics.rawValue), \(threads) threads, peak memory \
        \(Format.bytes(peakRSSBytes))
        """
    }

    private func table(leaves: Bool) -> TextTable {
        var table = TextTable([
            ("layer", .left), ("kind", .left), ("median", .right), ("p95", .right),
            ("share", .right), ("GFLOP/s", .right),
        ])
        for layer in layers where leaves || layer.module.isSummary {
            table.append([
                layer.module.path, layer.module.kind, Format.nanoseconds(layer.timing.median),
                Format.nanoseconds(layer.timing.p95), Format.percent(layer.share),
                layer.gflops.map { Format.decimal($0, digits: 1) } ?? "",
            ])
        }
        return table
    }
}

extension ModuleInfo {
    /// Whether the module stands in a table without leaves: top-level modules, blocks and their
    /// parts.
    fileprivate var isSummary: Bool {
        let depth = path.split(separator: ".").count
        return path.hasPrefix("transformer_blocks") ? depth <= 3 : depth == 1
    }
}
