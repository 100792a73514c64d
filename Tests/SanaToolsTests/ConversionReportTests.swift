import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

/// What a conversion says of every tensor, by the built binary.
@Suite struct ConversionReportTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    /// sana-digits with a VAE that fp16 cannot hold: 1e6 is clipped, 1e-9 becomes zero, 0.1 is
    /// rounded, 2 stays.
    init() throws {
        program = try BuiltProgram()
        try FileManager.default.copyItem(
            atPath: Fixtures.digits, toPath: program.folder("repo"))
        try folder.write(
            "repo/model_index.json",
            Array(
                #"""
                {"scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
                 "transformer": ["diffusers", "SanaTransformer2DModel"],
                 "vae": ["diffusers", "AutoencoderDC"]}
                """#.utf8))
        try FileManager.default.createDirectory(
            atPath: folder("repo/vae"), withIntermediateDirectories: true)
        var builder = SafetensorsBuilder()
        builder.add("decoder.weight", [4], [1e6, 1e-9, 0.1, 2])
        builder.add("decoder.bias", [2], [1, 2])
        try folder.write("repo/vae/diffusion_pytorch_model.safetensors", builder.file)
        try folder.write("repo/vae/config.json", Array("{}".utf8))
    }

    /// The cells of the row of a text table that begins with `name`.
    private func row(_ text: String, _ name: String) -> [String] {
        let line = text.split(separator: "\n").first { $0.hasPrefix(name + "  ") } ?? ""
        return line.replacingOccurrences(
            of: " {2,}", with: "\t", options: .regularExpression
        ).components(separatedBy: "\t")
    }

    @Test func fp16TellsWhatStayedBF16AndWhy() throws {
        let outcome = try program.run(
            "convert", "repo", "--dtype", "fp16", "--output", "a.safetensors.zst")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(row(outcome.output, "61 exact tensors").prefix(3).dropFirst() == ["BF16", "F16"])
        let kept = row(outcome.output, "31 exact tensors")
        #expect(kept.prefix(3).dropFirst() == ["BF16", "BF16"])
        let json = try program.run(
            "convert", "repo", "--dtype", "fp16", "--output", "a.safetensors.zst", "--force",
            "--format", "json"
        ).json
        let inexact = (json?["tensors"]?.array ?? []).compactMap { $0["fp16_inexact"]?.int }
        let count = inexact.reduce(0, +)
        #expect(inexact.count { $0 > 0 } == 31 && count > 31)
        #expect(kept.last == "exact: fp16 would change some of its values (\(count))")
        #expect(
            outcome.output.contains(
                "every value exact; 31 tensors stayed BF16, since fp16 would change \(count) of "
                    + "their values"))

        // Where it may, it changes just these.
        let arguments = ["convert", "repo", "--dtype", "fp16", "--allow-rounding"]
        let forecast = try program.run(arguments + ["--dry-run", "--format", "json"]).json
        let forecasts = (forecast?["tensors"]?.array ?? []).compactMap { $0["fp16_inexact"]?.int }
        #expect(forecasts == inexact)
        let rounded = try program.run(
            arguments + ["--output", "b.safetensors.zst", "--format", "json"]
        ).json
        let tensors = rounded?["tensors"]?.array ?? []
        #expect(tensors.compactMap { $0["fp16_inexact"]?.int } == inexact)
        #expect(tensors.compactMap { $0["changed"]?.int } == inexact)
        let text = try program.run(arguments + ["--output", "c.safetensors.zst"]).output
        #expect(text.contains("61 of 92 tensors exact, \(count) values changed (0 clipped, "))
        let name = try #require(
            tensors.first { ($0["changed"]?.int ?? 0) > 0 }?["name"]?.string)
        #expect(row(text, name).count == 10 && row(text, name)[5] != "0")
    }

    @Test func convertedComponentsHaveTheirOwnTable() throws {
        let outcome = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=fp16")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(outcome.output.contains("tensor of vae"))
        let weight = row(outcome.output, "decoder.weight")
        // From, to, two errors, then: changed, clipped, flushed, NaN.
        #expect(weight.count == 10 && weight[1...2] == ["F32", "F16"])
        #expect(Array(weight[5...8]) == ["3", "1", "1", "0"], "\(weight)")
        let table = outcome.output.components(separatedBy: "tensor of vae").last ?? ""
        #expect(row(table, "1 exact tensor")[1...2] == ["F32", "F16"])
        #expect(
            outcome.output.contains(
                "vae: 1 of 2 tensors exact, 3 values changed (1 clipped, 1 flushed to zero)"))
        let markdown = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=fp16",
            "--force", "--format", "markdown")
        #expect(markdown.output.contains("| decoder.weight | F32 | F16 |"))
    }

    @Test func valuesThatAreNotFiniteAreNotCalledExact() throws {
        var builder = SafetensorsBuilder()
        builder.add("a", [2], [1, .nan])
        builder.add("b", [2], [1, -.infinity])
        try folder.write("repo/vae/diffusion_pytorch_model.safetensors", builder.file)
        let outcome = try program.run(
            "convert", "repo", "--dtype", "bf16", "--output", "new", "--component", "vae=bf16",
            "--allow-nonfinite")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(
            outcome.output.contains(
                "vae: every finite value exact; 2 values of 2 tensors are NaN or infinite"))
        #expect(
            row(outcome.output, "b")[1...2] == ["F32", "F32"] && row(outcome.output, "b")[8] == "1")
    }

    @Test func dryRunShowsEveryComponent() throws {
        let arguments = [
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=fp16",
            "--dry-run",
        ]
        let text = try program.run(arguments)
        #expect(text.code == 0, "\(text.talk)")
        #expect(row(text.output, "transformer")[1] == "int8")
        #expect(row(text.output, "scheduler")[1] == "link")
        #expect(row(text.output, "vae")[1...2] == ["fp16", "2"])
        #expect(text.output.contains("tensors of vae"))
        let json = try #require(try program.run(arguments + ["--format", "json"]).json)
        let components = json["component_plans"]?.array ?? []
        #expect(components.map { $0["name"]?.string } == ["scheduler", "vae"])
        #expect(components[0]["bytes_after"]?.int == 0)
        // 24 bytes of values become 12.
        let (before, after) = (
            components[1]["bytes_before"]?.int ?? 0, components[1]["bytes_after"]?.int ?? 0
        )
        #expect(before - after == 12)
        #expect(components[1]["tensors"]?.array?.map { $0["to"]?.string } == ["F16", "F16"])
        #expect(json["components"]?["vae"]?.string == "fp16")
        #expect(!FileManager.default.fileExists(atPath: folder("new")))
    }
}
