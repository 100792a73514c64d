import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Goldens that were damaged, with and without hashes of their entries, and tensors that are known
/// to differ.
struct GoldenSuspicionTests {
    private static let goldens = Fixtures.path + "/goldens/"
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// A golden with an entry's values changed.
    private func damaged(
        _ name: String, _ entry: String, _ change: (Int, Float) -> Float
    ) throws -> SafetensorsBuilder {
        try SafetensorsBuilder(copying: Self.goldens + name) { tensor, bytes in
            guard tensor.name == entry else { return (tensor.name, tensor.shape, bytes) }
            var index = -1
            return (
                tensor.name, tensor.shape,
                bytes.mappingWords(4) { bits in
                    index += 1
                    let value = Float(bitPattern: UInt32(truncatingIfNeeded: bits))
                    return littleEndianBytes(change(index, value).bitPattern)
                }
            )
        }
    }

    private func verify(
        _ builder: SafetensorsBuilder, _ model: String = Fixtures.digits, isolated: Bool,
        tolerance: Double = 1e-3
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        (options.allowStale, options.isolated) = (true, isolated)
        options.tolerances.base = tolerance
        let golden = try Golden(path: folder.write("golden.safetensors", builder.file))
        return try Verification.run(
            OpenedModel.open(model).load(workers: workers), golden, options, workers: workers)
    }

    // MARK: Without hashes

    @Test(
        "an entry that the rest of the golden contradicts is the cause", .tags(.slow),
        arguments: [
            "transformer_blocks.3.ff", "transformer_blocks.0.attn1", "transformer_blocks.1",
            "transformer_blocks.3", "patch_embed", "caption_norm", "time_embed.0", "proj_out",
        ], [true, false])
    func damagedActivation(_ path: String, _ isolated: Bool) throws {
        for name in ["sana-digits-b2-t999.safetensors", "sana-digits-b1-t500-full.safetensors"] {
            let builder = try damaged(name, "activations." + path) { _, value in value * 1.5 }
            let result = try verify(builder.withoutTensorHashes(), isolated: isolated)
            #expect(result.verdict == .fail)
            let text = result.text(.init(allLayers: true))
            #expect(result.attribution?.cause == "activations." + path, "\(text)")
            #expect(result.attribution?.basis == .golden)
            #expect(result.attribution?.others == [], "\(text)")
            #expect(text.contains("cause: activations.\(path), an entry of the golden"))
        }
    }

    @Test(
        "one value of an input changes one token, which weights cannot do",
        arguments: [true, false]
    )
    func damagedInput(_ isolated: Bool) throws {
        for entry in ["inputs.hidden_states", "inputs.encoder_hidden_states"] {
            for tolerance in [1e-3, 1e-5] {
                let builder = try damaged("sana-digits-b2-t999.safetensors", entry) {
                    index, value in
                    index == 37 ? value + 2 : value
                }
                let result = try verify(
                    builder.withoutTensorHashes(), isolated: isolated, tolerance: tolerance)
                guard result.verdict == .fail else { continue }
                #expect(
                    result.attribution?.cause == entry, "\(result.text(.init(allLayers: true)))")
                #expect(result.attribution?.basis == .golden)
            }
        }
    }

    @Test("a faulty first layer is named, with the input that could be wrong as well")
    func faultyStem() throws {
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "patch_embed.proj.weight"
        try model.patch(name, with: model.bytes(name).mappingBF16 { $0 * 1.25 })
        let builder = try SafetensorsBuilder(
            copying: Self.goldens + "sana-digits-b2-t999.safetensors")
        for isolated in [true, false] {
            let result = try verify(builder.withoutTensorHashes(), model.path, isolated: isolated)
            #expect(result.attribution?.cause == "patch_embed")
            #expect(result.attribution?.alternative == "inputs.hidden_states")
        }
    }

    @Test("a shift of all keys, which changes nothing that follows, is still the layer's")
    func shiftedKeys() throws {
        let model = try DoctoredCheckpoint("tiny/bias-affine")
        let name = "transformer_blocks.0.attn2.to_k.bias"
        // Other signs, in little-endian F32.
        let bytes = try model.bytes(name).enumerated().map { $0 % 4 == 3 ? $1 ^ 0x80 : $1 }
        try model.patch(name, with: bytes)
        let golden = try SafetensorsBuilder(
            copying: Self.goldens + "tiny-bias-affine.safetensors")
        for builder in [golden, try golden.withoutTensorHashes()] {
            for isolated in [true, false] {
                let result = try verify(builder, model.path, isolated: isolated)
                #expect(result.attribution?.cause == "transformer_blocks.0.attn2.to_k")
            }
        }
    }

    /// They change what the projections of self-attention read, and nothing that the block adds up.
    @Test("the first rows of a block's table show in three projections, and are the block's")
    func tableOfSelfAttention() throws {
        let copy = try DoctoredCheckpoint("sana-digits/transformer")
        let tensor = "transformer_blocks.2.scale_shift_table"
        let bytes = try copy.bytes(tensor)
        try copy.patch(
            tensor, with: Array(bytes.prefix(bytes.count / 3)).mappingBF16 { $0 + 0.5 })
        let golden = try SafetensorsBuilder(
            copying: Self.goldens + "sana-digits-b1-t500-full.safetensors")
        let result = try verify(golden.withoutTensorHashes(), copy.path, isolated: true)
        #expect(
            result.attribution?.cause == "transformer_blocks.2",
            "\(result.text(.init(allLayers: true)))")
    }

    // MARK: With hashes

    /// The golden with the hash of every entry in its contract.
    private func hashed(_ builder: SafetensorsBuilder) throws -> SafetensorsBuilder {
        var builder = builder
        let path = try folder.write("plain.safetensors", builder.file)
        let file = try SafetensorsFile(path: path)
        let hashes = try file.tensors.map { tensor in
            JSONValue.Member(
                tensor.name,
                .string(try ContentHash.sha256(of: file.bytes(of: tensor)).hexadecimal))
        }
        let contract = try JSONScanner.parse(builder.metadata["contract"] ?? "")
        builder.metadata["contract"] =
            contract.setting("sha256", to: .object(hashes)).text()
        return builder
    }

    @Test("a damaged entry with a hash is bad data, by name")
    func damagedEntryWithHash() throws {
        let whole = try hashed(
            SafetensorsBuilder(copying: Self.goldens + "sana-digits-b2-t999.safetensors"))
        #expect(try verify(whole, isolated: true).passes)
        let contract = whole.metadata["contract"]
        for entry in ["inputs.hidden_states", "activations.norm_out", "outputs.sample"] {
            var builder = try damaged("sana-digits-b2-t999.safetensors", entry) { index, value in
                index == 5 ? value + 1e-3 : value
            }
            builder.metadata["contract"] = contract
            #expect {
                _ = try verify(builder, isolated: false)
            } throws: { error in
                let error = error as? BadDataError
                return error?.reason.hasPrefix("entry '\(entry)' is damaged") == true
            }
        }
        var lost = try SafetensorsBuilder(
            copying: Self.goldens + "sana-digits-b2-t999.safetensors",
            without: "activations.norm_out")
        lost.metadata["contract"] = contract
        #expect {
            _ = try verify(lost, isolated: false)
        } throws: { ($0 as? BadDataError)?.reason.contains("norm_out' is missing") == true }
        lost = whole
        lost.add("activations.more", [1], [0])
        #expect {
            _ = try verify(lost, isolated: false)
        } throws: { ($0 as? BadDataError)?.reason.contains("more' has no SHA-256") == true }
        lost.metadata["contract"] = contract?.replacing(#""sha256":{"#, with: #""sha256":["#)
        #expect(throws: BadDataError.self) { try verify(lost, isolated: false) }
    }

    /// The golden with the hash of every tensor of the weights it was recorded from.
    private func knowing(_ weights: String, _ name: String) throws -> SafetensorsBuilder {
        var builder = try SafetensorsBuilder(copying: Self.goldens + name)
        let workers = WorkerPool(threadCount: 1)
        let hashes = try WeightsDigest.tensors(OpenedModel.open(weights).source, workers: workers)
            .map { JSONValue.Member($0.info.name, .string($0.digest.hexadecimal)) }
        let contract = try JSONScanner.parse(builder.metadata["contract"] ?? "")
        let known = try #require(contract["weights"]).setting("tensors", to: .object(hashes))
        builder.metadata["contract"] = contract.setting("weights", to: known).text()
        return builder
    }

    @Test(
        "tables and norms that differ from the golden's weights are named themselves",
        arguments: [
            ("sana-digits", "transformer_blocks.2.scale_shift_table", "transformer_blocks.2"),
            (
                "bias-affine", "transformer_blocks.1.norm2.weight", "transformer_blocks.1.norm2"
            ),
            ("bias-affine", "transformer_blocks.0.norm2.weight", "transformer_blocks.0.norm2"),
            ("sana-digits", "transformer_blocks.1.attn2.to_k.weight", "transformer_blocks.1.attn2"),
            ("sana-digits", "scale_shift_table", "norm_out"),
        ])
    func tensorIsNamed(_ model: String, _ tensor: String, _ cause: String) throws {
        let isDigits = model == "sana-digits"
        let fixture = isDigits ? "sana-digits/transformer" : "tiny/\(model)"
        let copy = try DoctoredCheckpoint(fixture)
        let golden = isDigits ? "sana-digits-b2-t999" : "tiny-bias-affine"
        let builder = try knowing(copy.path, golden + ".safetensors")
        let bytes = try copy.bytes(tensor)
        // A part of it only: the first rows of a table are the self-attention's.
        let part = bytes.count / 3 / 4 * 4
        try copy.patch(tensor, with: bytes.prefix(part).map { $0 ^ 0x3F })
        for isolated in [true, false] {
            let result = try verify(builder, copy.path, isolated: isolated)
            let text = result.text(.init(allLayers: true))
            #expect(result.attribution?.cause == cause, "\(text)")
            #expect(result.attribution?.tensors == [tensor])
            #expect(text.contains("\(tensor) is not as recorded"))
        }
    }

    @Test(
        "two tensors that differ are both named and nothing else, without own errors, too",
        arguments: [
            ("transformer_blocks.1.attn1", ".to_out.0.weight", "conv_point.weight", 1.1),
            // Between them the error jumps in a healthy layer.
            ("caption_projection", ".linear_2.weight", "conv_depth.bias", 1.5),
        ] as [(String, String, String, Float)])
    func twoTensors(
        _ cause: String, _ tensor: String, _ other: String, _ factor: Float
    ) throws {
        let copy = try DoctoredCheckpoint("sana-digits/transformer")
        let builder = try knowing(copy.path, "sana-digits-b2-t999.safetensors")
        for name in [cause + tensor, "transformer_blocks.3.ff." + other] {
            try copy.patch(name, with: copy.bytes(name).mappingBF16 { $0 * factor })
        }
        for isolated in [true, false] {
            let result = try verify(builder, copy.path, isolated: isolated)
            #expect(result.attribution?.cause == cause)
            #expect(result.attribution?.others == ["transformer_blocks.3.ff"])
        }
    }

    // MARK: Stale goldens

    @Test("a stale golden says so first, then the five worst layers")
    func staleFirst() throws {
        let workers = WorkerPool(threadCount: 2)
        let model = try DoctoredCheckpoint("sana-digits/transformer")
        let name = "patch_embed.proj.weight"
        try model.patch(name, with: model.bytes(name).mappingBF16 { $0 * 1.25 })
        let result = try Verification.run(
            OpenedModel.open(model.path).load(workers: workers),
            Golden(path: Self.goldens + "sana-digits-b2-t999.safetensors"), .init(),
            workers: workers)
        #expect(result.problems.first?.kind == .stale)
        let text = result.text(.init())
        let stale = try #require(text.range(of: "stale: "))
        let cause = try #require(text.range(of: "cause: "))
        #expect(stale.lowerBound < cause.lowerBound)
        #expect(text.components(separatedBy: "FAIL").count == 7)
        #expect(text.contains("… and 19 more layers"))
        let markdown = result.markdown(.init())
        let first = try #require(markdown.range(of: "- golden is stale: "))
        #expect(
            first.lowerBound < (markdown.range(of: "- cause: ")?.lowerBound ?? first.lowerBound))
        #expect(markdown.contains("… and 19 more layers"))
        #expect(result.json["layers"]?.array?.count == 23)
    }
}
