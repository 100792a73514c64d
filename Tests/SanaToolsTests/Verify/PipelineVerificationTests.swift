import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `verify` of recorded pipelines: what diffusers computed is met, and of a fault the right stage
/// is blamed.
@Suite(.tags(.process)) struct PipelineVerificationTests {
    private let program: BuiltProgram
    private static let folder = "fixtures/pipelines"
    static let names = ["sana", "sprint", "controlnet"]

    init() throws { program = try BuiltProgram() }

    private func verify(
        _ model: String, _ golden: String, _ options: [String] = []
    ) throws -> BuiltProgram.Outcome {
        try program.run(
            ["verify", model, "--reference", golden, "--no-record", "--format", "json"] + options)
    }

    /// A copy of a repository whose files may be changed.
    private func copy(_ name: String) throws -> String {
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/pipelines/" + name, toPath: program.folder("repo"))
        return "repo"
    }

    private func golden(_ name: String) -> String { "\(Self.folder)/\(name).safetensors" }

    private func stages(_ outcome: BuiltProgram.Outcome) -> [String: JSONValue] {
        var stages: [String: JSONValue] = [:]
        for stage in outcome.json?["stages"]?.array ?? [] {
            stages[stage["name"]?.string ?? ""] = stage
        }
        return stages
    }

    private func problems(_ outcome: BuiltProgram.Outcome) -> [String] {
        (outcome.json?["problems"]?.array ?? []).compactMap { $0["id"]?.string }
    }

    @Test("what diffusers computed is met at every stage, and in pixels", arguments: names)
    func met(_ name: String) throws {
        let outcome = try verify(
            "\(Self.folder)/\(name)", golden(name), ["--tolerance", "1e-5"])
        #expect(outcome.code == 0, "\(outcome.output) \(outcome.talk)")
        #expect(outcome.json?["verdict"]?.string == "pass")
        #expect(outcome.json?["cause"] == .null)
        let stages = stages(outcome)
        let expected =
            ["prompt", "denoise", "decode", "image"] + (name == "controlnet" ? ["control"] : [])
        #expect(Set(stages.keys) == Set(expected))
        for (stage, json) in stages where stage != "image" {
            #expect(try #require(json["relative_rms"]?.double) < 1e-5, "\(stage)")
            #expect(try #require(json["own_relative_rms"]?.double) < 1e-5, "\(stage)")
        }
        #expect(try #require(stages["image"]?["max_levels"]?.int) <= 1)
        #expect(stages["image"]?["share_over_one_level"]?.double == 0)
    }

    @Test("every step is compared")
    func steps() throws {
        let outcome = try verify("\(Self.folder)/sana", golden("sana"))
        let paths = outcome.json?["layers"]?.array?.compactMap { $0["path"]?.string }
        #expect(
            paths == [
                "prompt.prompt_embeds", "negative.prompt_embeds", "latents.0", "latents.1",
                "latents.2", "latents.3", "decode.latent", "decode.sample",
            ])
        #expect(outcome.json?["output"]?["path"]?.string == "image")
    }

    /// Doubles every other value of a tensor of a component.
    private func damage(_ component: String, tensor: String) throws {
        let folder = program.folder("repo/\(component)")
        let name = try #require(
            try folder.folderEntries().first { $0.hasSuffix(".safetensors") })
        let path = folder + "/" + name
        let file = try SafetensorsFile(path: path)
        let info = try #require(file.info(tensor))
        let offset = file.header.dataOffsets[
            try #require(file.tensors.firstIndex { $0.name == tensor })]
        let start = try fileBytes(path).count - file.tensors.reduce(0) { $0 + $1.byteCount }
        var bytes = try fileBytes(path)
        for element in stride(from: 0, to: info.elementCount, by: 2) {
            // One more in the exponent, in BF16.
            let place = start + offset + 2 * element
            let value = UInt16(bytes[place]) | UInt16(bytes[place + 1]) << 8
            guard value & 0x7F80 != 0 else { continue }
            let doubled = value &+ 0x80
            bytes[place] = UInt8(truncatingIfNeeded: doubled)
            bytes[place + 1] = UInt8(doubled >> 8)
        }
        try Data(bytes).write(to: URL(fileURLWithPath: path))
    }

    struct Fault: Sendable, CustomTestStringConvertible {
        let component: String
        let tensor: String
        let stage: String
        /// The part of a golden's set that the tensor lies in.
        let block: String
        var module: String { String(tensor.dropLast(".weight".count)) }
        var testDescription: String { "\(component): \(tensor)" }
    }

    static let faults = [
        Fault(
            component: "text_encoder", tensor: "layers.1.mlp.up_proj.weight", stage: "prompt",
            block: "layers.1"),
        Fault(
            component: "transformer", tensor: "transformer_blocks.1.ff.conv_depth.weight",
            stage: "denoise", block: "transformer_blocks.1"),
        Fault(
            component: "vae", tensor: "decoder.up_blocks.0.1.conv1.weight", stage: "decode",
            block: "decoder.up_blocks.0"),
    ]

    @Test(
        "a fault in weights is blamed on its stage, even where weights are known to be others",
        arguments: faults)
    func weights(_ fault: Fault) throws {
        let repository = try copy("sana")
        try damage(fault.component, tensor: fault.tensor)
        let outcome = try verify(
            repository, golden("sana"), ["--allow-stale", "--tolerance", "1e-5"])
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == fault.stage)
        let stages = stages(outcome)
        #expect(stages[fault.stage]?["verdict"]?.string == "fail")
        #expect(try #require(stages[fault.stage]?["own_relative_rms"]?.double) > 1e-4)
        for (name, stage) in stages where name != fault.stage {
            #expect(try #require(stage["own_relative_rms"]?.double) < 1e-4, "\(name)")
        }
        // The golden knows every tensor's hash, so the module is told, too.
        #expect(outcome.json?["cause_component"]?.string == fault.component)
        #expect(outcome.json?["cause_module"]?.string == fault.module)
        #expect(outcome.json?["cause_tensors"]?.array?.compactMap(\.string) == [fault.tensor])
        let stale = try verify(repository, golden("sana"))
        #expect(stale.code == 1)
        #expect(problems(stale).contains("stale"))
    }

    @Test("where weights cannot tell, a recording of modules does", arguments: faults)
    func modules(_ fault: Fault) throws {
        let repository = try copy("sana")
        let good = try verify(repository, golden("sana-modules"), ["--tolerance", "1e-5"])
        #expect(good.code == 0, "\(good.output)")
        #expect(good.json?["cause_module"] == .null)
        try damage(fault.component, tensor: fault.tensor)
        // An archive has no hashes of its source's tensors.
        let archive = try program.run(
            "convert", "repo/\(fault.component)", "--dtype", "bf16", "--output",
            "a.safetensors.zst")
        #expect(archive.code == 0, "\(archive.talk)")
        let outcome = try verify(
            "\(Self.folder)/sana", golden("sana-modules"),
            [
                "--component", "\(fault.component)=a.safetensors.zst", "--allow-stale",
                "--tolerance", "1e-5",
            ])
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == fault.stage)
        #expect(outcome.json?["cause_component"]?.string == fault.component)
        let module = try #require(outcome.json?["cause_module"]?.string)
        #expect(fault.module.hasPrefix(module), "\(module)")
        #expect(module.contains(fault.block), "\(module)")
        #expect(outcome.json?["cause_tensors"]?.array?.isEmpty == true)
        // Without them the stage alone is known.
        let plain = try verify(
            "\(Self.folder)/sana", golden("sana"),
            [
                "--component", "\(fault.component)=a.safetensors.zst", "--allow-stale",
                "--tolerance", "1e-5",
            ])
        #expect(plain.json?["cause_component"]?.string == fault.component)
        #expect(plain.json?["cause_module"] == .null)
    }

    /// A golden of our own run in which some values of an entry are others, hashes being right.
    private func alter(_ golden: String, _ entry: String, _ change: (inout [UInt8]) -> Void) throws
    {
        var (old, new) = ("", "")
        var builder = try SafetensorsBuilder(copying: program.folder(golden)) { tensor, bytes in
            guard tensor.name == entry else { return (tensor.name, tensor.shape, bytes) }
            var bytes = bytes
            old = ContentHash.sha256(of: ByteView(bytes)).hexadecimal
            change(&bytes)
            new = ContentHash.sha256(of: ByteView(bytes)).hexadecimal
            return (tensor.name, tensor.shape, bytes)
        }
        builder.replaceInContract(old, new)
        try program.folder.write(golden, builder.file)
    }

    private func saveOwn() throws {
        let made = try program.run(
            [
                "sample", "\(Self.folder)/sana", "--output", "out.png", "--save-pipeline",
                "own.safetensors", "--force",
            ] + SampleCommandTests.cases[0].arguments)
        #expect(made.code == 0, "\(made.talk)")
    }

    static let entries = [
        ("prompt.prompt_embeds", "prompt"), ("latents.1", "denoise"), ("latents.3", "denoise"),
        ("decode.latent", "decode"), ("decode.sample", "decode"), ("image", "image"),
    ]

    @Test("an altered entry of the golden is blamed on its stage, and named", arguments: entries)
    func altered(_ entry: String, _ stage: String) throws {
        try saveOwn()
        try alter("own.safetensors", entry) { bytes in
            // A level of the picture, or a hundredth of a float.
            for place in stride(from: 2, to: bytes.count, by: 64) { bytes[place] ^= 0x10 }
        }
        let outcome = try verify("\(Self.folder)/sana", "own.safetensors", ["--tolerance", "1e-5"])
        #expect(outcome.code == 1, "\(outcome.output)")
        #expect(outcome.json?["cause"]?.string == stage)
        #expect(outcome.json?["cause_entry"]?.string == entry)
        #expect(outcome.json?["cause_module"] == .null)
    }

    @Test("a level that rounding does not explain fails")
    func roundedLevels() throws {
        func level(_ bytes: inout [UInt8]) { bytes[0] = bytes[0] == 0 ? 1 : bytes[0] - 1 }
        func image(_ tolerance: String) throws -> (code: Int32, verdict: String?) {
            let outcome = try verify(
                "\(Self.folder)/sana", "own.safetensors", ["--tolerance", tolerance])
            return (outcome.code, stages(outcome)["image"]?["verdict"]?.string)
        }
        try saveOwn()
        // The run is repeated to the bit.
        #expect(try image("0") == (0, "pass"))
        try alter("own.safetensors", "image", level)
        // What is decoded passes, and rounds to one level or to the other.
        #expect(try image("1e-5") == (0, "pass"))
        // At 0 nothing may differ.
        #expect(try image("0") == (1, "fail"))
        // Where what is decoded fails, rounding is no excuse.
        try alter("own.safetensors", "decode.sample") { bytes in
            for place in stride(from: 2, to: bytes.count, by: 4) { bytes[place] ^= 0x01 }
        }
        #expect(try image("1e-5") == (1, "fail"))
    }

    @Test("an encoder's fault is blamed on the control stage")
    func control() throws {
        let repository = try copy("controlnet")
        try damage("vae", tensor: "encoder.conv_in.weight")
        let outcome = try verify(
            repository, golden("controlnet"), ["--allow-stale", "--tolerance", "1e-5"])
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == "control")
        #expect(try #require(stages(outcome)["denoise"]?["own_relative_rms"]?.double) < 1e-5)
    }

    @Test("another tokenizer is told by its first token that differs")
    func tokenizer() throws {
        let repository = try copy("sana")
        let path = program.folder("repo/tokenizer/tokenizer.json")
        var text = String(decoding: try fileBytes(path), as: UTF8.self)
        // Without this merge words that begin with "a" come apart.
        let merge = try #require(text.range(of: #"["▁","c"],"#))
        text.removeSubrange(merge)
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        let outcome = try verify(repository, golden("sana"), ["--tolerance", "1e-5"])
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == "prompt")
        #expect(outcome.json?["cause_component"]?.string == "tokenizer")
        #expect(problems(outcome).contains("tokens"))
    }

    @Test("another scheduler's configuration is blamed on the scheduler")
    func scheduler() throws {
        let repository = try copy("sana")
        let path = program.folder("repo/scheduler/scheduler_config.json")
        let text = String(decoding: try fileBytes(path), as: UTF8.self)
            .replacing("\"flow_shift\": 3.0", with: "\"flow_shift\": 2.5")
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        let outcome = try verify(repository, golden("sana"), ["--tolerance", "1e-5"])
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == "denoise")
        #expect(outcome.json?["cause_component"]?.string == "scheduler")
        #expect(problems(outcome).contains("schedule"))
    }

    @Test("another scaling factor is blamed on the decode stage")
    func scaling() throws {
        let repository = try copy("sana")
        let path = program.folder("repo/vae/config.json")
        let text = String(decoding: try fileBytes(path), as: UTF8.self)
            .replacing("\"scaling_factor\": 0.7", with: "\"scaling_factor\": 0.71")
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        let outcome = try verify(repository, golden("sana"), ["--tolerance", "1e-5"])
        #expect(outcome.code == 1, "\(outcome.talk)")
        #expect(outcome.json?["cause"]?.string == "decode")
    }

    @Test("a damaged entry of the golden is named, not the model")
    func damagedGolden() throws {
        for entry in ["latents.1", "decode.sample", "image", "prompt.input_ids"] {
            var bytes = try fileBytes(Fixtures.path + "/pipelines/sana.safetensors")
            let file = try SafetensorsFile(path: Fixtures.path + "/pipelines/sana.safetensors")
            let index = try #require(file.tensors.firstIndex { $0.name == entry })
            let start = bytes.count - file.tensors.reduce(0) { $0 + $1.byteCount }
            bytes[start + file.header.dataOffsets[index] + 3] ^= 0x11
            try program.folder.write("damaged.safetensors", bytes)
            let outcome = try verify("\(Self.folder)/sana", "damaged.safetensors")
            #expect(outcome.code == 65)
            #expect(outcome.talk.contains("'\(entry)' is damaged"), "\(outcome.talk)")
        }
    }

    @Test("without own errors the first stage out of tolerance is named")
    func withoutOwn() throws {
        let repository = try copy("sana")
        try damage("transformer", tensor: "transformer_blocks.1.ff.conv_depth.weight")
        let outcome = try verify(
            repository, golden("sana"), ["--allow-stale", "--tolerance", "1e-5", "--no-isolated"])
        #expect(outcome.code == 1)
        #expect(outcome.json?["cause"]?.string == "denoise")
        #expect(stages(outcome)["denoise"]?["own_relative_rms"] == .null)
    }

    @Test("a component from elsewhere takes the place of the repository's")
    func components() throws {
        let repository = try copy("sana")
        try damage("vae", tensor: "decoder.up_blocks.0.1.conv1.weight")
        let outcome = try verify(
            repository, golden("sana"),
            ["--component", "vae=\(Self.folder)/sana", "--tolerance", "1e-5"])
        #expect(outcome.code == 0, "\(outcome.output)")
        let mixed = try program.run(
            "verify", "\(Self.folder)/sana", "--reference",
            "fixtures/goldens/sana-digits-b1-t1.safetensors", "--component", "vae=x", "--no-record")
        #expect(mixed.code == 64)
    }

    @Test("pictures show the golden's, ours and the difference; reports tell of stages")
    func reports() throws {
        let repository = try copy("sana")
        try damage("vae", tensor: "decoder.up_blocks.0.1.conv1.weight")
        let outcome = try program.run(
            "verify", repository, "--reference", golden("sana"), "--allow-stale", "--tolerance",
            "1e-5", "--no-record", "--pictures", "sheet.png", "--junit", "junit.xml")
        #expect(outcome.code == 1)
        #expect(
            outcome.output.contains("cause: stage decode, vae: decoder.up_blocks.0.1.conv1, own"),
            "\(outcome.output)")
        #expect(outcome.output.contains("pictures: at most"))
        let captions = try ContactSheet.captions(
            inPNG: fileBytes(program.folder("sheet.png")))
        #expect(captions?.count == 3)
        #expect(captions?[0] == "diffusers")
        #expect(captions?[2].contains("minus diffusers, ×") == true)
        // Two pictures beside each other, three rows of them.
        let sheet = try PNGFile.read(program.folder("sheet.png"))
        #expect(sheet.width == 2 * 96 + 2)
        #expect(sheet.height == 3 * 64 + 4)
        let junit = String(decoding: try fileBytes(program.folder("junit.xml")), as: UTF8.self)
        #expect(junit.contains("name=\"decode.sample\""))
        #expect(junit.contains("name=\"cause\" value=\"decode\""))
        let markdown = try program.run(
            "verify", repository, "--reference", golden("sana"), "--allow-stale", "--no-record",
            "--format", "markdown")
        #expect(markdown.output.contains("stages: prompt"))
    }

    @Test("runs are recorded")
    func records() throws {
        let outcome = try program.run(
            "verify", "\(Self.folder)/sana", "--reference", golden("sana"), "--db",
            "runs.sqlite")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let list = try program.run("history", "list", "--db", "runs.sqlite")
        #expect(list.output.contains("trajectory"), "\(list.output)")
        #expect(list.output.contains("pipelines/sana"), "\(list.output)")
    }

    @Test("what is not a recorded pipeline, or is another's, is refused by name")
    func refusals() throws {
        let other = try verify("\(Self.folder)/sprint", golden("sana"))
        #expect(other.code == 1)
        #expect(problems(other) == ["misshapen"])
        let model = try program.run("inspect", golden("sana"))
        #expect(model.code == 65)
        #expect(model.talk.contains("recorded pipeline"))
        let component = try verify("\(Self.folder)/sana/transformer", golden("sana"))
        #expect(component.code == 66)
    }

    @Test("what sample saves is a golden of the same run", arguments: names)
    func saved(_ name: String) throws {
        let sampling = try #require(SampleCommandTests.cases.first { $0.name == name })
        let made = try program.run(
            [
                "sample", "\(Self.folder)/\(name)", "--output", "out.png", "--save-pipeline",
                "own.safetensors",
            ]
                + sampling.arguments)
        #expect(made.code == 0, "\(made.talk)")
        let own = try verify("\(Self.folder)/\(name)", "own.safetensors", ["--tolerance", "1e-6"])
        #expect(own.code == 0, "\(own.output) \(own.talk)")
        #expect(stages(own)["image"]?["max_levels"]?.int == 0)
        // The same entries as diffusers' recording has.
        let ours = try SafetensorsFile(path: program.folder("own.safetensors"))
        let theirs = try SafetensorsFile(path: Fixtures.path + "/pipelines/\(name).safetensors")
        #expect(Set(ours.tensors.map(\.name)) == Set(theirs.tensors.map(\.name)))
        for tensor in theirs.tensors {
            #expect(ours.info(tensor.name)?.shape == tensor.shape, "\(tensor.name)")
            #expect(ours.info(tensor.name)?.dtype == tensor.dtype, "\(tensor.name)")
        }
        for name in ["prompt.input_ids", "prompt.attention_mask", "prompt.prompt_attention_mask"] {
            let (mine, golden) = (try #require(ours.info(name)), try #require(theirs.info(name)))
            let bytes = try (
                ours.bytes(of: mine).withUnsafeBytes { Array($0) },
                theirs.bytes(of: golden).withUnsafeBytes { Array($0) }
            )
            #expect(bytes.0 == bytes.1, "\(name)")
        }
    }
}
