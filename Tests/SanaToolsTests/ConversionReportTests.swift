import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// What a conversion says of every tensor, by the built binary.
@Suite(.tags(.process)) struct ConversionReportTests {
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

    @Test func fp16TellsWhatItRoundedAndWhatStayedBF16() throws {
        let arguments = ["convert", "repo", "--dtype", "fp16"]
        let exact = try program.run(
            arguments + ["--exact", "--output", "a.safetensors.zst"])
        #expect(exact.code == 0, "\(exact.talk)")
        #expect(row(exact.output, "61 exact tensors").prefix(3).dropFirst() == ["BF16", "F16"])
        let json = try program.run(
            arguments + [
                "--exact", "--output", "a.safetensors.zst", "--force", "--format", "json",
            ]
        ).json
        let inexact = (json?["tensors"]?.array ?? []).compactMap { $0["fp16_inexact"]?.int }
        let count = inexact.reduce(0, +)
        #expect(inexact.count { $0 > 0 } == 31)
        #expect(count > 31)
        let name = try #require(
            json?["tensors"]?.array?.first { ($0["fp16_inexact"]?.int ?? 0) > 0 }?["name"]?.string)
        #expect(
            row(exact.output, name).last?.hasPrefix("exact: fp16 would change some of its values")
                == true)
        #expect(
            lastLine(exact).contains(
                "every value exact; 31 tensors stayed BF16, since fp16 would change \(count) of "
                    + "their values: "))
        #expect(lastLine(exact).hasSuffix("and 26 more"))

        // By default it changes just these.
        let forecast = try program.run(arguments + ["--dry-run", "--format", "json"]).json
        let forecasts = (forecast?["tensors"]?.array ?? []).compactMap { $0["fp16_inexact"]?.int }
        #expect(forecasts == inexact)
        let rounded = try program.run(
            arguments + ["--output", "b.safetensors.zst", "--format", "json"]
        ).json
        let tensors = rounded?["tensors"]?.array ?? []
        #expect(tensors.allSatisfy { $0["to"]?.string == "F16" })
        #expect(tensors.compactMap { $0["fp16_inexact"]?.int } == inexact)
        #expect(tensors.compactMap { $0["changed"]?.int } == inexact)
        #expect(rounded?["values"]?["rounded"]?.int == count)
        #expect(rounded?["values"]?["clipped"]?.int == 0)
        let text = try program.run(arguments + ["--output", "c.safetensors.zst"])
        let elements = tensors.reduce(0) { $0 + ($1["elements"]?.int ?? 0) }
        #expect(
            lastLine(text).contains(
                "61 of 92 tensors exact; \(elements - count) values exact, \(count) rounded ("))
        #expect(!text.talk.contains("warning"))
        #expect(row(text.output, name).count == 10)
        #expect(row(text.output, name)[5] != "0")
    }

    private func lastLine(_ outcome: BuiltProgram.Outcome) -> String {
        outcome.output.split(separator: "\n").last.map(String.init) ?? ""
    }

    @Test("convert --summary shows totals by reason and the five largest errors")
    func shortReport() throws {
        let arguments = [
            "convert", "fixtures/tiny/plain", "--dtype", "int8", "--output", "s.safetensors.zst",
            "--force",
        ]
        let short = try program.run(arguments + ["--summary"])
        #expect(short.code == 0, "\(short.talk)")
        #expect(short.output.contains("tensor, largest error first"))
        let names = short.output.split(separator: "\n").filter {
            $0.hasPrefix("transformer_blocks")
        }
        #expect(names.count == 5)
        let long = try program.run(arguments)
        #expect(
            long.output.split(separator: "\n").count > short.output.split(separator: "\n").count)
    }

    @Test func convertedComponentsHaveTheirOwnTable() throws {
        let outcome = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=fp16",
            "--allow-rounding")
        #expect(outcome.code == 0, "\(outcome.talk)")
        #expect(
            outcome.talk.contains("warning: 1 value exceeds the range of F16 and was clipped"))
        #expect(outcome.output.contains("tensor of vae"))
        let weight = row(outcome.output, "decoder.weight")
        // From, to, two errors, then: changed, clipped, flushed, NaN.
        try #require(weight.count == 10)
        #expect(weight[1...2] == ["F32", "F16"])
        #expect(Array(weight[5...8]) == ["3", "1", "1", "0"], "\(weight)")
        let table = outcome.output.components(separatedBy: "tensor of vae").last ?? ""
        #expect(row(table, "1 exact tensor")[1...2] == ["F32", "F16"])
        #expect(
            outcome.output.contains(
                "vae: 1 of 2 tensors exact; 3 values exact, 2 rounded (1 flushed to zero), 1 clipped"
            ))
        let markdown = try program.run(
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=fp16",
            "--allow-rounding", "--force", "--format", "markdown")
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
        #expect(row(outcome.output, "b")[1...2] == ["F32", "F32"])
        #expect(row(outcome.output, "b")[8] == "1")
    }

    @Test func dryRunShowsEveryComponent() throws {
        let arguments = [
            "convert", "repo", "--dtype", "int8", "--output", "new", "--component", "vae=fp16",
            "--allow-rounding", "--dry-run",
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
