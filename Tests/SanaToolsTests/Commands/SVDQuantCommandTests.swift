import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Models of nunchaku, through the built program.
@Suite(.tags(.process)) struct SVDQuantCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    init() throws { program = try BuiltProgram() }

    @Test("a file of nunchaku is a model like any other")
    func svdQuant() throws {
        let file = "fixtures/encodings/svdquant-int4.safetensors"
        let inspected = try program.run("inspect", file, "--format", "json")
        #expect(inspected.code == 0, "\(inspected.output) \(inspected.talk)")
        let recipes = inspected.json?["encodings"]?.array?.compactMap { $0["recipe"]?.string }
        #expect(recipes == ["SVDQuant (int4)"])
        let converted = try program.run(
            "convert", file, "--dtype", "fp32", "--container", "safetensors", "--output", "w4")
        #expect(converted.code == 0, "\(converted.talk)")
        let same = try program.run(
            "diff", "w4", "fixtures/encodings/svdquant-int4.expected.safetensors")
        #expect(same.code == 0, "\(same.output) \(same.talk)")
        let profiled = try program.run(
            "profile", file, "--latent", "4x4", "--repeat", "1", "--no-record")
        #expect(profiled.code == 0, "\(profiled.talk)")
        // A configuration of another model does not tell what is padding.
        let other = try program.run(
            "convert", file, "--config", "fixtures/tiny/plain/config.json", "--dtype", "fp32")
        #expect(other.code == 65, "\(other.talk)")
    }

    @Test("the two files that nunchaku had before are a model, and one of them is half of it")
    func svdQuantInTwoFiles() throws {
        let whole = Fixtures.path + "/encodings/svdquant-int4.safetensors"
        let config = try #require(try SafetensorsFile(path: whole).metadata["config"])
        let (blocks, others) = (
            "two/transformer_blocks.safetensors", "two/unquantized_layers.safetensors"
        )
        for (file, isBlock) in [(blocks, true), (others, false)] {
            var builder = try SafetensorsBuilder(copying: whole) { tensor, bytes in
                tensor.name.hasPrefix("transformer_blocks.") == isBlock
                    ? (tensor.name, tensor.shape, bytes) : nil
            }
            builder.metadata = [:]
            try folder.write(file, builder.file)
        }
        try folder.write("two/config.json", Array(config.utf8))
        let inspected = try program.run("inspect", "two", "--digest", "--format", "json")
        #expect(inspected.code == 0, "\(inspected.output) \(inspected.talk)")
        let encodings = inspected.json?["encodings"]?.array ?? []
        #expect(encodings.compactMap { $0["recipe"]?.string } == ["SVDQuant (int4)"])
        let one = try program.run("inspect", whole, "--digest", "--format", "json")
        #expect(inspected.json?["digest"] == one.json?["digest"])
        let converted = try program.run(
            "convert", "two", "--dtype", "fp32", "--container", "safetensors", "--output", "w4")
        #expect(converted.code == 0, "\(converted.talk)")
        let same = try program.run(
            "diff", "w4", "fixtures/encodings/svdquant-int4.expected.safetensors")
        #expect(same.code == 0, "\(same.output) \(same.talk)")
        for file in [blocks, others] {
            try program.expect(
                "half of a model of nunchaku",
                from: [(65, ["inspect", file]), (65, ["convert", file, "--dtype", "fp16"])])
        }
        // Without its other half the directory has a configuration and no weights.
        try FileManager.default.removeItem(atPath: folder(others))
        try program.expect(
            "download unquantized_layers.safetensors",
            from: [
                (1, ["inspect", "two"]), (65, ["profile", "two"]),
                (65, ["convert", "two", "--dtype", "fp16"]),
            ])
    }

    @Test("a bias that SVDQuant has no place for is shown as what it is")
    func svdQuantWithoutBias() throws {
        let whole = Fixtures.path + "/encodings/svdquant-int4.safetensors"
        let name = "transformer_blocks.0.attn.out_proj.bias"
        try folder.write("b.safetensors", SafetensorsBuilder(copying: whole, without: name).file)
        let inspected = try program.run("inspect", "b.safetensors", "--format", "json")
        #expect(inspected.code == 0, "\(inspected.output) \(inspected.talk)")
        let encodings = inspected.json?["encodings"]?.array ?? []
        let zeros = encodings.first { $0["recipe"]?.string?.contains("zeros") == true }
        #expect(zeros?["tensors"]?.int == 1, "\(encodings)")
        // No other layer may lack one.
        let other = "transformer_blocks.0.cross_attn.out_proj.bias"
        try folder.write("c.safetensors", SafetensorsBuilder(copying: whole, without: other).file)
        let refused = try program.run("convert", "c.safetensors", "--dtype", "fp16")
        #expect(refused.code == 65)
        #expect(refused.talk.contains("'\(other)' is absent"), "\(refused.talk)")
    }
}
