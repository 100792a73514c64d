import SanaModel

/// What `profile` shows of one model.
package protocol ProfileDocument {
    static var kind: ResultDocument.Kind { get }
    /// What is timed: `forward`.
    var unit: String { get }
    var model: String { get }
    var dtype: String { get }
    var compute: String { get }
    var storedBytes: Int { get }
    var total: Timing { get }
    /// Rate of it all; `nil` where operations are not counted.
    var rate: Double? { get }
    var peakRSSBytes: Int { get }
    var warnings: [String] { get }
    var json: JSONValue { get }
    /// - Parameter leaves: show every module; otherwise blocks and their three parts.
    func text(leaves: Bool) -> String
    func markdown(leaves: Bool) -> String
}

extension TextTable {
    /// A row for each of several models.
    package static func overview(_ profiles: [any ProfileDocument]) -> TextTable {
        var table = TextTable(
            [
                ("model", .left), ("dtype", .left), ("compute", .left), ("size", .right),
                ("median", .right), ("p95", .right), ("GFLOP/s", .right), ("peak memory", .right),
            ], optional: ["peak memory", "p95", "compute", "GFLOP/s"])
        for profile in profiles {
            table.append([
                profile.model.printable, profile.dtype,
                ComputeMode.label(ofRecord: profile.compute),
                Format.bytes(profile.storedBytes), Format.nanoseconds(profile.total.median),
                Format.nanoseconds(profile.total.p95),
                profile.rate.map { Format.decimal($0, digits: 1) } ?? "",
                Format.bytes(profile.peakRSSBytes),
            ])
        }
        return table
    }
}

extension Profile.Repetition {
    var json: JSONValue {
        .fields([
            "canary_gflops": .double(canaryGFLOPS), "canary_cpu_gflops": .double(canaryCPUGFLOPS),
            "cpu_ns": .int(cpuNanoseconds), "canary_cpu_ns": .int(canaryCPUNanoseconds),
            "process_cpu_ns": .int(processNanoseconds), "other_load": .double(otherLoad),
            "core_distance_ns": .double(coreDistance),
        ])
    }
}

/// How profiles are shown.
extension Profile: ProfileDocument {
    package static let kind = ResultDocument.Kind.profile
    package var unit: String { "forward" }
    package var rate: Double? { gflops }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "model": .string(model), "compute": .string(compute),
            "numerics": .string(numerics.rawValue), "threads": .int(threads),
            "clock": .string(Self.clock), "canary": .string(HostCanary.identity),
            "batch": .int(sizes.batch), "height": .int(sizes.height), "width": .int(sizes.width),
            "caption_tokens": .int(sizes.tokens), "sizes": sizes.json,
            "total": .fields([
                "median_ns": .double(total.median), "p95_ns": .double(total.p95),
                "samples_ns": .array(total.samples.map { .int($0) }), "gflops": .double(gflops),
                "mad_ns": .double(total.mad), "interval_ns": .interval(total.interval),
            ]), "peak_rss_bytes": .int(peakRSSBytes), "canary_gflops": .double(canaryGFLOPS),
            "load_seconds": .double(loadSeconds), "stored_bytes": .int(storedBytes),
            "peaks": .fields([
                "multiply_add_gflops": .double(peaks.multiplyAddGFLOPS),
                "bf16_multiply_add_gflops": .double(peaks.bf16MultiplyAddGFLOPS),
                "int8_multiply_add_gops": .double(peaks.int8MultiplyAddGOPS),
                "tile_gflops": .double(peaks.tileGFLOPS),
                "sgemm_gflops": .double(peaks.sgemmGFLOPS), "int8_gops": .double(peaks.int8GOPS),
                "read_gbytes_per_second": .double(peaks.readBandwidth),
                "cache_gbytes_per_second": .double(peaks.cacheBandwidth),
            ]), "roof_withheld": .text(roofDoubt),
            "allocation": .object(
                Work.allCases.map { .init($0.rawValue, .double(allocation[$0])) }),
            "probe_overhead": .double(probeOverhead),
            "warnings": .array(warnings.map { .string($0) }),
            "repetitions": .array(
                repetitions.map { $0.json.setting("forwards", to: .int($0.forwards)) }),
            "layers": .array(layers.map(json)), "dtype": .string(dtype),
        ])
    }

    private func json(_ layer: Layer) -> JSONValue {
        .fields([
            "path": .string(layer.module.path), "kind": .string(layer.module.kind),
            "median_ns": .double(layer.timing.median), "p95_ns": .double(layer.timing.p95),
            "share": .double(layer.share), "gflops": .double(layer.gflops),
            "samples_ns": .array(layer.timing.samples.map { .int($0) }),
            "cpu_ns": .array(layer.cpu.map { .int($0) }),
            "mad_ns": .double(layer.timing.mad), "interval_ns": .interval(layer.timing.interval),
            "operations": .int(layer.module.operations), "bytes": .int(layer.bytes),
            "gbytes_per_second": .double(layer.bandwidth),
            "attainable_gflops": .double(attainable(layer)),
        ])
    }

    package func text(leaves: Bool) -> String { heading + "\n\n" + table(leaves: leaves).text }

    package func markdown(leaves: Bool) -> String {
        Markdown.paragraph(heading) + "\n\n" + table(leaves: leaves).markdown
    }

    /// How often it was timed.
    private var count: String {
        let count = Format.counted(repetitions.count, "repetition")
        let forwards = repetitions.reduce(0) { $0 + $1.forwards }
        return forwards == repetitions.count ? count : "\(count), \(forwards) forwards"
    }

    private var heading: String {
        let parts = allocation
        let works = Work.allCases.map { "\($0.rawValue) \(Format.percent(parts[$0] ?? 0))" }
        return """
            \(model.printable): \(Format.nanoseconds(total.median)) per forward\(interval) (p95 \
            \(Format.nanoseconds(total.p95)), \(count)), \
            \(Format.decimal(gflops, digits: 1)) GFLOP/s, \
            \(Format.percent(gflops / canaryGFLOPS)) of this machine's SGEMM at \
            \(Format.decimal(canaryGFLOPS, digits: 1))
            \(sizes.text), \
            compute \(ComputeMode.label(ofRecord: compute)), numerics \(numerics.rawValue), \
            \(threads) threads, peak memory \
            \(Format.bytes(peakRSSBytes)), loaded in \(Format.nanoseconds(loadSeconds * 1e9))
            time: \(works.joined(separator: ", ")); probes \(Format.percent(probeOverhead))
            peaks: multiply-adds \(Format.decimal(peaks.multiplyAddGFLOPS, digits: 1)) GFLOP/s (bf16 \
            \(Format.decimal(peaks.bf16MultiplyAddGFLOPS, digits: 1)), int8 \
            \(Format.decimal(peaks.int8MultiplyAddGOPS, digits: 1)) GOP/s), products \
            \(Format.decimal(peaks.sgemmGFLOPS, digits: 1)) GFLOP/s (bf16 \
            \(Format.decimal(peaks.bf16MultiplyAddGFLOPS, digits: 1)), int8 \
            \(Format.decimal(peaks.int8GOPS, digits: 1)) GOP/s), read \
            \(Format.decimal(peaks.readBandwidth, digits: 1)) GB/s (cached \
            \(Format.decimal(peaks.cacheBandwidth, digits: 1)) GB/s)
            """ + (warnings + [roofDoubt].compactMap { $0 }).map { "\nwarning: \($0)" }.joined()
    }

    private var interval: String {
        total.interval.map {
            " (95 %: \(Format.nanoseconds($0.low)) to \(Format.nanoseconds($0.high)))"
        } ?? ""
    }

    private func table(leaves: Bool) -> TextTable {
        var table = TextTable(
            [
                ("layer", .left), ("kind", .left), ("median", .right), ("p95", .right),
                ("MAD", .right), ("share", .right), ("GFLOP/s", .right), ("GB/s", .right),
                ("% of roofline", .right),
            ], optional: ["MAD", "kind", "GB/s", "p95", "% of roofline", "GFLOP/s"])
        for layer in layers where leaves || layer.module.isSummary {
            let roof = attainable(layer).flatMap { roof in layer.gflops.map { $0 / roof } }
            table.append([
                layer.module.path, layer.module.kind, Format.nanoseconds(layer.timing.median),
                Format.nanoseconds(layer.timing.p95), Format.nanoseconds(layer.timing.mad),
                Format.percent(layer.share),
                layer.gflops.map { Format.decimal($0, digits: 1) } ?? "",
                layer.bandwidth.map { Format.decimal($0, digits: 1) } ?? "",
                roof.map(Format.percent) ?? "",
            ])
        }
        return table
    }
}

extension ModuleGraph.Module {
    /// Whether the module is in a table without leaves: top-level modules, blocks and their
    /// parts.
    package var isSummary: Bool {
        ModuleLevel(path: path) != .inner
    }
}
