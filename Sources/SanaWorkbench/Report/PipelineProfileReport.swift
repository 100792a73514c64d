import SanaModel

/// How profiles of pipelines are shown.
extension PipelineProfile: ProfileDocument {
    package static let kind = ResultDocument.Kind.profilePipeline
    package var unit: String { "sampling" }
    package var dtype: String { identity.dtype }
    package var storedBytes: Int { identity.storedBytes }
    package var rate: Double? { nil }

    /// The interface that other programs read; field names are kept by tests.
    package var json: JSONValue {
        .fields([
            "model": .string(model), "pipeline": .string(pipeline.rawValue),
            "compute": .string(compute), "numerics": .string(numerics.rawValue),
            "threads": .int(threads), "clock": .string(Profile.clock),
            "canary": .string(HostCanary.identity), "dtype": .string(identity.dtype),
            "steps": .int(request.steps), "guidance_scale": .double(request.guidanceScale),
            "picture_height": .int(request.height), "picture_width": .int(request.width),
            "batch": .int(sizes.batch), "height": .int(sizes.height), "width": .int(sizes.width),
            "caption_tokens": .int(sizes.tokens), "sizes": sizes.json,
            "total": .fields([
                "median_ns": .double(total.median), "p95_ns": .double(total.p95),
                "samples_ns": .array(total.samples.map { .int($0) }),
                "mad_ns": .double(total.mad), "interval_ns": .interval(total.interval),
            ]), "peak_rss_bytes": .int(peakRSSBytes), "load_seconds": .double(loadSeconds),
            "stored_bytes": .int(identity.storedBytes),
            "warnings": .array(warnings.map { .string($0) }),
            "repetitions": .array(repetitions.map(\.json)),
            "parts": .array(
                parts.map { part in
                    .fields([
                        "path": .string(part.path), "median_ns": .double(part.timing.median),
                        "p95_ns": .double(part.timing.p95), "share": .double(part.share),
                        "samples_ns": .array(part.timing.samples.map { .int($0) }),
                        "cpu_ns": .array(part.cpu.map { .int($0) }),
                        "mad_ns": .double(part.timing.mad),
                        "interval_ns": .interval(part.timing.interval),
                        "start_bytes": .int(part.startBytes), "peak_bytes": .int(part.peakBytes),
                    ])
                }),
        ])
    }

    /// All parts, few as they are, whatever `leaves` says.
    package func text(leaves: Bool) -> String { heading + "\n\n" + table.text }

    package func markdown(leaves: Bool) -> String {
        Markdown.paragraph(heading) + "\n\n" + table.markdown
    }

    private var heading: String {
        let shares = parts.filter { !$0.isInner }
            .map { "\($0.path) \(Format.percent($0.share))" }.joined(separator: ", ")
        return """
            \(model.printable): \(Format.nanoseconds(total.median)) per sampling\(interval), \
            \(Format.counted(repetitions.count, "repetition")) from prompt to PNG
            \(pipeline.rawValue), \(Format.counted(request.steps, "step")), \
            \(Format.counted(sizes.batch, "picture")) of \(request.height)×\(request.width) pixels, weights \
            \(identity.dtype), compute \(ComputeMode.label(ofRecord: compute)), numerics \(numerics.rawValue), \
            \(threads) threads
            peak memory \(Format.bytes(peakRSSBytes)); time: \(shares)
            """ + warnings.map { "\nwarning: \($0)" }.joined()
    }

    private var interval: String {
        total.interval.map {
            " (95 %: \(Format.nanoseconds($0.low)) to \(Format.nanoseconds($0.high)))"
        } ?? ""
    }

    private var table: TextTable {
        var table = TextTable([
            ("part", .left), ("median", .right), ("p95", .right), ("MAD", .right),
            ("share", .right), ("memory before", .right), ("peak memory", .right),
        ])
        for part in parts {
            table.append([
                part.path, Format.nanoseconds(part.timing.median),
                Format.nanoseconds(part.timing.p95), Format.nanoseconds(part.timing.mad),
                Format.percent(part.share), Format.bytes(part.startBytes),
                Format.bytes(part.peakBytes),
            ])
        }
        return table
    }
}
