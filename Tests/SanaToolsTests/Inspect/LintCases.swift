import Foundation
import SanaModel

@testable import SanaTools

/// One defect for each rule that headers and configuration show.
enum LintCases {
    static let all = repository + files + names + indexes + configuration

    private static let stem = "transformer/diffusion_pytorch_model"
    private static let weights = TinyRepository.weights
    private static let index = stem + ".safetensors.index.json"
    private static let shard2 = stem + "-00002-of-00005.safetensors"
    private static let pointer = """
        version https://git-lfs.github.com/spec/v1
        oid sha256:4d7a214614ab2935c943f9e0ff69d22eadbb8f32b1258daaa5e2ca24d17e2393
        size 12345

        """

    private static let repository: [LintTests.Case] = [
        .init(
            rule: .modelIndexAbsent, location: "model_index.json",
            words: "Error no file named model_index.json found in directory"
        ) { try $0.remove("model_index.json") },
        .init(
            rule: .modelIndexInvalid, location: "model_index.json", words: "'../vae'"
        ) { try $0.edit("model_index.json", "\"vae\":", "\"../vae\":") },
        .init(
            rule: .transformerAbsent, location: "model_index.json",
            words: "no component is a SanaTransformer2DModel"
        ) { try $0.edit("model_index.json", "SanaTransformer2DModel", "UNet2DConditionModel") },
        .init(rule: .transformerAbsent, location: "transformer", words: "absent") {
            try $0.remove("transformer")
        },
        .init(rule: .componentAbsent, location: "vae") { try $0.remove("vae") },
    ]

    private static let files: [LintTests.Case] = [
        .init(rule: .linkDangling, location: weights) {
            try $0.remove(weights)
            try FileManager.default.createSymbolicLink(
                atPath: $0.folder(weights), withDestinationPath: "../blobs/none")
        },
        .init(rule: .lfsPointer, location: weights, words: "Git LFS pointer") {
            try $0.write(weights, pointer)
        },
        .init(rule: .lfsPointer, location: "vae/diffusion_pytorch_model.safetensors") {
            try $0.write("vae/diffusion_pytorch_model.safetensors", pointer)
        },
        .init(rule: .fileUnreadable, location: weights, words: "is a pipe or device") {
            try $0.remove(weights)
            guard mkfifo($0.folder(weights), 0o600) == 0 else { throw POSIXError(.EIO) }
        },
        .init(
            rule: .fileTruncated, location: weights,
            words: "incomplete metadata, file not fully covered"
        ) { try $0.truncate(weights) },
        .init(
            rule: .fileInvalid, location: weights, words: "Error while deserializing header"
        ) { try $0.write(weights, "<html><body>404</body></html>") },
        .init(
            rule: .tensorDuplicate, fixture: "sharded", location: shard2,
            words: "in diffusion_pytorch_model-00001-of-00005.safetensors, too",
            also: [.indexTotalSize]
        ) { repository in
            let first = stem + "-00001-of-00005.safetensors"
            let file = try SafetensorsFile(path: repository.folder(first))
            try repository.rewrite(shard2, adding: [file.tensors[0].name]) {
                ($0.name, $0.dtype, $0.shape, $1)
            }
            // Its size counts once, so the total of the index must move for it to be noticed.
            try repository.edit(index, "\"total_size\": ", "\"total_size\": 1")
        },
    ]

    private static let names: [LintTests.Case] = [
        .init(
            rule: .weightsAbsent, location: "transformer/",
            words: "Error no file named diffusion_pytorch_model.safetensors found in directory"
        ) { try $0.remove(weights) },
        .init(rule: .weightsTwice, fixture: "sharded", location: weights) {
            try $0.copy(shard2, weights)
        },
        .init(
            rule: .pickleOnly, location: stem + ".bin",
            words: "Error no file named diffusion_pytorch_model.safetensors found in directory"
        ) { try $0.move(weights, stem + ".bin") },
        .init(rule: .pickleBeside, location: "transformer/pytorch_model.bin") {
            try $0.write("transformer/pytorch_model.bin", "x")
        },
        .init(
            rule: .nameLegacy, fixture: "variant-sharded",
            location: stem + ".fp16.safetensors.index.json",
            words: "Error no file named diffusion_pytorch_model.safetensors.index.fp16.json",
            also: [.variantOnly, .variantMixed]
        ) {
            try $0.move(
                stem + ".safetensors.index.fp16.json", stem + ".fp16.safetensors.index.json")
        },
        .init(
            rule: .nameForeign, location: "transformer/model.safetensors", also: [.weightsAbsent]
        ) { try $0.move(weights, "transformer/model.safetensors") },
        .init(
            rule: .variantOnly, location: "transformer/", words: "variant=\"fp16\"",
            also: [.variantMixed]
        ) { try $0.move(weights, stem + ".fp16.safetensors") },
        .init(
            rule: .variantMixed, location: "model_index.json", words: "transformer has fp16",
            also: [.variantOnly]
        ) { try $0.move(weights, stem + ".fp16.safetensors") },
        .init(rule: .variantMixed, fixture: "sharded", location: index) { repository in
            let renamed = "diffusion_pytorch_model.fp16-00002-of-00005.safetensors"
            try repository.move(shard2, "transformer/" + renamed)
            try repository.edit(index, shard2.lastPathComponent, renamed)
        },
    ]

    private static let indexes: [LintTests.Case] = [
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

    private static let configuration: [LintTests.Case] = [
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
            rule: .configShapes, location: "mlp_ratio", words: "is 2.0, and by the shape of",
            also: [.tensorMisshapen]
        ) { try $0.edit("transformer/config.json", "\"mlp_ratio\": 2.5", "\"mlp_ratio\": 2.0") },
        .init(
            rule: .configShapes, location: "num_layers", words: "is 3, and by the shape of",
            also: [.tensorMissing]
        ) {
            try $0.edit("transformer/config.json", "\"num_layers\": 2", "\"num_layers\": 3")
        },
        .init(
            rule: .configReleased, location: "timestep_scale",
            words: "is 1.0, and in Efficient-Large-Model/Sana_Sprint_0.6B_1024px_diffusers"
        ) { repository in
            let item = try ReleasedConfiguration.named("Sprint_0.6B_1024px_diffusers")
            try repository.folder.write(
                item, config: item.json.setting("timestep_scale", to: .double(1)),
                in: "transformer")
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
