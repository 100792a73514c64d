import Foundation
import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// ControlNets from file to residuals, against what diffusers computed.
@Suite(.tags(.process)) struct ControlNetTests {
    private static let folder = Fixtures.path + "/controlnet/"
    private static let own = folder + "repository/controlnet"
    private static let golden = folder + "golden-controlnet.safetensors"
    private let temporary: TemporaryFolder
    private let workers = WorkerPool(threadCount: 2)

    init() throws { temporary = try TemporaryFolder() }

    private func verify(
        _ model: String, _ golden: String = golden, tolerance: Double = 2e-6,
        allowStale: Bool = false, isolated: Bool? = nil
    ) throws -> Verification {
        var options = Verification.Options()
        (options.tolerances.base, options.allowStale) = (tolerance, allowStale)
        options.isolated = isolated
        return try Verification.run(
            OpenedModel.open(model).load(workers: workers), Golden(path: golden), options,
            workers: workers)
    }

    // MARK: Parity

    @Test(arguments: [
        ("repository/controlnet", "controlnet", 19), ("switches", "switches", 60),
    ])
    func everyLayerIsWithinRoundingOfDiffusers(
        _ model: String, _ golden: String, _ count: Int
    ) throws {
        let result = try verify(
            Self.folder + model, Self.folder + "golden-\(golden).safetensors", isolated: true)
        #expect(result.problems == [])
        #expect(result.passes, "\(result.text(.init(allLayers: true)))")
        #expect(result.compared.count == count)
        #expect(result.output?.path == "outputs.controlnet_block_samples.1")
        let paths = result.compared.map(\.path)
        #expect(paths.contains("outputs.controlnet_block_samples.0"))
        #expect(paths.contains("patch_embed.0"))
        #expect(paths.contains("patch_embed.1"))
        for layer in result.compared {
            #expect(try #require(layer.isolated).own <= 2e-6, "\(layer.path)")
        }
    }

    /// Residuals of our ControlNet in our transformer against diffusers doing the same.
    @Test func residualsSteerTheTransformerAsInDiffusers() throws {
        let golden = try Golden(path: Self.folder + "golden-transformer.safetensors")
        let models = try [Self.own, Self.folder + "repository/transformer"].map {
            try OpenedModel.open($0).load(workers: workers).network
        }
        let context = ForwardContext(workers: workers)
        let residuals = try models[0].forward(Golden(path: Self.golden).inputs, context)
        #expect(residuals.count == 2)
        func error(_ residuals: [DenseTensor]) throws -> Double {
            var inputs = golden.inputs
            for name in inputs.keys where name.hasPrefix("controlnet_block_samples.") {
                inputs[name] = nil
            }
            for (index, residual) in residuals.enumerated() {
                inputs["controlnet_block_samples.\(index)"] = residual
            }
            let sample = try models[1].forward(inputs, context)[0]
            let reference = try #require(try golden.values("outputs.sample"))
            return Comparison(ErrorSums(sample, with: reference), shape: sample.shape).relativeRMS
        }
        #expect(try error(residuals) <= 2e-6)
        // Both matter, and so does their order.
        for wrong in [[], Array(residuals.prefix(1)), residuals.reversed()] {
            #expect(try error(wrong) > 1e-2)
        }
    }

    @Test func joinedPassesGiveTheSameBits() throws {
        final class Reader: LayerProbe {
            func begin(_ path: String) {}
            func end(_ path: String, _ outputs: [Activation]) {}
        }
        let network = try OpenedModel.open(Self.own).load(workers: workers).network
        let inputs = try Golden(path: Self.golden).inputs
        func bits(_ probe: (any LayerProbe)?) throws -> [[Float]] {
            try network.forward(inputs, ForwardContext(workers: workers, probe: probe))
                .map(\.values.values)
        }
        #expect(try bits(nil) == bits(Reader()))
    }

    // MARK: Attribution

    @Test(arguments: [
        ("input_block.weight", "input_block"), ("patch_embed.proj.weight", "patch_embed.0"),
        ("controlnet_blocks.1.bias", "controlnet_blocks.1"),
        ("controlnet_blocks.0.weight", "controlnet_blocks.0"),
        ("transformer_blocks.1.attn2.to_v.weight", "transformer_blocks.1.attn2"),
    ])
    func oneWrongElementIsBlamedOnItsLayer(_ tensor: String, _ layer: String) throws {
        let doctored = try DoctoredCheckpoint("controlnet/repository/controlnet")
        // 10 in BF16.
        try doctored.patch(tensor, element: 3, with: [0x20, 0x41])
        for isolated in [true, false] {
            let result = try verify(doctored.path, allowStale: true, isolated: isolated)
            #expect(!result.passes)
            #expect(result.firstOutOfTolerance == layer)
            #expect(result.attribution?.cause == layer, "isolated \(isolated)")
        }
        #expect(try verify(doctored.path).problems.map(\.kind) == [.stale])
    }

    @Test func goldenOfATransformerIsNoneOfAControlNet() throws {
        let result = try verify(Self.own, Self.folder + "golden-transformer.safetensors")
        #expect(result.verdict == .fail)
        #expect(result.problems.map(\.kind) == [.stale, .misshapen])
        #expect(result.problems[1].message.contains("the model is a SanaControlNetModel"))
        let path = Fixtures.path + "/trajectories/sana-digits-dpm-short-3.safetensors"
        let model = try OpenedModel.open(Self.own).load(workers: workers)
        #expect {
            try Verification.run(
                model, TrajectoryGolden(path: path), .init(), workers: workers)
        } throws: { ($0 as? BadDataError)?.reason.contains("is a ControlNet") ?? false }
    }

    @Test func inputsOfTheOtherClassAreRefused() throws {
        let network = try OpenedModel.open(Self.own).load(workers: workers).network
        let transformer = try OpenedModel.open(Self.folder + "repository")
            .load(workers: workers).network
        let inputs = try Golden(path: Self.golden).inputs
        func rejected(
            _ network: any Network, _ change: (inout NamedTensors) -> Void
        ) -> String? {
            var inputs = inputs
            change(&inputs)
            do { _ = try network.forward(inputs, ForwardContext(workers: workers)) } catch {
                return error.input
            }
            return nil
        }
        #expect(rejected(network) { _ in } == nil)
        #expect(rejected(network) { $0["controlnet_cond"] = nil } == "controlnet_cond")
        #expect(
            rejected(network) { $0["controlnet_cond"] = DenseTensor(shape: [2, 4, 3, 5]) }
                == "controlnet_cond")
        #expect(
            rejected(network) {
                $0["controlnet_block_samples.0"] = DenseTensor(shape: [2, 12, 16])
            } == "controlnet_block_samples.0")
        #expect(
            rejected(network) { $0["guidance"] = DenseTensor(shape: [2]) } == "guidance")
        #expect(rejected(transformer) { _ in } == "controlnet_cond")
        #expect(rejected(transformer) { $0["controlnet_cond"] = nil } == nil)
    }

    // MARK: Files

    @Test func foundInARepositoryAndAlone() throws {
        let repository = Self.folder + "repository"
        func name(_ model: OpenedModel) -> String { model.config.networkClass.name }
        let controlNet = "SanaControlNetModel"
        #expect(try name(OpenedModel.open(repository)) == "SanaTransformer2DModel")
        #expect(
            try name(OpenedModel.open(repository, subfolder: "controlnet")) == controlNet)
        #expect(try name(OpenedModel.open(Self.own)) == controlNet)
        // Where there is no transformer, the ControlNet is meant.
        try FileManager.default.createDirectory(
            atPath: temporary("controlnet"), withIntermediateDirectories: false)
        for name in ["config.json", "diffusion_pytorch_model.safetensors"] {
            try temporary.write("controlnet/" + name, fileBytes(Self.own + "/" + name))
        }
        try temporary.write(
            "model_index.json",
            Array(#"{"controlnet": ["diffusers", "SanaControlNetModel"]}"#.utf8))
        #expect(try name(OpenedModel.open(temporary.path)) == controlNet)
        for (path, subfolder) in [
            (repository, "controlnet"), (Self.own, nil), (temporary.path, nil),
            (Self.folder + "switches", nil),
        ] {
            let inspection = try Inspector.run(
                path, options: .init(subfolder: subfolder), workers: workers)
            #expect(inspection.problems.isEmpty, "\(path): \(inspection.problems)")
            #expect(inspection.config?.networkClass.name == controlNet)
            let part = try #require(inspection.parts.first { $0.part.name == "controlnet" })
            #expect(part.tensors == 6)
            #expect(part.parameters == 3 * (16 * 16 + 16))
        }
    }

    @Test(arguments: [
        ("\"num_layers\": 2", "\"num_layers\": 3", LintRule.configShapes),
        ("\"num_layers\": 2", "\"num_layers\": 1", .configShapes),
        ("\"num_layers\": 2", "\"num_layers\": 0", .configInvalid),
        ("\"num_layers\": 2", "\"num_layers\": 1e9", .configInvalid),
        ("SanaControlNetModel", "SanaTransformer2DModel", .tensorMissing),
        ("SanaControlNetModel", "FluxControlNetModel", .configClass),
        ("\"dropout\"", "\"qk_norm\": null, \"dropout\"", .configUnknownKey),
    ])
    func hostileConfigurationIsToldOf(_ old: String, _ new: String, _ rule: LintRule) throws {
        let doctored = try DoctoredCheckpoint("controlnet/repository/controlnet")
        try doctored.editConfig(old, new)
        let inspection = try Inspector.run(doctored.path, options: .init(), workers: workers)
        #expect(inspection.problems.contains { $0.rule == rule }, "\(inspection.problems)")
        guard rule != .configUnknownKey else { return }
        #expect {
            _ = try OpenedModel.open(doctored.path).load(workers: workers)
        } throws: { ($0 as? any DiagnosticError)?.category == .badData }
    }

    // MARK: Commands

    @Test func convertedUnpackedVerifiedAndProfiled() throws {
        let program = try BuiltProgram()
        let model = "fixtures/controlnet/repository"
        for (type, tolerance) in [("fp16", "1e-3"), ("int8", "1e-3")] {
            let archive = "\(type).safetensors.zst"
            let converted = try program.run(
                "convert", model, "--subfolder", "controlnet", "--dtype", type, "--output", archive)
            #expect(converted.code == 0, "\(converted.talk)")
            let verified = try program.run(
                "verify", archive, "--reference",
                "fixtures/controlnet/golden-controlnet.safetensors",
                "--tolerance", tolerance, "--format", "json")
            #expect(verified.code == 0, "\(verified.talk) \(verified.output)")
            let unpacked = try program.run("unpack", archive, "--output", type)
            #expect(unpacked.code == 0, "\(unpacked.talk)")
            let profiled = try program.run(
                "profile", type, "--latent", "4x4", "--tokens", "5", "--repeat", "2", "--format",
                "json", "--no-record")
            #expect(profiled.code == 0, "\(profiled.talk)")
            let layers = profiled.json?["layers"]?.array?.compactMap { $0["path"]?.string } ?? []
            #expect(layers.contains("controlnet_blocks.1"))
            #expect(layers.contains("input_block"))
        }
        let source = try OpenedModel.open(program.folder("int8"))
        let types = Dictionary(
            uniqueKeysWithValues: source.source.tensors.map { ($0.name, $0.dtype) })
        #expect(types["controlnet_blocks.0.weight"] == .bf16)
        #expect(types["input_block.weight"] == .bf16)
        #expect(types["transformer_blocks.0.attn1.to_q.weight"] == .i8)
        let explained = try program.run(
            "convert", model, "--subfolder", "controlnet", "--dtype", "int8", "--explain",
            "controlnet_blocks.0.weight")
        #expect(explained.output.contains("initialized with zeros"))
    }
}
