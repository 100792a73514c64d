import SanaModel
import SanaTestSupport

@testable import SanaTools
@testable import SanaWorkbench

/// Defects of shard indexes and of configuration.
extension LintCases {
    static let indexes: [LintTests.Case] = [
        .init(rule: .indexInvalid, fixture: "sharded", location: index, words: "weight_map") {
            try $0.write(index, "{\"weight_map\": []}")
        },
        .init(
            rule: .indexPath, fixture: "sharded", location: index, words: "../../etc/passwd"
        ) { try $0.edit(index, shard2.lastPathComponent, "../../etc/passwd") },
        .init(
            rule: .indexTwice, fixture: "variant-sharded",
            location: stem + ".safetensors.fp16.index.json",
            words: "is an index of the same variant",
            also: [.nameLegacy, .variantOnly, .variantMixed]
        ) {
            try $0.copy(
                stem + ".safetensors.index.fp16.json", stem + ".safetensors.fp16.index.json")
        },
        .init(
            rule: .indexAbsent, fixture: "sharded",
            location: stem + "-00001-of-00005.safetensors",
            words: "Error no file named diffusion_pytorch_model.safetensors.index.json"
        ) { try $0.remove(index) },
        .init(
            rule: .indexTensorAbsent, fixture: "sharded", location: index,
            words: "tensor 'caption_norm.weight' is not in", also: [.tensorMissing]
        ) { repository in
            try repository.drop("caption_norm.weight")
        },
        .init(
            rule: .indexTensorUnlisted, fixture: "sharded", location: shard2,
            words: "tensor 'stray' is not in", also: [.tensorUnexpected, .indexTotalSize]
        ) {
            try $0.rewrite(shard2, adding: ["stray"]) { ($0.name, $0.dtype, $0.shape, $1) }
        },
        .init(rule: .indexTotalSize, fixture: "sharded", location: index, words: "total_size") {
            try $0.edit(index, "\"total_size\": ", "\"total_size\": 1")
        },
        .init(
            rule: .shardAbsent, fixture: "sharded", location: shard2,
            words: "which is required according to the checkpoint index"
        ) { try $0.remove(shard2) },
        .init(
            rule: .shardStray, fixture: "sharded", location: stem + "-00001-of-00002.safetensors"
        ) { try $0.copy(shard2, stem + "-00001-of-00002.safetensors") },
        .init(
            rule: .shardAbsent, location: "vae/diffusion_pytorch_model-00001-of-00002.safetensors"
        ) {
            try $0.remove("vae/diffusion_pytorch_model.safetensors")
            try $0.write(
                "vae/diffusion_pytorch_model.safetensors.index.json",
                #"""
                {"weight_map": {"w": "diffusion_pytorch_model-00001-of-00002.safetensors"}}
                """#)
        },
    ]

    static let configuration: [LintTests.Case] = [
        .init(
            rule: .configAbsent, location: "transformer/config.json",
            words: "Error no file named config.json found in directory"
        ) { try $0.remove("transformer/config.json") },
        .init(
            rule: .configInvalid, location: "transformer/config.json",
            words: "It looks like the config file is not a valid JSON file"
        ) { try $0.write("transformer/config.json", "{") },
        .init(rule: .configInvalid, location: "transformer/config.json", words: "patch_size") {
            try $0.edit("transformer/config.json", "\"patch_size\": 1", "\"patch_size\": \"1\"")
            try $0.edit("transformer/config.json", "\"norm_eps\": 1e-06", "\"norm_eps\": null")
        },
        .init(
            rule: .configClass, location: "transformer/config.json", words: "SanaControlNetModel"
        ) {
            try $0.edit(
                "transformer/config.json", "SanaTransformer2DModel", "SanaControlNetModel")
        },
        .init(
            rule: .configUnknownKey, location: "layers",
            words: "were passed to SanaTransformer2DModel, but are not expected and will be ignored"
        ) { try $0.edit("transformer/config.json", "\"dropout\"", "\"layers\": 1, \"dropout\"") },
        .init(
            rule: .configShapes, location: "mlp_ratio", words: "is 2.0, and by the shape of"
        ) { try $0.edit("transformer/config.json", "\"mlp_ratio\": 2.5", "\"mlp_ratio\": 2.0") },
        .init(
            rule: .configShapes, location: "num_attention_heads",
            words: "is 16, and by the shape of"
        ) { try $0.setConfig("num_attention_heads", .int(16)) },
        .init(
            rule: .configShapes, location: "num_attention_heads",
            words: "is absent, which makes it 70, and by the shape of"
        ) { try $0.setConfig("num_attention_heads", nil) },
        .init(
            rule: .configShapes, location: "cross_attention_dim", words: "by the shape of"
        ) { try $0.setConfig("cross_attention_dim", .int(48)) },
        .init(
            rule: .configShapes, location: "num_layers", words: "is 3, and by the shape of"
        ) {
            try $0.edit("transformer/config.json", "\"num_layers\": 2", "\"num_layers\": 3")
        },
        .init(
            rule: .configReleased, location: "timestep_scale",
            words: "is 1.0, and in Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers",
            also: [.componentMismatch]
        ) { repository in
            let item = try ReleasedConfiguration.named("Sprint_0.6B_1024px_diffusers")
            try repository.folder.write(
                item, config: item.json.setting("timestep_scale", to: .double(1)),
                in: "transformer")
        },
        .init(
            rule: .quantizationMismatch, location: "quantization_config",
            words: "names sdnq (int8), and no weight is quantized"
        ) {
            try $0.edit(
                "transformer/config.json", "\"dropout\"",
                "\"quantization_config\": {\"quant_method\": \"sdnq\"}, \"dropout\"")
        },
        .init(
            rule: .quantizationMismatch, location: "quantization_config",
            words: "bitsandbytes (int8)"
        ) {
            try $0.rewrite(adding: ["proj_out.SCB"]) { ($0.name, $0.dtype, $0.shape, $1) }
        },
        .init(
            rule: .quantizationUnsupported, location: "proj_out.wscales", words: "nunchaku"
        ) {
            try $0.rewrite(adding: ["proj_out.wscales"]) { ($0.name, $0.dtype, $0.shape, $1) }
        },
        .init(
            rule: .weightsAbsent, location: "transformer/",
            words: "only diffusion_pytorch_model.gguf"
        ) { try $0.move(weights, stem + ".gguf") },
        .init(
            rule: .weightsAbsent, location: "transformer/",
            words: "which a downloader named after its link"
        ) { try $0.move(weights, weights + "?download=true") },
        .init(rule: .weightsAbsent, location: "transformer/", words: "the ONNX model") {
            try $0.move(weights, "transformer/model.onnx")
        },
        .init(rule: .tensorMissing, location: "proj_out.bias", words: "missing keys") {
            try $0.rewrite { info, bytes in
                info.name == "proj_out.bias" ? nil : (info.name, info.dtype, info.shape, bytes)
            }
        },
        .init(rule: .tensorUnexpected, location: "stray.weight", words: "unexpected keys") {
            try $0.rewrite(adding: ["stray.weight"]) { ($0.name, $0.dtype, $0.shape, $1) }
        },
        .init(
            rule: .tensorMisshapen, location: "caption_norm.weight",
            words: "size mismatch for caption_norm.weight"
        ) {
            try $0.rewrite { info, bytes in
                let shape = info.name == "caption_norm.weight" ? [2, 12] : info.shape
                return (info.name, info.dtype, shape, bytes)
            }
        },
        .init(rule: .dtypeMixed, location: "caption_norm.weight", words: "1 tensors are BF16") {
            try $0.rewrite { info, bytes in
                guard info.name == "caption_norm.weight" else {
                    return (info.name, info.dtype, info.shape, bytes)
                }
                return (info.name, .bf16, info.shape, Array(bytes.prefix(2 * info.elementCount)))
            }
        },
    ]
}

extension TinyRepository {
    /// Sets a key of the transformer's configuration; `nil` removes it.
    fileprivate func setConfig(_ key: String, _ value: JSONValue?) throws {
        let name = "transformer/config.json"
        let json = try JSONFile.read(folder(name))
        let changed =
            value.map { json.setting(key, to: $0) }
            ?? .object((json.members ?? []).filter { $0.key != key })
        try write(name, changed.text(indent: 2))
    }

    /// Leaves a tensor out of the shard that holds it.
    fileprivate func drop(_ tensor: String) throws {
        for name in folder.entries("transformer") where name.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(path: folder("transformer/" + name))
            guard file.info(tensor) != nil else { continue }
            try rewrite("transformer/" + name) { info, bytes in
                info.name == tensor ? nil : (info.name, info.dtype, info.shape, bytes)
            }
        }
        let index = "transformer/diffusion_pytorch_model.safetensors.index.json"
        let json = try JSONFile.read(folder(index))
        guard let total = json["metadata"]?["total_size"]?.int else { return }
        try edit(index, "\"total_size\": \(total)", "\"total_size\": \(total - 96)")
    }
}
