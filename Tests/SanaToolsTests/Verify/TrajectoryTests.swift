import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Samplings against what diffusers' SanaPipeline made of the same latent and prompts.
@Suite(.tags(.process)) struct TrajectoryTests {
    static let names = ((try? (Fixtures.path + "/trajectories").folderEntries()) ?? [])
        .filter { $0.hasPrefix("sana-digits") }
    private let folder: TemporaryFolder
    private let path = Fixtures.path + "/trajectories/sana-digits-dpm-short-3.safetensors"

    init() throws { folder = try TemporaryFolder() }

    private func verify(
        _ path: String, model: String = Fixtures.digits, tolerance: Double = 1e-5
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        options.tolerances.base = tolerance
        return try Verification.run(
            OpenedModel.open(model).load(workers: workers), TrajectoryGolden(path: path), options,
            workers: workers)
    }

    /// Both schedulers, all their switches, up to 20 steps.
    @Test(arguments: names) func everyStepIsWithinRoundingOfDiffusers(_ name: String) throws {
        let result = try verify(Fixtures.path + "/trajectories/" + name)
        #expect(result.problems == [])
        #expect(result.passes, "\(result.text(.init()))")
        #expect(result.compared.count == result.sampling?.steps)
        #expect(result.output?.path == "latents.\((result.sampling?.steps ?? 0) - 1)")
    }

    @Test func bothSchedulersAndTheirSwitchesAreCovered() throws {
        let goldens = try Self.names.map {
            try TrajectoryGolden(path: Fixtures.path + "/trajectories/" + $0)
        }
        #expect(
            Set(goldens.map(\.schedulerName)) == [
                "DPMSolverMultistepScheduler", "FlowMatchEulerDiscreteScheduler",
            ])
        #expect(goldens.contains { $0.steps == 20 && $0.schedulerName.hasPrefix("DPM") })
        #expect(goldens.contains { $0.steps == 20 && $0.schedulerName.hasPrefix("Flow") })
        func values(_ key: String) -> Set<String> {
            Set(goldens.compactMap { $0.schedulerConfig[key]?.text() })
        }
        #expect(values("solver_order").isSuperset(of: ["1", "2"]))
        #expect(values("solver_type").isSuperset(of: [#""midpoint""#, #""heun""#]))
        #expect(values("flow_shift").isSuperset(of: ["1.0", "3.0"]))
        #expect(values("shift").isSuperset(of: ["1.0", "3.0"]))
        #expect(goldens.contains { $0.guidanceScale <= 1 })
        #expect(goldens.contains { $0.guidanceScale > 4 })
    }

    /// A solver that is a little different must not pass, or the check is blind.
    @Test(arguments: ["latents.1", "inputs.prompt_embeds"])
    func valuesOfATrajectoryThatAreNotFiniteFailByThemselves(_ name: String) throws {
        let result = try verify(doctored("dpm-short-3", breaking: name) { _ in })
        #expect(result.problems.map(\.kind) == [.notFinite])
        #expect(result.verdict == .fail)
        #expect(result.problems.first?.path == name)
    }

    @Test(arguments: [
        (#""solver_type":"heun""#, #""solver_type":"midpoint""#, "dpm-heun-20"),
        (#""solver_order":1"#, #""solver_order":2"#, "dpm-order1-7"),
        (#""guidance_scale":2.5"#, #""guidance_scale":2.6"#, "dpm-short-3"),
    ])
    func anotherSolverFails(_ old: String, _ new: String, _ name: String) throws {
        let path = try doctored(name) { $0 = $0.replacingOccurrences(of: old, with: new) }
        let result = try verify(path, tolerance: 1e-4)
        #expect(!result.passes)
        #expect(result.problems.isEmpty)
    }

    @Test func anotherScheduleIsToldByItself() throws {
        let path = try doctored("dpm-shift3-20") {
            $0 = $0.replacingOccurrences(of: #""flow_shift":3.0"#, with: #""flow_shift":2.9"#)
        }
        let result = try verify(path, tolerance: 10)
        #expect(Set(result.problems.map(\.kind)) == [.schedule])
        #expect(result.verdict == .fail)
        #expect(result.problems[0].message.contains("schedule.timesteps of step 1 is"))
    }

    private func doctored(
        _ name: String, dropping dropped: String? = nil, breaking broken: String? = nil,
        contract: (inout String) -> Void
    ) throws -> String {
        var builder = try SafetensorsBuilder(
            copying: Fixtures.path + "/trajectories/sana-digits-\(name).safetensors"
        ) { tensor, bytes in
            guard tensor.name != dropped else { return nil }
            let isBroken = tensor.name == broken
            return (
                tensor.name, tensor.shape,
                isBroken ? littleEndianBytes(Float.nan.bitPattern) + bytes.dropFirst(4) : bytes
            )
        }
        var text = builder.metadata["contract"] ?? ""
        contract(&text)
        builder.metadata["contract"] = text
        return try folder.write("trajectory.safetensors", builder.file)
    }

    /// A broken number would otherwise sample for minutes.
    @Test func moreStepsThanEntriesAreRefused() throws {
        let path = try doctored("dpm-short-3") {
            $0 = $0.replacingOccurrences(of: #""steps":3"#, with: #""steps":1000"#)
        }
        #expect { try TrajectoryGolden(path: path) } throws: {
            "\($0)".contains("1000 steps, each of which has an entry")
        }
    }

    @Test func defectsOfATrajectoryFailByThemselves() throws {
        let missing = try verify(doctored("dpm-short-3", dropping: "latents.1") { _ in })
        #expect(missing.problems.map(\.kind) == [.missing])
        #expect(missing.verdict == .fail)
        #expect(missing.compared.map(\.path) == ["latents.0", "latents.2"])
        let stale = try verify(
            doctored("dpm-short-3") {
                $0 = $0.replacingOccurrences(of: #""digest":""#, with: #""digest":"0"#)
            })
        #expect(stale.problems.map(\.kind) == [.stale])
        let negative = "inputs.negative_prompt_embeds"
        let unfit = try verify(doctored("dpm-short-3", dropping: negative) { _ in })
        #expect(unfit.problems.map(\.kind) == [.misshapen])
        #expect(unfit.compared.isEmpty)
        let mask = try verify(
            doctored("dpm-short-3", dropping: "inputs.negative_prompt_attention_mask") { _ in })
        #expect(mask.problems.map(\.kind) == [.misshapen])
        let other = try verify(path, model: Fixtures.path + "/tiny/plain")
        #expect(other.verdict == .fail)
        #expect(other.compared.isEmpty)
        let sprint = try verify(path, model: Fixtures.path + "/tiny/sprint")
        #expect(sprint.verdict == .fail)
        #expect(sprint.problems.contains { $0.message.contains("guidance") })
    }

    @Test(arguments: [
        (#""steps":3"#, #""steps":0"#), (#""steps":3"#, #""steps":100000"#),
        (#""steps":3"#, #""steps":"3""#), (#""guidance_scale":2.5"#, #""guidance_scale":1e99"#),
        (#""scheduler":{"#, #""schedule":{"#), (#""_class_name":"DPM"#, #""_class_name":"EDM"#),
        (#""solver_order":2"#, #""solver_order":3"#),
        (#""thresholding":false"#, #""thresholding":true"#),
        (#""use_flow_sigmas":true"#, #""use_flow_sigmas":false"#),
        (#""flow_shift":2.0"#, #""flow_shift":"2""#), (#""flow_shift":2.0"#, #""flow_shift":0"#),
        (#""num_train_timesteps":1000"#, #""num_train_timesteps":-5"#),
        (#""algorithm_type":"dpmsolver++""#, #""algorithm_type":"sde-dpmsolver++""#),
    ])
    func schedulerThatIsNotKnownIsBadData(_ old: String, _ new: String) throws {
        let path = try doctored("dpm-short-3") {
            #expect($0.contains(old))
            $0 = $0.replacingOccurrences(of: old, with: new)
        }
        #expect { try verify(path) } throws: {
            ($0 as? any DiagnosticError)?.category == .badData
        }
    }

    @Test func goldenOfOneForwardIsNoTrajectoryNorTheOtherWayRound() throws {
        #expect {
            try TrajectoryGolden(path: Fixtures.path + "/goldens/sana-digits-b1-t1.safetensors")
        } throws: { ($0 as? BadDataError)?.remedy == "give it with --reference" }
        #expect { try Golden(path: path) } throws: {
            ($0 as? BadDataError)?.remedy == "give it with --trajectory"
        }
    }

    // MARK: Pictures

    @Test func pngHoldsItsPixelsAndTexts() throws {
        let folder = try TemporaryFolder()
        for channels in [1, 3] {
            var image = PNGImage(width: 300, height: 260, channels: channels, fill: 7)
            image.pixels[channels] = 255
            image.texts = [("prompt", "a cat, “ein Käse”"), ("other", "")]
            let file = try image.file()
            #expect(file.prefix(8) == [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A])
            #expect(Array(file[16..<24]) == [0, 0, 1, 44, 0, 0, 1, 4])
            // What every PNG ends with: an empty IEND and its published CRC.
            #expect(Array(file.suffix(8)) == Array("IEND".utf8) + [0xAE, 0x42, 0x60, 0x82])
            #expect(PNGImage.text("prompt", in: file) == "a cat, “ein Käse”")
            #expect(PNGImage.text("other", in: file) == "")
            #expect(PNGImage.text("absent", in: file) == nil)
            let path = folder.path + "/\(channels).png"
            try Data(file).write(to: URL(fileURLWithPath: path))
            let picture = try PNGFile.read(path)
            #expect(picture.width == 300)
            #expect(picture.height == 260)
            let expected = channels == 3 ? image.pixels : image.pixels.flatMap { [$0, $0, $0] }
            #expect(picture.pixels == expected)
        }
    }

    @Test func sheetHasARowForEachSourceAndAColumnForEachPicture() throws {
        let first = DenseTensor(shape: [2, 1, 4, 4])
        first.values.pointer[0] = -1
        first.values.pointer[16] = 1
        first.values.pointer[17] = .nan
        var sheet = ContactSheet()
        sheet.add(.init(source: "a", trajectory: "t"), first)
        sheet.add(.init(source: "b", trajectory: "t", dtypes: "I8", compute: "w8a8"), first)
        sheet.add(.init(source: "latent", trajectory: "t"), DenseTensor(shape: [1, 32, 4, 4]))
        #expect(sheet.captions == ["a", "b (I8, int8)"])
        let image = sheet.image
        // Four pixels of twelve each, two between pictures.
        #expect(image.width == 98)
        #expect(image.height == 98)
        #expect(image.channels == 1)
        func pixel(_ x: Int, _ y: Int) -> UInt8 { image.pixels[y * image.width + x] }
        #expect(pixel(0, 0) == 0)
        #expect(pixel(11, 11) == 0)
        #expect(pixel(12, 0) == 128)
        #expect(pixel(48, 0) == 255)
        #expect(pixel(50, 0) == 255)
        #expect(pixel(62, 0) == 0)
        #expect(pixel(0, 50) == 0)
        #expect(try ContactSheet.captions(inPNG: image.file()) == sheet.captions)
        // A wider, coloured row: grey ones get three channels, all get its width.
        sheet.add(.init(source: "c", trajectory: "u"), DenseTensor(shape: [3, 3, 4, 4]))
        let coloured = sheet.image
        #expect(coloured.width == 148)
        #expect(coloured.height == 148)
        #expect(coloured.channels == 3)
        #expect(coloured.pixels[3 * 48..<3 * 48 + 3] == [255, 255, 255])
        #expect(sheet.captions == ["a along t", "b (I8, int8) along t", "c along u"])
    }

    /// A few values must not become a picture of gigabytes.
    @Test func sheetThatWouldBeHugeLeavesRowsOut() throws {
        var sheet = ContactSheet()
        sheet.add(.init(source: "wide", trajectory: "t"), DenseTensor(shape: [1, 1, 1, 100_000]))
        sheet.add(.init(source: "high", trajectory: "t"), DenseTensor(shape: [1, 1, 100_000, 1]))
        try #require(sheet.captions == ["wide"])
        #expect(sheet.image.pixels.count <= 1 << 26)
    }

    /// The whole way: fp16 and int8 archives, the pictures, the record.
    @Test func modelsAreSampledSideBySide() throws {
        let program = try BuiltProgram()
        for (type, flags) in [("fp16", ["--exact"]), ("int8", [])] {
            let converted = try program.run(
                [
                    "convert", "fixtures/sana-digits", "--dtype", type, "--output",
                    "\(type).safetensors.zst",
                ] + flags)
            #expect(converted.code == 0)
        }
        let outcome = try program.run(
            "verify", "fixtures/sana-digits", "fp16.safetensors.zst", "int8.safetensors.zst",
            "--trajectory", "fixtures/trajectories/sana-digits-dpm-20.safetensors", "--tolerance",
            "1e-3", "--pictures", "p.png", "--format", "json")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(
            outcome.talk.contains(
                "diffusers, fixtures/sana-digits (BF16, fp32), fp16.safetensors.zst ("))
        let results = outcome.json?.array ?? []
        #expect(results.map { $0["layers"]?.array?.count } == [19, 19, 19])
        #expect(results.map { $0["trajectory"]?["steps"]?.int } == [20, 20, 20])
        #expect(results[0]["layers"] == results[1]["layers"])
        #expect(results[0]["layers"] != results[2]["layers"])
        let picture = try fileBytes(program.folder("p.png"))
        #expect(Array(picture[16..<24]) == [0, 0, 1, 242, 0, 0, 0, 198])
        let listed = try program.run("history", "list", "--format", "json")
        #expect(
            listed.json?.array?.compactMap { $0["kind"]?.string } == [
                "trajectory", "trajectory", "trajectory",
            ])
        let none = try program.run(
            "verify", "fixtures/sana-digits", "--pictures", "p.png", "--reference",
            "fixtures/goldens/sana-digits-b1-t1.safetensors")
        #expect(none.code == 64)
    }
}
