import Foundation
import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `convert` of a pipeline with several networks: each by its own plan, and one answer for all.
@Suite(.tags(.process)) struct WholeConversionTests {
    private let program: BuiltProgram
    private static let sana = "fixtures/pipelines/sana"

    init() throws { program = try BuiltProgram() }

    private func convert(_ options: [String]) throws -> BuiltProgram.Outcome {
        try program.run(["convert", Self.sana] + options)
    }

    private func isLink(_ path: String) -> Bool {
        (try? FileManager.default.destinationOfSymbolicLink(atPath: program.folder(path))) != nil
    }

    @Test("all networks are converted and make the picture", arguments: ["int8", "fp16"])
    func all(_ dtype: String) throws {
        let outcome = try convert(["--dtype", dtype, "--format", "json"])
        #expect(outcome.code == 0, "\(outcome.talk)")
        let json = try #require(outcome.json)
        #expect(json["repository"]?.string == "sana-\(dtype)")
        for (component, treatment) in [
            ("vae", dtype), ("text_encoder", dtype), ("tokenizer", "link"), ("scheduler", "link"),
        ] {
            #expect(json["components"]?[component]?.string == treatment, "\(component)")
        }
        for component in ["vae", "text_encoder"] {
            let types = Set(
                (json["component_tensors"]?[component]?.array ?? []).compactMap {
                    $0["to"]?.string
                })
            #expect(types.contains(dtype == "int8" ? "I8" : "F16"), "\(component): \(types)")
        }
        #expect(isLink("sana-\(dtype)/tokenizer"))
        #expect(!isLink("sana-\(dtype)/vae"))
        // Archives know what they were made from, so the golden is theirs, too.
        let verified = try program.run(
            "verify", "sana-\(dtype)", "--reference", "\(Self.sana).safetensors", "--tolerance",
            dtype == "int8" ? "0.1" : "1e-3", "--no-record", "--format", "json")
        #expect(verified.code == 0, "\(verified.output)")
        let sampled = try program.run(
            "sample", "sana-\(dtype)", "--prompt", "a", "--steps", "1", "--output", "a.png")
        #expect(sampled.code == 0, "\(sampled.talk)")
    }

    @Test("the last line is about all networks")
    func lastLine() throws {
        let outcome = try convert(["--dtype", "int8", "--output", "new"])
        #expect(outcome.code == 0, "\(outcome.talk)")
        let line = outcome.output.split(separator: "\n").last ?? ""
        #expect(line.hasPrefix("3 networks: "), "\(line)")
        #expect(line.contains("tensors exact; "), "\(line)")
        let json = try convert([
            "--dtype", "int8", "--output", "new", "--force", "--format", "json",
        ])
        .json
        let values = try #require(json?["whole"]?["values"])
        let tensors =
            (json?["tensors"]?.array ?? [])
            + ["vae", "text_encoder"].flatMap {
                json?["component_tensors"]?[$0]?.array ?? []
            }
        let elements = tensors.reduce(0) { $0 + ($1["elements"]?.int ?? 0) }
        let counted = ["exact", "rounded", "clipped"].reduce(0) { $0 + (values[$1]?.int ?? 0) }
        #expect(elements > 0)
        #expect(counted == elements)
        #expect(
            try #require(json?["whole"]?["bytes_in"]?.int) > #require(json?["bytes_in"]?.int))
    }

    @Test("what is said of a component goes before, and a file or --subfolder means one network")
    func exceptions() throws {
        let mixed = try convert(
            [
                "--dtype", "int8", "--output", "new", "--component", "vae=link", "--component",
                "text_encoder=skip", "--format", "json",
            ])
        #expect(mixed.code == 0, "\(mixed.talk)")
        #expect(isLink("new/vae"))
        #expect(!program.folder("new/text_encoder").pathExists)
        let linked = try convert(
            ["--dtype", "int8", "--output", "linked", "--other-components", "link"])
        #expect(linked.code == 0, "\(linked.talk)")
        #expect(isLink("linked/text_encoder"))
        #expect(!linked.output.contains("networks: "))
        let file = try convert(["--dtype", "int8", "--output", "one.safetensors.zst"])
        #expect(file.code == 0, "\(file.talk)")
        let alone = try convert(["--dtype", "int8", "--subfolder", "transformer"])
        #expect(alone.code == 0, "\(alone.talk)")
        #expect(
            Set(program.folder.entries("").filter { $0.hasSuffix(".zst") }) == [
                "one.safetensors.zst", "sana-int8.safetensors.zst",
            ])
        let plain = try convert(
            ["--dtype", "fp16", "--output", "plain", "--container", "safetensors"])
        #expect(plain.code == 0, "\(plain.talk)")
        #expect(program.folder.entries("plain/text_encoder").contains("model.safetensors"))
    }

    @Test("a plan tells of every network before anything is written")
    func plan() throws {
        let outcome = try convert(["--dtype", "fp16", "--dry-run", "--format", "json"])
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(outcome.json?["components"]?["vae"]?.string == "fp16")
        let plans = outcome.json?["component_plans"]?.array ?? []
        let vae = try #require(plans.first { $0["name"]?.string == "vae" })
        #expect(vae["tensors"]?.array?.isEmpty == false)
        #expect(!program.folder("sana-fp16").pathExists)
    }

    @Test("rules may be about a component")
    func rules() throws {
        func types(_ rules: [String]) throws -> (code: Int32, vae: [String: String], talk: String) {
            let outcome = try convert(
                ["--dtype", "int8", "--output", "new", "--force", "--format", "json"]
                    + rules.flatMap { ["--rule", $0] })
            let tensors = outcome.json?["component_tensors"]?["vae"]?.array ?? []
            let pairs = tensors.map { ($0["name"]?.string ?? "", $0["to"]?.string ?? "") }
            return (outcome.code, Dictionary(uniqueKeysWithValues: pairs), outcome.talk)
        }
        let usual = try types([])
        let name = try #require(usual.vae.first { $0.value == "I8" }?.key)
        let kept = try types(["vae:\(name.asPattern)=keep", ".*attn1.*weight=keep"])
        #expect(kept.code == 0, "\(kept.talk)")
        #expect(kept.vae[name] == "BF16")
        // A network among several may stay as it is.
        let whole = try types(["vae:.*=keep"])
        #expect(whole.code == 0, "\(whole.talk)")
        #expect(Set(whole.vae.values) == ["BF16"])
        let unused = try types(["vae:nothing=keep"])
        #expect(unused.code == 64)
        #expect(unused.talk.contains("applies to no tensor"), "\(unused.talk)")
        let foreign = try types(["unet:.*=keep"])
        #expect(foreign.code == 64)
        #expect(
            foreign.talk.contains("vae, text_encoder") || foreign.talk.contains("text_encoder, vae")
        )
        let alone = try program.run(
            "convert", Self.sana, "--dtype", "int8", "--output", "x.safetensors.zst", "--rule",
            "vae:.*=keep")
        #expect(alone.code == 64)
    }
}
