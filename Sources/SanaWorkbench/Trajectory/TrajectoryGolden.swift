import SanaModel

/// The latents of a whole sampling of diffusers' `SanaPipeline` or `SanaSprintPipeline`, with the
/// inputs that led to them.
///
/// Format: `sana-trajectory` version 1, one safetensors file or the archive form of it; every value
/// F32: `inputs.latents`, `inputs.prompt_embeds`, masks and `negative_` ones for guidance,
/// `schedule.timesteps`, `schedule.sigmas`, and `latents.{i}` after step i.
///
/// Of a Sprint model there are no negative prompts and no sigmas, `schedule.timesteps` ends with 0,
/// `inputs.noise.{i}` is what is drawn after step i but the last, and `outputs.latents` what the
/// decoder gets.
package struct TrajectoryGolden {
    package static let format = "sana-trajectory"
    package static let version = "1"

    package let path: String
    package let provenance: GoldenProvenance
    package let inputs: SanaSampler.Inputs
    /// Noise between the steps of a Sprint model.
    package let noise: [DenseTensor]
    package let guidanceScale: Double
    package let steps: Int
    /// `scheduler_config.json` of the scheduler that was used.
    package let schedulerConfig: JSONValue
    private let file: GoldenFile
    private static let noisePrefix = "inputs.noise."
    package static let outputName = "outputs.latents"

    /// Inputs that are not finite; a mask may hide captions with −∞.
    package var nonfiniteInputs: [Verification.Problem] {
        let noise = noise.enumerated().map { ("noise.\($0)", Optional($1)) }
        return Verification.Problem.notFinite(
            [
                ("latents", inputs.latents), ("prompt_embeds", inputs.promptEmbeds),
                ("negative_prompt_embeds", inputs.negativePromptEmbeds),
            ] + noise)
    }

    /// Opens and checks a trajectory.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` when it is
    ///   no trajectory.
    package init(path: String) throws {
        let file = try GoldenFile(path: path, format: Self.format, versions: [Self.version])
        provenance = try GoldenProvenance(file)
        let contract = file.contract
        guard let scale = contract["guidance_scale"]?.double, scale.isFinite, abs(scale) <= 1e6,
            let steps = contract["steps"]?.int, FlowSchedulers.stepCounts.contains(steps),
            let scheduler = contract["scheduler"], scheduler.members != nil
        else { throw file.bad("contract: no guidance_scale, steps and scheduler") }
        // Sampling takes as long as there are steps, so their number must be meant.
        guard steps <= file.names.count else {
            throw file.bad(
                "contract: \(steps) steps, each of which has an entry, but the file has "
                    + "\(file.names.count) entries")
        }
        guard let latents = try file.tensor("inputs.latents"),
            let prompt = try file.tensor("inputs.prompt_embeds")
        else { throw file.bad("inputs.latents or inputs.prompt_embeds is absent") }
        (self.path, self.file) = (path, file)
        (guidanceScale, self.steps, schedulerConfig) = (scale, steps, scheduler)
        inputs = SanaSampler.Inputs(
            latents: latents, promptEmbeds: prompt,
            promptAttentionMask: try file.tensor("inputs.prompt_attention_mask"),
            negativePromptEmbeds: try file.tensor("inputs.negative_prompt_embeds"),
            negativePromptAttentionMask: try file.tensor("inputs.negative_prompt_attention_mask"))
        noise = try Self.noise(file, steps: steps, isSprint: Self.isSprint(scheduler))
    }

    /// Whether the recording is of `SanaSprintPipeline`.
    package var isSprint: Bool { Self.isSprint(schedulerConfig) }

    private static func isSprint(_ scheduler: JSONValue) -> Bool {
        scheduler["_class_name"]?.string == "SCMScheduler"
    }

    /// The noise after each step but the last.
    private static func noise(
        _ file: GoldenFile, steps: Int, isSprint: Bool
    ) throws -> [DenseTensor] {
        guard isSprint else { return [] }
        let count = file.names.count { $0.hasPrefix(noisePrefix) }
        let draws = try (0..<steps - 1).compactMap { try file.tensor(noisePrefix + "\($0)") }
        guard count == steps - 1, draws.count == count else {
            throw file.bad(
                "contract: \(steps) steps, which take \(steps - 1) entries \(noisePrefix)*, "
                    + "and there are \(count)")
        }
        return draws
    }

    /// Name of the scheduler's class in diffusers.
    package var schedulerName: String { schedulerConfig["_class_name"]?.string ?? "" }

    /// A Sprint model's scheduler as the recording had it.
    ///
    /// - Throws: `BadDataError` for one that is not known here.
    package func makeSprintScheduler() throws(BadDataError) -> SCMScheduler {
        guard let first = file.contract["max_timesteps"]?.double else {
            throw file.bad("contract: no max_timesteps")
        }
        let second = file.contract["intermediate_timesteps"] ?? .null
        guard second == .null || second.double != nil else {
            throw file.bad("contract: intermediate_timesteps is not a number")
        }
        return try SCMScheduler(
            schedulerConfig, steps: steps,
            .init(maxTimestep: first, intermediateTimestep: second.double), file: path)
    }

    /// A scheduler as the recording had it, of a model that is not Sprint.
    ///
    /// - Throws: `BadDataError` for one that is not known here.
    package func makeScheduler() throws(BadDataError) -> any FlowScheduler {
        try FlowSchedulers.make(schedulerConfig, steps: steps, file: path)
    }

    /// The values of an entry.
    package func values(_ name: String) throws -> DenseTensor? { try file.tensor(name) }

    package static func name(of step: Int) -> String { "latents.\(step)" }

    /// What sampling ends with.
    package func final() throws -> DenseTensor? {
        try file.tensor(isSprint ? Self.outputName : Self.name(of: steps - 1))
    }

    /// Entries that are missing, extra or mismatched, and schedules that differ.
    ///
    /// - Parameter schedule: entries `schedule.*` by our own scheduler.
    package func problems(_ schedule: [(name: String, values: [Float])]) throws -> [Verification
        .Problem]
    {
        var expected: [(name: String, shape: [Int])] = (0..<steps).map {
            (Self.name(of: $0), inputs.latents.shape)
        }
        if isSprint { expected.append((Self.outputName, inputs.latents.shape)) }
        expected += schedule.map { ($0.name, [$0.values.count]) }
        var problems: [Verification.Problem] = []
        for (name, shape) in expected {
            guard let stored = file.shape(name) else {
                problems.append(.missing(name))
                continue
            }
            if stored != shape {
                problems.append(.misshapen(name, golden: stored, model: shape))
            }
        }
        let prompts = (isSprint ? [""] : ["", "negative_"]).flatMap {
            ["inputs.\($0)prompt_embeds", "inputs.\($0)prompt_attention_mask"]
        }
        let draws = noise.indices.map { Self.noisePrefix + "\($0)" }
        let known = Set(expected.map(\.name) + prompts + draws + ["inputs.latents"])
        problems += file.names.filter { !known.contains($0) }.map {
            .init(kind: .extra, message: "\($0.printable) is not an entry of a trajectory")
        }
        for (name, ours) in schedule {
            guard let stored = try file.tensor(name)?.values.values, stored.count == ours.count
            else { continue }
            if let step = ours.indices.first(where: {
                !(abs(ours[$0] - stored[$0]) <= 1e-5 * max(abs(stored[$0]), 1e-3))
            }) {
                problems.append(
                    .init(
                        kind: .schedule,
                        message: "\(name) of step \(step) is \(stored[step]) in the golden, "
                            + "\(ours[step]) by its scheduler's configuration"))
            }
        }
        return problems
    }
}
