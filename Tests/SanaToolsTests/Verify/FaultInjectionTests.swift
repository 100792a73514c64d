import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Faults of the kinds that real conversions have, put into a healthy model one at a time: each
/// must fail and be blamed on its own module, with and without running layers on golden inputs.
@Suite(.tags(.slow)) struct FaultInjectionTests {
    struct Fault: Sendable, CustomTestStringConvertible {
        let name: String
        /// What to blame where the golden has the default set, and where it has every leaf.
        let cause: String
        let leaf: String
        let inject: @Sendable (DoctoredCheckpoint) throws -> Void
        /// Inputs that get lost.
        var lostInput: String?
        /// What to blame where own errors are not known, if that is less exact.
        var first: String?
        /// Whether the fault is in several modules.
        var spreads = false

        var testDescription: String { name }
    }

    private static let block = "transformer_blocks.2"

    static let faults: [Fault] = [
        Fault(
            name: "wrong scale of attn1.to_out", cause: block + ".attn1",
            leaf: block + ".attn1.to_out.0"
        ) { model in
            let name = block + ".attn1.to_out.0.weight"
            try model.patch(name, with: model.bytes(name).mappingBF16 { $0 * 1.25 })
        },
        Fault(
            name: "transposed conv_point", cause: block + ".ff", leaf: block + ".ff.conv_point"
        ) { model in
            let name = block + ".ff.conv_point.weight"
            let bytes = try model.bytes(name)
            let rows = 128
            let columns = bytes.count / 2 / rows
            let transposed = (0..<rows * columns).flatMap { index -> ArraySlice<UInt8> in
                let source = index % rows * columns + index / rows
                return bytes[2 * source..<2 * source + 2]
            }
            try model.patch(name, with: transposed)
        },
        Fault(
            name: "dropped bias", cause: block + ".ff", leaf: block + ".ff.conv_inverted"
        ) { model in
            let name = block + ".ff.conv_inverted.bias"
            try model.patch(name, with: model.bytes(name).map { _ in 0 })
        },
        Fault(
            name: "swapped q and k", cause: block + ".attn1", leaf: block + ".attn1.to_q",
            inject: { model in
                let (query, key) = (block + ".attn1.to_q.weight", block + ".attn1.to_k.weight")
                let (first, second) = try (model.bytes(query), model.bytes(key))
                try model.patch(query, with: second)
                try model.patch(key, with: first)
            }, spreads: true),
        Fault(
            name: "mask ignored", cause: "transformer_blocks.0.attn2",
            leaf: "transformer_blocks.0.attn2.to_out.0", inject: { _ in },
            lostInput: "inputs.encoder_attention_mask", spreads: true),
        Fault(
            name: "wrong eps", cause: "transformer_blocks.0.attn1",
            leaf: "transformer_blocks.0.norm1",
            inject: { try $0.editConfig(#""norm_eps": 1e-06"#, #""norm_eps": 1e-02"#) },
            spreads: true),
        Fault(
            name: "wrong modulation table", cause: block, leaf: block,
            inject: { model in
                let name = block + ".scale_shift_table"
                try model.patch(name, with: model.bytes(name).map { _ in 0 })
            }, first: block),
        Fault(
            name: "weight beyond fp16", cause: block + ".ff", leaf: block + ".ff.conv_point"
        ) { try $0.patch(block + ".ff.conv_point.weight", element: 7, with: [0x80, 0x7F]) },
    ]

    private static let goldens = Fixtures.path + "/goldens/"
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A golden without one of its tensors, and without hashes that would name a fault at once.
    private func golden(_ name: String, without tensor: String?) throws -> Golden {
        let builder = try SafetensorsBuilder(copying: Self.goldens + name, without: tensor)
            .withoutTensorHashes()
        return try Golden(path: folder.write("golden.safetensors", builder.file))
    }

    private func verify(
        _ path: String, _ golden: Golden, isolated: Bool, tolerances: Tolerances
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        options.tolerances = tolerances
        (options.allowStale, options.isolated) = (true, isolated)
        return try Verification.run(
            OpenedModel.open(path).load(workers: workers), golden, options, workers: workers)
    }

    @Test(arguments: faults, [1e-3, 2e-6])
    func faultIsBlamedOnItsModule(_ fault: Fault, _ tolerance: Double) throws {
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let healthy = model.path
        try check(healthy, nil, tolerance)
        try fault.inject(model)
        try check(model.path, fault, tolerance)
    }

    private func check(_ path: String, _ fault: Fault?, _ tolerance: Double) throws {
        for (name, cause) in [
            ("sana-digits-b2-t999.safetensors", fault?.cause),
            ("sana-digits-b1-t500-full.safetensors", fault?.leaf),
        ] {
            let golden = try golden(name, without: fault?.lostInput)
            for isolated in [true, false] {
                let result = try verify(
                    path, golden, isolated: isolated, tolerances: Tolerances(base: tolerance))
                #expect(result.passes == (fault == nil))
                let blamed = result.attribution?.cause ?? ""
                let first = isolated ? nil : fault?.first
                #expect(
                    first.map { blamed.hasPrefix($0) } ?? (blamed == cause ?? ""),
                    "\(name), isolated \(isolated): \(result.text(.init(allLayers: true)))")
                #expect(result.attribution?.basis == (cause == nil ? nil : isolated ? .own : .jump))
                // What follows a fault computes rightly, NaN or not, and so do the others.
                let around = { (path: String) in blamed.hasPrefix(path) || path.hasPrefix(blamed) }
                #expect(
                    result.attribution?.others.allSatisfy { around($0) || fault?.spreads == true }
                        ?? true, "\(name): \(result.attribution?.others ?? [])")
            }
        }
    }

    /// A fault that stays within the tolerance of its own layer and grows on the way.
    @Test func causeIsNotTheLayerThatShowsIt() throws {
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "transformer_blocks.0.attn1.to_out.0.weight"
        try model.patch(name, with: model.bytes(name).mappingBF16 { $0 * 1.02 })
        let golden = try golden("sana-digits-b2-t999.safetensors", without: nil)
        for isolated in [true, false] {
            var tolerances = Tolerances(base: 2e-2)
            tolerances.rules = [try #require(LayerTolerance("outputs.sample=2e-4"))]
            let result = try verify(
                model.path, golden, isolated: isolated, tolerances: tolerances)
            #expect(result.firstOutOfTolerance != "transformer_blocks.0.attn1")
            #expect(!result.passes)
            if isolated { #expect(result.attribution?.cause == "transformer_blocks.0.attn1") }
        }
    }

    /// Rounding that crosses a tight tolerance by a hair, ahead of a fault that is a million times
    /// as large, is not what makes the model wrong.
    @Test func causeIsNotTheHealthyLayerThatFailsByAHair() throws {
        let golden = try golden("sana-digits-b2-t999.safetensors", without: nil)
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let healthy = try verify(
            model.path, golden, isolated: true, tolerances: Tolerances(base: 3e-7))
        #expect(healthy.firstOutOfTolerance?.hasPrefix("transformer_blocks.0") == true)
        try Self.faults[0].inject(model)
        for isolated in [true, false] {
            let result = try verify(
                model.path, golden, isolated: isolated, tolerances: Tolerances(base: 3e-7))
            #expect(result.firstOutOfTolerance?.hasPrefix("transformer_blocks.0") == true)
            #expect(
                result.attribution?.cause == "transformer_blocks.2.attn1",
                "isolated \(isolated): \(result.text(.init(allLayers: true)))")
        }
    }

    @Test(arguments: [1e-5, 1e-3]) func causeInInt8IsNotTheHealthyLayerThatFails(
        _ tolerance: Double
    ) throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let golden = try golden("sana-digits-b2-t999.safetensors", without: nil)
        let name = "transformer_blocks.2.attn1.to_out.0.scale"
        try model.patch(
            name,
            with: model.bytes(name).mappingWords(4) { bits in
                littleEndianBytes(
                    (Float(bitPattern: UInt32(truncatingIfNeeded: bits)) * 1.5).bitPattern)
            })
        for isolated in [true, false] {
            let result = try verify(
                model.path, golden, isolated: isolated, tolerances: Tolerances(base: tolerance))
            #expect(
                result.attribution?.cause == "transformer_blocks.2.attn1",
                "isolated \(isolated): \(result.text(.init(allLayers: true)))")
        }
    }

    // MARK: int8

    /// What the healthy int8 model needs on a golden, times 1.1.
    private func calibrated(_ path: String, _ golden: Golden) throws -> Tolerances {
        let healthy = try verify(path, golden, isolated: false, tolerances: Tolerances())
        #expect(healthy.passes)
        var tolerances = Tolerances()
        let calibration = try #require(Calibration([healthy], margin: 1.1))
        tolerances.calibrated = calibration
        return tolerances
    }

    @Test(arguments: [
        ("transformer_blocks.1.attn1.to_out.0.weight", "transformer_blocks.1.attn1"),
        ("transformer_blocks.2.attn2.to_v.weight", "transformer_blocks.2.attn2"),
        ("transformer_blocks.3.ff.conv_point.weight", "transformer_blocks.3.ff"),
    ])
    func flippedBitInAnInt8TensorIsFound(_ tensor: String, _ cause: String) throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let golden = try golden("sana-digits-b2-t999.safetensors", without: nil)
        let tolerances = try calibrated(model.path, golden)
        // The sign of the value with the most to lose in the first half of the tensor.
        let bytes = try model.bytes(tensor)
        let element = try #require(
            (0..<bytes.count / 2).min {
                abs(Int(Int8(bitPattern: bytes[$0]))) < abs(Int(Int8(bitPattern: bytes[$1])))
            })
        for isolated in [true, false] {
            let healthy = try verify(
                model.path, golden, isolated: isolated, tolerances: tolerances)
            #expect(healthy.passes)
            #expect(healthy.attribution == nil)
        }
        try model.patch(tensor, element: element, with: [bytes[element] ^ 0x80])
        for isolated in [true, false] {
            let result = try verify(
                model.path, golden, isolated: isolated, tolerances: tolerances)
            #expect(!result.passes)
            #expect(
                result.attribution?.cause == cause,
                "isolated \(isolated): \(result.text(.init(allLayers: true)))")
        }
    }

    @Test(arguments: [1.1, 1.5]) func wrongScaleInInt8IsFound(_ factor: Float) throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let golden = try golden("sana-digits-b2-t999.safetensors", without: nil)
        let tolerances = try calibrated(model.path, golden)
        let name = "transformer_blocks.1.attn1.to_out.0.scale"
        try model.patch(
            name,
            with: model.bytes(name).mappingWords(4) { bits in
                littleEndianBytes(
                    (Float(bitPattern: UInt32(truncatingIfNeeded: bits)) * factor).bitPattern)
            })
        for isolated in [true, false] {
            for tolerances in factor > 1.2 ? [tolerances, Tolerances()] : [tolerances] {
                let result = try verify(
                    model.path, golden, isolated: isolated, tolerances: tolerances)
                #expect(!result.passes)
                #expect(
                    result.attribution?.cause == "transformer_blocks.1.attn1",
                    "isolated \(isolated): \(result.text(.init(allLayers: true)))")
            }
        }
    }

    // MARK: Own and inherited errors

    @Test func ownErrorsOfAHealthyModelAreRoundingAndAddUp() throws {
        for name in ["tiny-controlnet", "tiny-sprint", "tiny-patch2-ragged", "tiny-mask-bias"] {
            let golden = try Golden(path: Self.goldens + name + ".safetensors")
            let model = Fixtures.path + "/tiny/" + name.dropFirst("tiny-".count)
            let result = try verify(
                model, golden, isolated: true, tolerances: Tolerances(base: 2e-6))
            #expect(result.passes, "\(name)")
            #expect(result.problems.isEmpty, "\(name)")
            for layer in result.compared {
                let isolated = try #require(layer.isolated)
                let total = layer.comparison.relativeRMS
                #expect(isolated.own <= 2e-6, "\(name) \(layer.path)")
                #expect(isolated.local <= 2e-6, "\(name) \(layer.path)")
                // The triangle inequality.
                #expect(total <= isolated.own + isolated.inherited + 1e-12)
                #expect(isolated.inherited <= isolated.own + total + 1e-12)
            }
        }
    }

    @Test func faultIsInheritedByWhatFollows() throws {
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        try Self.faults[0].inject(model)
        let golden = try golden("sana-digits-b2-t999.safetensors", without: nil)
        let result = try verify(
            model.path, golden, isolated: true, tolerances: Tolerances(base: 1e-3))
        let layers = Dictionary(uniqueKeysWithValues: result.compared.map { ($0.path, $0) })
        func own(_ path: String) throws -> Verification.Layer.Isolated {
            try #require(layers[path]?.isolated)
        }
        #expect(try own("transformer_blocks.2.attn1").own > 0.1)
        #expect(try own("transformer_blocks.2.attn1").inherited < 1e-5)
        // The block around it has the error as its own, its arithmetic has not.
        #expect(try own("transformer_blocks.2").own > 1e-2)
        #expect(try own("transformer_blocks.2").local < 1e-5)
        for path in ["transformer_blocks.3.attn1", "transformer_blocks.3", "outputs.sample"] {
            #expect(try own(path).own < 1e-5)
            #expect(try own(path).inherited > 1e-3)
            #expect(try (own(path).gain ?? 0) > 0.1)
        }
        #expect(result.attribution?.others == [])
    }

    @Test func isolationNeedsTheDefaultSet() throws {
        let golden = try golden(
            "sana-digits-b2-t999.safetensors", without: "activations.caption_norm")
        let result = try verify(
            Fixtures.digits, golden, isolated: true, tolerances: Tolerances())
        #expect(result.isolationRefused?.contains("caption_norm") == true)
        #expect(result.layers.allSatisfy { $0.isolated == nil })
        #expect(result.problems.map(\.kind) == [.missing])
    }
}
