import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `sample` of the built binary, against pictures of diffusers' pipelines.
@Suite(.tags(.process)) struct SampleCommandTests {
    private let program: BuiltProgram
    private static let folder = "fixtures/pipelines"

    init() throws { program = try BuiltProgram() }

    /// A sampling in fixtures, and the options that make it.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        let arguments: [String]
        let files: [String]
        var testDescription: String { name }
    }

    static let cases = [
        Case(
            name: "sana",
            arguments: [
                "--prompt", "A cat", "--prompt", "Two DOGS on a mat", "--negative-prompt",
                "Blurry", "--steps", "4", "--size", "64x96", "--seed", "5",
            ], files: ["out-1.png", "out-2.png"]),
        Case(
            name: "sprint",
            arguments: [
                "--prompt", "A cat", "--pictures", "2", "--size", "64x64", "--seed", "6",
            ], files: ["out-1.png", "out-2.png"]),
        Case(
            name: "controlnet",
            arguments: [
                "--prompt", "A red house", "--steps", "3", "--size", "96x64", "--seed", "7",
                "--guidance-scale", "2.5", "--conditioning-scale", "0.8", "--control-picture",
                "\(folder)/control.png",
            ], files: ["out.png"]),
    ]

    private func golden(_ name: String) throws -> [Picture] {
        let file = try SafetensorsFile(path: "\(Fixtures.path)/pipelines/\(name).safetensors")
        let info = try #require(file.info("image"))
        let pixels = try file.bytes(of: info).withUnsafeBytes { Array($0) }
        let count = pixels.count / info.shape[0]
        return (0..<info.shape[0]).map { index in
            Picture(
                width: info.shape[2], height: info.shape[1],
                pixels: Array(pixels[index * count..<(index + 1) * count]))
        }
    }

    private func sample(_ model: String, _ arguments: [String]) throws -> BuiltProgram.Outcome {
        try program.run(["sample", model, "--output", "out.png", "--force"] + arguments)
    }

    private func picture(_ name: String) throws -> Picture {
        try PNGFile.read(program.folder(name))
    }

    private func levels(_ one: Picture, _ other: Picture) -> Int {
        guard one.pixels.count == other.pixels.count else { return 256 }
        return zip(one.pixels, other.pixels).map { abs(Int($0) - Int($1)) }.max() ?? 0
    }

    @Test("the picture of a seed is diffusers' within a level", arguments: cases)
    func seeds(_ sampling: Case) throws {
        let outcome = try sample("\(Self.folder)/\(sampling.name)", sampling.arguments)
        #expect(outcome.code == 0, "\(outcome.talk)")
        let goldens = try golden(sampling.name)
        #expect(goldens.count == sampling.files.count)
        for (file, golden) in zip(sampling.files, goldens) {
            #expect(try levels(picture(file), golden) <= 1)
        }
    }

    @Test("given latents stand for the seed, and another seed gives another picture")
    func latents() throws {
        let sprint = Self.cases[1]
        let golden = try golden("sprint")
        let options = Array(sprint.arguments.dropLast(2))
        let other = try sample("\(Self.folder)/sprint", options)
        #expect(other.code == 0)
        #expect(try levels(picture("out-1.png"), golden[0]) > 8)
        // With one step nothing is drawn beside the latents.
        let one = ["--prompt", "A cat", "--size", "64x64", "--steps", "1", "--pictures", "2"]
        #expect(try sample("\(Self.folder)/sprint", one + ["--seed", "6"]).code == 0)
        let bySeed = try picture("out-2.png")
        let given = one + ["--latents", "\(Self.folder)/sprint.safetensors"]
        #expect(try sample("\(Self.folder)/sprint", given).code == 0)
        #expect(try levels(picture("out-2.png"), bySeed) <= 1)
    }

    @Test("a picture tells its prompt and its settings")
    func texts() throws {
        let outcome = try sample(
            "\(Self.folder)/sana", Self.cases[0].arguments + ["--format", "json"])
        let file = try fileBytes(program.folder("out-2.png"))
        #expect(PNGImage.text("prompt", in: file) == "Two DOGS on a mat")
        #expect(PNGImage.text("negative_prompt", in: file) == "Blurry")
        let settings = try JSONScanner.parse(try #require(PNGImage.text("sana-tools", in: file)))
        #expect(settings["seed"]?.int == 5)
        #expect(settings["steps"]?.int == 4)
        #expect(settings["picture"]?.int == 1)
        let stages = outcome.json?["stages"]?.array?.compactMap { $0["name"]?.string }
        #expect(stages == ["prompt", "denoise", "decode", "image"])
        #expect(outcome.json?["stages"]?.array?[1]["step_seconds"]?.array?.count == 4)
        #expect(outcome.json?["pictures"]?.array?[1]["path"]?.string == "out-2.png")
    }

    @Test("an instruction that was kept gives the same picture, and a changed file is refused")
    func keptInstruction() throws {
        func sample(_ name: String, _ more: [String]) throws -> BuiltProgram.Outcome {
            try program.run(
                [
                    "sample", "fixtures/sana-pictures", "--prompt", "a red seven on blue",
                    "--prompt", "2 on green", "--steps", "1", "--output", name + ".png",
                    "--format", "json",
                ] + more)
        }
        let cache = ["--instruction-cache", "kept/here"]
        #expect(try sample("none", []).code == 0)
        for name in ["first", "second"] {
            let outcome = try sample(name, cache)
            #expect(outcome.code == 0, "\(outcome.talk)")
            for number in 1...2 {
                #expect(
                    try picture("\(name)-\(number).png").pixels
                        == picture("none-\(number).png").pixels)
            }
            // The second prompt waits for the first one where the instruction is not known.
            let stages = outcome.json?["stages"]?.array ?? []
            let prompt = stages.first { $0["name"]?.string == "prompt" }
            #expect(prompt?["step_seconds"]?.array?.count == (name == "first" ? 2 : 1))
        }
        let names = try program.folder("kept/here").folderEntries()
        #expect(names.count == 1)
        #expect(try sample("rounded", cache + ["--compute", "bf16"]).code == 0)
        #expect(try sample("uncapped", cache + ["--no-soft-cap"]).code == 0)
        let all = try program.folder("kept/here").folderEntries()
        #expect(all.count == 3)
        let file = try "kept/here/" + #require(names.first)
        let whole = try fileBytes(program.folder(file))
        let other = try fileBytes(
            program.folder("kept/here/" + #require(all.first { $0 != names[0] })))
        var changed = whole
        changed[whole.count - 5] ^= 1
        for (bytes, words) in [
            (changed, "does not match its hash"), (other, "is of another text encoder"),
            (Array(whole.dropLast(4)), "is truncated"), (Array("{}".utf8), "is text"),
            ([], "is empty"),
            (try fileBytes(Fixtures.path + "/dcae/sana/decode.safetensors"), "not a cached output"),
        ] {
            try program.folder.write(file, bytes)
            let outcome = try sample("bad", cache + ["--force"])
            #expect(outcome.code == 65, "\(outcome.talk)")
            #expect(outcome.talk.contains(words), "\(outcome.talk)")
        }
        try program.folder.write("file", [])
        #expect(try sample("no", ["--instruction-cache", "file/below"]).code == 73)
    }

    @Test("a strip has given pictures and new ones side by side")
    func strip() throws {
        let sana = "\(Self.folder)/sana"
        let options = ["--prompt", "a", "--steps", "1", "--size", "32x64"]
        #expect(try sample(sana, options + ["--seed", "1"]).code == 0)
        let first = try picture("out.png")
        try program.folder.write("first.png", fileBytes(program.folder("out.png")))
        let outcome = try sample(
            sana,
            options + ["--pictures", "2", "--beside", "first.png", "--strip", "strip.png"])
        #expect(outcome.code == 0, "\(outcome.talk)")
        let strip = try picture("strip.png")
        #expect(strip.width == 3 * 64 + 2 * 4)
        #expect(strip.height == 32)
        for (index, part) in try [first, picture("out-1.png"), picture("out-2.png")].enumerated() {
            for y in 0..<32 {
                let place = (y * strip.width + index * 68) * 3
                #expect(
                    strip.pixels[place..<place + 192].elementsEqual(
                        part.pixels[y * 192..<(y + 1) * 192]))
            }
        }
        let names = PNGImage.text(
            "sana-tools strip", in: try fileBytes(program.folder("strip.png")))
        #expect(names == #"["first.png","out-1.png","out-2.png"]"#)
        #expect(try sample(sana, options + ["--beside", "first.png"]).code == 64)
        let other = try sample(
            sana,
            ["--prompt", "a", "--size", "64x64", "--beside", "first.png", "--strip", "x.png"])
        #expect(other.code == 65)
        #expect(other.talk.contains("32"), "\(other.talk)")
    }

    @Test("a component may lie elsewhere, as an archive too")
    func components() throws {
        let converted = try program.run(
            "convert", "\(Self.folder)/sana/transformer", "--dtype", "fp16", "--output",
            "archives")
        #expect(converted.code == 0, "\(converted.talk)")
        let archive = try #require(
            program.folder.entries("archives").first { $0.hasSuffix(".zst") })
        let golden = try golden("sana")
        let arguments =
            Self.cases[0].arguments + ["--component", "tokenizer=\(Self.folder)/sprint"]
        let outcome = try sample(
            "\(Self.folder)/sana",
            arguments + ["--component", "transformer=archives/\(archive)"])
        #expect(outcome.code == 0, "\(outcome.talk)")
        // BF16 weights of this size are fp16 numbers, but for the smallest.
        #expect(try levels(picture("out-1.png"), golden[0]) <= 2)
        // Another transformer makes another picture.
        let other = try sample(
            "\(Self.folder)/sana",
            Self.cases[0].arguments + ["--component", "transformer=\(Self.folder)/controlnet"])
        #expect(other.code == 0, "\(other.talk)")
        #expect(try levels(picture("out-1.png"), golden[0]) > 8)
    }

    @Test("a picture is brought to the size that was asked for")
    func sizes() throws {
        let refused = try sample("\(Self.folder)/sana", ["--prompt", "a", "--size", "64x70"])
        #expect(refused.code == 65)
        #expect(refused.talk.contains("divisible by 32"))
        let binned = try sample(
            "\(Self.folder)/sana", ["--prompt", "a", "--resolution-binning"])
        #expect(binned.code == 65)
        #expect(binned.talk.contains("sample_size"))
        let own = try sample("\(Self.folder)/sprint", ["--prompt", "a"])
        #expect(own.code == 0, "\(own.talk)")
        #expect(try picture("out.png").width == 64)
    }

    @Test("requests that make no sense are refused by name")
    func refusals() throws {
        let sana = "\(Self.folder)/sana"
        let cases: [(String, [String], Int32, String)] = [
            (sana, [], 64, "--prompt"),
            (sana, ["--prompt", "a", "--prompt", "b", "--pictures", "2"], 64, "--pictures"),
            (
                "\(Self.folder)/sprint", ["--prompt", "a", "--negative-prompt", "b"], 64,
                "no --negative"
            ),
            (sana, ["--prompt", "a", "--steps", "0"], 64, "--steps must be in"),
            (sana, ["--prompt", "a", "--component", "unet=x"], 64, "no component 'unet'"),
            (sana, ["--prompt", "a", "--component", "vae"], 64, "name=path"),
            (sana, ["--prompt", "a", "--component", "vae=absent"], 66, "absent"),
            (
                sana, ["--prompt", "a", "--component", "vae=\(sana)/transformer"], 65,
                "cannot be the vae"
            ),
            (
                sana, ["--prompt", "a", "--control-picture", "\(Self.folder)/control.png"], 65,
                "control"
            ),
            ("\(Self.folder)/controlnet", ["--prompt", "a"], 65, "control_image"),
            (
                sana, ["--prompt", "a", "--latents", "\(Self.folder)/arithmetic.safetensors"], 65,
                "latents"
            ),
            (
                sana, ["--prompt", "a", "--latents", "\(Self.folder)/sprint.safetensors"], 65,
                "latents"
            ),
            ("\(sana)/transformer", ["--prompt", "a"], 66, "model_index.json"),
            ("fixtures/sana-digits/transformer/config.json", ["--prompt", "a"], 64, "is a file"),
            ("absent", ["--prompt", "a"], 66, "absent"),
        ]
        for (model, arguments, code, text) in cases {
            let outcome = try sample(model, arguments)
            #expect(outcome.code == code, "\(arguments): \(outcome.talk)")
            #expect(outcome.talk.contains(text), "\(arguments): \(outcome.talk)")
        }
        #expect(!program.folder("out.png").pathExists)
    }

    @Test("an existing picture is kept, and before anything is computed")
    func keeps() throws {
        try program.folder.write("out.png", Array("mine".utf8))
        let outcome = try program.run(
            "sample", "\(Self.folder)/sana", "--prompt", "a", "--output", "out.png")
        #expect(outcome.code == 73)
    }

    @Test("pictures that are damaged, foreign or too large are bad data")
    func hostilePictures() throws {
        let good = try fileBytes(Fixtures.path + "/pipelines/control.png")
        var large = good
        large.replaceSubrange(16..<24, with: [0, 1, 0, 0, 0, 1, 0, 0])
        var damaged = good
        for index in 60..<good.count - 20 { damaged[index] ^= 0x55 }
        for (name, content) in [
            ("empty.png", []), ("text.png", Array("no picture".utf8)),
            ("cut.png", Array(good.prefix(100))), ("large.png", large), ("damaged.png", damaged),
        ] {
            try program.folder.write(name, content)
            let outcome = try sample(
                "\(Self.folder)/controlnet", ["--prompt", "a", "--control-picture", name])
            #expect(outcome.code == 65, "\(name): \(outcome.talk)")
        }
    }
}
