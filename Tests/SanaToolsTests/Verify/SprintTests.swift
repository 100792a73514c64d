import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Samplings of a Sprint model against diffusers' SanaSprintPipeline.
@Suite(.tags(.process)) struct SprintTests {
    private static let model = Fixtures.path + "/tiny/sprint"
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private static func path(_ steps: Int) -> String {
        Fixtures.path + "/trajectories/tiny-sprint-scm-\(steps).safetensors"
    }

    private func verify(
        _ path: String, model: String = model, tolerance: Double = 1e-5
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        options.tolerances.base = tolerance
        return try Verification.run(
            OpenedModel.open(model).load(workers: workers), TrajectoryGolden(path: path), options,
            workers: workers)
    }

    /// A copy of a trajectory with its contract or its tensors changed.
    private func doctored(
        _ steps: Int, contract: (String) -> String = { $0 },
        tensor: (String, [UInt8]) -> (String, [UInt8])? = { ($0, $1) }
    ) throws -> String {
        var builder = try SafetensorsBuilder(copying: Self.path(steps)) { info, bytes in
            tensor(info.name, bytes).map { ($0, info.shape, $1) }
        }
        let text = builder.metadata["contract"] ?? ""
        builder.metadata["contract"] = contract(text)
        return try folder.write("trajectory.safetensors", builder.file)
    }

    @Test(arguments: [1, 2, 4])
    func everyStepIsWithinRoundingOfDiffusers(_ steps: Int) throws {
        let result = try verify(Self.path(steps))
        #expect(result.problems == [])
        #expect(result.passes, "\(result.text(.init()))")
        #expect(
            result.compared.map(\.path) == (0..<steps).map { "latents.\($0)" } + ["outputs.latents"]
        )
        #expect(result.sampling?.scheduler == "SCMScheduler")
        #expect(result.sampling?.steps == steps)
        let noise = try TrajectoryGolden(path: Self.path(steps)).noise
        #expect(noise.count == steps - 1)
    }

    /// The noise of one step differs in one value: that step and what follows tell.
    @Test func brokenNoiseIsCaughtAtItsStep() throws {
        let path = try doctored(
            4,
            tensor: { name, bytes in
                let two: [UInt8] = [0, 0, 0, 0x40]
                return (name, name == "inputs.noise.1" ? two + bytes.dropFirst(4) : bytes)
            })
        let result = try verify(path, tolerance: 1e-4)
        #expect(result.verdict == .fail)
        #expect(result.problems == [])
        #expect(result.firstOutOfTolerance == "latents.1")
        #expect(result.layers.first?.passes == true)
    }

    @Test func exchangedNoiseIsCaught() throws {
        let names = ["inputs.noise.0": "inputs.noise.2", "inputs.noise.2": "inputs.noise.0"]
        let result = try verify(
            doctored(4, tensor: { (names[$0] ?? $0, $1) }), tolerance: 1e-4)
        #expect(result.firstOutOfTolerance == "latents.0")
    }

    @Test(arguments: [
        (#""guidance_scale":4.5"#, #""guidance_scale":4.4"#),
        (#""sigma_data":0.5"#, #""sigma_data":0.51"#),
    ])
    func anotherSettingFails(_ old: String, _ new: String) throws {
        let path = try doctored(
            2, contract: { $0.replacingOccurrences(of: old, with: new) })
        let result = try verify(path, tolerance: 1e-4)
        #expect(!result.passes)
        #expect(result.problems == [])
    }

    @Test func anotherScheduleIsToldByItself() throws {
        let path = try doctored(
            2,
            contract: {
                $0.replacingOccurrences(
                    of: #""intermediate_timesteps":1.3"#, with: #""intermediate_timesteps":1.2"#)
            })
        let result = try verify(path, tolerance: 10)
        #expect(Set(result.problems.map(\.kind)) == [.schedule])
        #expect(result.problems[0].message.contains("schedule.timesteps of step 1 is 1.3"))
    }

    @Test(arguments: [
        (2, #""steps":2"#, #""steps":4"#, "4 steps, which take 3 entries inputs.noise.*"),
        (4, #""steps":4"#, #""steps":2"#, "2 steps, which take 1 entries inputs.noise.*"),
        (4, #""steps":4"#, #""steps":0"#, "no guidance_scale, steps and scheduler"),
        (
            4, #""intermediate_timesteps":null"#, #""intermediate_timesteps":1.3"#,
            "intermediate_timesteps need 2 steps, not 4"
        ),
        (
            4, #""num_train_timesteps":1000"#, #""num_train_timesteps":3"#,
            "4 steps, and SCMScheduler takes 1 to 3"
        ),
        (2, #""prediction_type":"trigflow""#, #""prediction_type":"v""#, "with trigflow"),
        (2, #""sigma_data":0.5"#, #""sigma_data":0"#, "sigma_data is 0, not a positive number"),
        (2, #""max_timesteps":1.5708"#, #""max_timesteps":1e9"#, "not an angle"),
        (2, #""max_timesteps":1.5708"#, #""max_timestep":1"#, "no max_timesteps"),
        (2, #""_class_name":"SCMScheduler""#, #""_class_name":"LCMScheduler""#, "_class_name"),
    ])
    func wrongStepsAndSchedulersAreRefused(
        _ steps: Int, _ old: String, _ new: String, _ words: String
    ) throws {
        let path = try doctored(
            steps,
            contract: {
                #expect($0.contains(old))
                return $0.replacingOccurrences(of: old, with: new)
            })
        #expect { try verify(path) } throws: {
            ($0 as? BadDataError)?.reason.contains(words) ?? false
        }
    }

    @Test func defectsFailByThemselves() throws {
        let missing = try verify(
            doctored(4, tensor: { $0 == "latents.2" ? nil : ($0, $1) }))
        #expect(missing.problems.map(\.kind) == [.missing])
        #expect(missing.verdict == .fail)
        let extra = try verify(
            doctored(2, tensor: { ($0 == "latents.1" ? "latents.9" : $0, $1) }))
        #expect(extra.problems.map(\.kind) == [.missing, .extra])
        // No Sprint model, and a Sprint model with the other pipeline's trajectory.
        let plain = try verify(Self.path(2), model: Fixtures.path + "/tiny/plain")
        #expect(plain.verdict == .fail)
        #expect(plain.compared.isEmpty)
        #expect(plain.problems.contains { $0.message.contains("a Sprint model") })
        let flow = Fixtures.path + "/trajectories/sana-digits-dpm-short-3.safetensors"
        #expect(try verify(flow).problems.contains { $0.message.contains("guidance") })
    }

    @Test func commandVerifiesArchives() throws {
        let program = try BuiltProgram()
        let converted = try program.run(
            "convert", "fixtures/tiny/sprint", "--dtype", "fp16", "--output", "s.safetensors.zst")
        #expect(converted.code == 0)
        let outcome = try program.run(
            "verify", "fixtures/tiny/sprint", "s.safetensors.zst", "--trajectory",
            "fixtures/trajectories/tiny-sprint-scm-4.safetensors", "--tolerance", "1e-5",
            "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let results = outcome.json?.array ?? []
        #expect(results.map { $0["layers"]?.array?.count } == [4, 4])
        #expect(results.allSatisfy { $0["output"]?["path"]?.string == "outputs.latents" })
    }
}
