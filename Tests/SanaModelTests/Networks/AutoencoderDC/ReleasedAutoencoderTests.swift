import SanaTestSupport
import Testing

@testable import SanaModel

struct ReleasedAutoencoderTests {
    /// Every tensor that a configuration calls for.
    private func tensors(_ config: AutoencoderDCConfig) throws -> [BindingError.Missing] {
        let empty = try SafetensorsFile(content: ByteView(SafetensorsBuilder().file), path: "empty")
        do {
            _ = try AutoencoderDC(config, source: empty, label: "released")
        } catch let error as BindingError { return error.missing }
        return []
    }

    @Test(
        "parameters are as many as diffusers counts", arguments: ReleasedAutoencoder.all.map(\.name)
    )
    func parameters(_ name: String) throws {
        let released = try #require(ReleasedAutoencoder.all.first { $0.name == name })
        let buffers = ["running_mean", "running_var", "num_batches_tracked"]
        let count = try tensors(released.config).reduce(0) { total, tensor in
            let isBuffer = buffers.contains { tensor.name.hasSuffix($0) }
            return total + (isBuffer ? 0 : tensor.shape.reduce(1, *))
        }
        #expect(count == released.parameterCount)
        if name.contains("sana-1.0") { #expect(try tensors(released.config).count == 375) }
    }

    @Test("shapes tell which ones a checkpoint may be")
    func matching() throws {
        let sana = try #require(ReleasedAutoencoder.all.first)
        #expect(
            ReleasedAutoencoder.matching(try ShapesOnly(tensors(sana.config))).map(\.name) == [
                "dc-ae-f32c32-sana-1.0", "dc-ae-f32c32-sana-1.1",
            ])
        let path = Fixtures.path + "/dcae/sana/diffusion_pytorch_model.safetensors"
        #expect(ReleasedAutoencoder.matching(try SafetensorsFile(path: path)).isEmpty)
    }

    /// Tensors without values.
    private struct ShapesOnly: TensorSource {
        let tensors: [TensorInfo]
        private let byName: [String: TensorInfo]

        init(_ missing: [BindingError.Missing]) {
            tensors = missing.compactMap { TensorInfo(name: $0.name, dtype: .f32, shape: $0.shape) }
            byName = Dictionary(tensors.map { ($0.name, $0) }) { first, _ in first }
        }

        func info(_ name: String) -> TensorInfo? { byName[name] }
        func bytes(of tensor: TensorInfo) throws -> ByteView { ByteView([]) }
    }

    @Test("original checkpoints are the same model", arguments: ["sana", "in"])
    func originals(_ name: String) throws {
        let folder = Fixtures.path + "/dcae/" + name
        let stored = try SafetensorsFile(path: folder + "/diffusion_pytorch_model.safetensors")
        let original = try SafetensorsFile(path: folder + "/original.safetensors")
        let tensors = try original.tensors.map { StoredTensor($0, try original.bytes(of: $0)) }
        #expect(OriginalAutoencoderNames.areOriginal(tensors))
        #expect(
            !OriginalAutoencoderNames.areOriginal(
                try stored.tensors.map { StoredTensor($0, try stored.bytes(of: $0)) }))
        let renamed = try OriginalAutoencoderNames.renamed(tensors, file: name)
        #expect(Set(renamed.map(\.info.name)) == Set(stored.tensors.map(\.name)))
        for tensor in renamed {
            let info = try #require(stored.info(tensor.info.name))
            #expect(tensor.info.shape == info.shape, "\(info.name)")
            let same = try stored.bytes(of: info).withUnsafeBytes { a in
                try tensor.bytes().withUnsafeBytes { a.elementsEqual($0) }
            }
            #expect(same, "\(info.name)")
        }
        #expect(
            OriginalAutoencoderNames.names(
                for: "decoder.stages.4.op_list.2.context_module.main.aggreg.1.0.weight",
                resampledEnds: false) == [
                    "decoder.up_blocks.4.2.attn.to_qkv_multiscale.1.proj_in.weight"
                ])
    }

    @Test("a second tensor of one name is refused")
    func twoOfOneName() throws {
        let info = try #require(TensorInfo(name: "main.a", dtype: .f32, shape: []))
        let other = try #require(TensorInfo(name: "a", dtype: .f32, shape: []))
        #expect(throws: BadDataError.self) {
            _ = try OriginalAutoencoderNames.renamed(
                [StoredTensor(info, ByteView([])), StoredTensor(other, ByteView([]))], file: "x")
        }
    }
}
