import SanaModel

/// What `sample` reports about its run, on stdout and inside the PNGs.
package struct SampleReport {
    package let run: SampleRun
    package let model: String
    /// `nil` where the starting noise was given.
    package let seed: UInt64?
    package let generator: TorchGenerator.Device
    /// Components from elsewhere, as they were given.
    package let places: [String]
    package let compute: ComputeMode
    package let paths: [String]

    package init(
        run: SampleRun, model: String, seed: UInt64?, generator: TorchGenerator.Device,
        places: [String], compute: ComputeMode, paths: [String]
    ) {
        (self.run, self.model, self.seed, self.generator) = (run, model, seed, generator)
        (self.places, self.compute, self.paths) = (places, compute, paths)
    }

    private var request: PipelineRequest { run.pipeline.request }

    /// Where each of `count` pictures goes: the only one to `path`, several next to it by number.
    package static func paths(_ path: String, count: Int) -> [String] {
        guard count > 1 else { return [path] }
        let (stem, end) =
            path.hasSuffix(".png") ? (String(path.dropLast(4)), ".png") : (path, "")
        return (1...count).map { "\(stem)-\($0)\(end)" }
    }

    private func prompt(_ index: Int) -> String {
        request.prompts[index / request.picturesPerPrompt]
    }

    private func negativePrompt(_ index: Int) -> String? {
        guard request.isGuided(run.pipeline.pipeline) else { return nil }
        let prompts = request.negativePrompts
        return prompts[prompts.count == 1 ? 0 : index / request.picturesPerPrompt]
    }

    /// A picture with what it was made of.
    package func image(_ index: Int) -> PNGImage {
        var image = PNGImage(run.pictures[index])
        image.texts = [("prompt", prompt(index))]
        if let negative = negativePrompt(index) {
            image.texts.append(("negative_prompt", negative))
        }
        image.texts.append(
            ("sana-tools", settings.setting("picture", to: .int(index)).text()))
        return image
    }

    /// What another run needs to make the same pictures.
    private var settings: JSONValue {
        .fields([
            "pipeline": .string(run.pipeline.pipeline.rawValue), "model": .string(model),
            "components": .array(places.map(JSONValue.string)),
            "steps": .int(request.steps), "guidance_scale": .double(request.guidanceScale),
            "seed": seed.map { .number(String($0)) } ?? .null,
            "generator": .string(generator.rawValue),
            "height": .int(request.height), "width": .int(request.width),
            "computed_height": .int(run.pipeline.height),
            "computed_width": .int(run.pipeline.width),
            "compute": .string(compute.rawValue),
            "version": .string(ToolVersion.number),
        ])
    }

    package var json: JSONValue {
        .fields([
            "settings": settings,
            "pictures": .array(
                paths.indices.map { index in
                    .fields([
                        "path": .string(paths[index]), "prompt": .string(prompt(index)),
                        "negative_prompt": .text(negativePrompt(index)),
                    ])
                }),
            "seconds": .double(run.seconds),
            "stages": .array(
                run.times.map { time in
                    .fields([
                        "name": .string(time.stage.rawValue), "seconds": .double(time.seconds),
                        "step_seconds": .array(time.steps.map { .double($0) }),
                        "peak_bytes": .int(time.peakBytes),
                    ])
                }),
        ])
    }

    /// Seconds and memory of each stage.
    package var table: TextTable {
        var table = TextTable([
            ("stage", .left), ("seconds", .right), ("share", .right), ("peak memory", .right),
        ])
        for time in run.times {
            table.append([
                time.stage.rawValue, Format.decimal(time.seconds),
                Format.percent(time.seconds / max(run.seconds, .leastNormalMagnitude)),
                Format.bytes(time.peakBytes),
            ])
        }
        return table
    }

    package var text: String {
        let names = paths.indices.map { "\(paths[$0].printable)  \(prompt($0).printable)" }
        return names.joined(separator: "\n") + "\n\n" + table.text
    }
}
