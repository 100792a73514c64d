import SanaModel

/// The latents of a whole sampling of diffusers' `SanaPipeline`, with the inputs that led to them.
///
/// Format: `sana-trajectory` version 1, one safetensors file or the archive form of it; every value
/// F32: `inputs.latents`, `inputs.prompt_embeds`, masks and `negative_` ones for guidance,
/// `schedule.timesteps`, `schedule.sigmas`, and `latents.{i}` after step i.
struct TrajectoryGolden {
    static let format = "sana-trajectory"
    static let version = "1"

    let path: String
    let provenance: GoldenProvenance
    let inputs: SanaSampler.Inputs
    let guidanceScale: Double
    let steps: Int
    /// `scheduler_config.json` of the scheduler that was used.
    let schedulerConfig: JSONValue
    private let file: GoldenFile

    /// Opens and checks a trajectory.
    ///
    /// - Throws: `FileError`, `SafetensorsError`, an archive's error, or `BadDataError` when it is
    ///   no trajectory.
    init(path: String) throws {
        let file = try GoldenFile(path: path, format: Self.format, version: Self.version)
        provenance = try GoldenProvenance(file)
        let contract = file.contract
        guard let scale = contract["guidance_scale"]?.double, scale.isFinite, abs(scale) <= 1e6,
            let steps = contract["steps"]?.int, FlowSchedulers.stepCounts.contains(steps),
            let scheduler = contract["scheduler"], scheduler.members != nil
        else { throw file.bad("contract: no guidance_scale, steps and scheduler") }
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
    }

    /// Name of the scheduler's class in diffusers.
    var schedulerName: String { schedulerConfig["_class_name"]?.string ?? "" }

    /// A scheduler as the recording had it.
    ///
    /// - Throws: `BadDataError` for one that is not known here.
    func makeScheduler() throws(BadDataError) -> any FlowScheduler {
        try FlowSchedulers.make(schedulerConfig, steps: steps, file: path)
    }

    /// The latent that diffusers had after a step.
    func latent(after step: Int) throws -> DenseTensor? {
        try file.tensor(Self.name(of: step))
    }

    static func name(of step: Int) -> String { "latents.\(step)" }

    /// Entries that are missing, extra or misshapen, and schedules that differ.
    func problems(_ scheduler: any FlowScheduler) throws -> [Verification.Problem] {
        var expected: [(name: String, shape: [Int])] = (0..<steps).map {
            (Self.name(of: $0), inputs.latents.shape)
        }
        expected.append(("schedule.timesteps", [steps]))
        expected.append(("schedule.sigmas", [steps + 1]))
        var problems: [Verification.Problem] = []
        for (name, shape) in expected {
            guard let stored = file.shape(name) else {
                problems.append(.init(kind: .missing, message: "\(name) is not in the golden"))
                continue
            }
            if stored != shape {
                problems.append(.misshapen(name, golden: stored, model: shape))
            }
        }
        let prompts = ["", "negative_"].flatMap {
            ["inputs.\($0)prompt_embeds", "inputs.\($0)prompt_attention_mask"]
        }
        let known = Set(expected.map(\.name) + prompts + ["inputs.latents"])
        problems += file.names.filter { !known.contains($0) }.map {
            .init(kind: .extra, message: "\($0.printable) is no entry that trajectories have")
        }
        for (name, ours) in [
            ("schedule.timesteps", scheduler.timesteps), ("schedule.sigmas", scheduler.sigmas),
        ] {
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
