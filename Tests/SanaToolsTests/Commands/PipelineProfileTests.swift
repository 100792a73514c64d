import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `profile --pipeline` of the built binary.
@Suite(.tags(.process)) struct PipelineProfileTests {
    private let program: BuiltProgram
    private static let sana = "fixtures/pipelines/sana"

    init() throws { program = try BuiltProgram() }

    private func profile(
        _ options: [String], of model: String = sana
    ) throws -> BuiltProgram.Outcome {
        try program.run(
            ["profile", model, "--pipeline", "--warmup", "0", "--format", "json"] + options)
    }

    private func parts(_ outcome: BuiltProgram.Outcome) -> [(path: String, json: JSONValue)] {
        (outcome.json?["parts"]?.array ?? []).map { ($0["path"]?.string ?? "", $0) }
    }

    @Test("every stage, every step and what is loaded has its time and its memory")
    func parts() throws {
        let outcome = try profile(["--steps", "3", "--size", "64", "--repeat", "2", "--no-record"])
        #expect(outcome.code == 0, "\(outcome.talk)")
        let parts = parts(outcome)
        #expect(
            parts.map(\.path) == [
                "load", "load.tokenizer", "load.text_encoder", "load.transformer", "load.vae",
                "prompt", "denoise", "denoise.0", "denoise.1", "denoise.2", "decode", "image",
                "png",
            ])
        for (path, json) in parts {
            #expect(json["samples_ns"]?.array?.count == 2, "\(path)")
            #expect(json["cpu_ns"]?.array?.count == 2, "\(path)")
            #expect(try #require(json["start_bytes"]?.int) > 0, "\(path)")
            let start = try #require(json["start_bytes"]?.int)
            #expect(try #require(json["peak_bytes"]?.int) >= start / 2, "\(path)")
        }
        // The outer parts are the whole.
        let totals = outcome.json?["total"]?["samples_ns"]?.array?.compactMap(\.int) ?? []
        #expect(totals.count == 2)
        for (index, total) in totals.enumerated() {
            let outer = parts.filter { !$0.path.contains(".") }
                .compactMap { $0.json["samples_ns"]?.array?[index].int }
            #expect(outer.reduce(0, +) == total)
        }
        #expect(outcome.json?["steps"]?.int == 3)
        #expect(outcome.json?["picture_height"]?.int == 64)
        #expect(outcome.json?["height"]?.int == 8)
        #expect(outcome.json?["clock"]?.string == Profile.clock)
        #expect(outcome.json?["canary"]?.string == HostCanary.identity)
        let text = try program.run(
            "profile", Self.sana, "--pipeline", "--steps", "1", "--repeat", "1", "--no-record",
            "--warmup", "0")
        #expect(text.output.contains("per sampling"), "\(text.output)")
        #expect(text.output.contains("denoise.0"), "\(text.output)")
        let markdown = try program.run(
            "profile", Self.sana, "--pipeline", "--steps", "1", "--repeat", "1", "--no-record",
            "--warmup", "0", "--format", "markdown")
        #expect(markdown.output.contains("| load.vae |"), "\(markdown.output)")
    }

    @Test("every class of pipeline is profiled", arguments: ["sprint", "controlnet"])
    func classes(_ name: String) throws {
        let outcome = try profile(
            ["--steps", "2", "--repeat", "1", "--no-record"], of: "fixtures/pipelines/\(name)")
        #expect(outcome.code == 0, "\(outcome.talk)")
        let paths = parts(outcome).map(\.path)
        #expect(paths.contains("control") == (name == "controlnet"))
        #expect(paths.contains("load.controlnet") == (name == "controlnet"))
        #expect(paths.contains("denoise.1"))
    }

    @Test("runs are series of their own, which the gate compares with the nights before")
    func recorded() throws {
        let options = ["--steps", "1", "--size", "32", "--repeat", "6", "--db", "runs.sqlite"]
        let first = try profile(options + ["--gate"])
        #expect(first.json?["gate"]?["reason"]?.string == "the first run of its series")
        #expect(first.code == 0, "\(first.talk)")
        for _ in 0..<4 { #expect(try profile(options).code == 0) }
        let last = try profile(options + ["--gate"])
        let gate = try #require(last.json?["gate"])
        #expect(gate["baseline"]?.array?.count == 5, "\(gate.text())")
        let judged = (gate["layers"]?.array ?? []).compactMap { $0["path"]?.string }
        #expect(judged.contains("prompt"), "\(judged)")
        #expect(!judged.contains("denoise.0"), "\(judged)")
        // Another number of steps is other work, and so is a single network.
        let longer = try profile(
            ["--steps", "2", "--size", "32", "--repeat", "1", "--db", "runs.sqlite", "--gate"])
        #expect(longer.json?["gate"]?["reason"]?.string == "the first run of its series")
        let network = try program.run(
            "profile", Self.sana, "--repeat", "1", "--db", "runs.sqlite", "--gate", "--format",
            "json")
        #expect(network.json?["gate"]?["reason"]?.string == "the first run of its series")
        let list = try program.run("history", "list", "--db", "runs.sqlite")
        #expect(list.output.contains("per sampling"), "\(list.output)")
        #expect(list.output.contains("per forward"), "\(list.output)")
        let report = try program.run(
            "history", "report", "--db", "runs.sqlite", "--output", "report.html")
        #expect(report.code == 0, "\(report.talk)")
    }

    /// The repository with a text encoder of which the embeddings alone take that much, as an
    /// archive, whose weights are decoded into memory.
    private func writeLargeEncoder(megabytes: Int) throws {
        let source = Fixtures.path + "/pipelines/sana/text_encoder/"
        let rows = megabytes << 20 / 32
        try FileManager.default.createDirectory(
            atPath: program.folder("encoder"), withIntermediateDirectories: true)
        try program.folder.write(
            "encoder/model.safetensors",
            SafetensorsBuilder(copying: source + "model.safetensors") { tensor, bytes in
                guard tensor.name == "embed_tokens.weight" else {
                    return (tensor.name, tensor.shape, bytes)
                }
                return (
                    tensor.name, [tensor.shape[0] + rows, tensor.shape[1]],
                    bytes + [UInt8](repeating: 0x3B, count: 32 * rows)
                )
            }.file)
        let text = String(decoding: try fileBytes(source + "config.json"), as: UTF8.self)
            .replacing("\"vocab_size\": 1536", with: "\"vocab_size\": \(1536 + rows)")
        try program.folder.write("encoder/config.json", Array(text.utf8))
        let converted = try program.run(
            "convert", "encoder", "--dtype", "bf16", "--output", "encoder.safetensors.zst")
        #expect(converted.code == 0, "\(converted.talk)")
    }

    @Test("a component is in memory only while it runs, and each part tells its own peak")
    func memory() throws {
        let megabytes = 64
        try writeLargeEncoder(megabytes: megabytes)
        let outcome = try profile(
            [
                "--steps", "1", "--size", "32", "--repeat", "2", "--no-record", "--component",
                "text_encoder=encoder.safetensors.zst",
            ])
        #expect(outcome.code == 0, "\(outcome.talk)")
        let parts = Dictionary(uniqueKeysWithValues: parts(outcome))
        let loaded = try #require(parts["prompt"]?["peak_bytes"]?.int)
        let half = megabytes << 19
        #expect(loaded > megabytes << 20)
        for part in ["denoise", "decode", "png"] {
            let start = try #require(parts[part]?["start_bytes"]?.int)
            let peak = try #require(parts[part]?["peak_bytes"]?.int)
            #expect(start < loaded - half, "\(part) starts with \(start) of \(loaded)")
            #expect(peak < loaded - half, "\(part) has \(peak) of \(loaded)")
        }
        #expect(try #require(outcome.json?["peak_rss_bytes"]?.int) >= loaded)
    }

    @Test("what makes no sense together is refused")
    func refusals() throws {
        let cases: [([String], Int32, String)] = [
            (["--pipeline", "--latent", "4x4"], 64, "--latent"),
            (["--pipeline", "--entry", "decode"], 64, "--entry"),
            (["--pipeline", "--steps", "0"], 64, "--steps must be in"),
            (["--pipeline", "--component", "unet=x"], 64, "no component 'unet'"),
            (["--pipeline", "--control-picture", "x.png"], 64, "takes no control image"),
            (["--prompt", "a"], 64, "--pipeline"), (["--steps", "2"], 64, "--pipeline"),
        ]
        for (options, code, text) in cases {
            let outcome = try program.run(["profile", Self.sana, "--no-record"] + options)
            #expect(outcome.code == code, "\(options): \(outcome.talk)")
            #expect(outcome.talk.contains(text), "\(options): \(outcome.talk)")
        }
        let network = try profile(["--no-record"], of: Self.sana + "/transformer")
        #expect(network.code == 66, "\(network.talk)")
    }
}
