import Foundation
import SanaModel
import SanaTestSupport

@testable import SanaTools
@testable import SanaWorkbench

/// One defect for each rule that headers and configuration show.
enum LintCases {
    static let all = repository + files + names + softCaps + indexes + configuration

    static let stem = "transformer/diffusion_pytorch_model"
    static let weights = TinyRepository.weights
    static let index = stem + ".safetensors.index.json"
    static let shard2 = stem + "-00002-of-00005.safetensors"
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
        .init(rule: .transformerAbsent, location: "transformer", words: "is missing") {
            try $0.remove("transformer")
        },
        .init(rule: .componentAbsent, location: "vae") { try $0.remove("vae") },
        .init(
            rule: .componentMismatch, location: "text_encoder",
            words: "hidden_size is 2304, and caption_channels of transformer is"
        ) {
            try $0.write(
                "text_encoder/config.json",
                #"{"architectures": ["Gemma2Model"], "hidden_size": 2304}"#)
        },
        .init(
            rule: .componentMismatch, location: "vae",
            words: "latent_channels is 99, and in_channels of transformer is"
        ) {
            try $0.write(
                "vae/config.json", #"{"_class_name": "AutoencoderDC", "latent_channels": 99}"#)
        },
        .init(
            rule: .componentMismatch, location: "transformer", words: "needs guidance_embeds"
        ) { try $0.edit("model_index.json", "SanaPipeline", "SanaSprintPipeline") },
        .init(
            rule: .componentMismatch, location: "transformer", words: "needs guidance_embeds"
        ) {
            try $0.edit("model_index.json", "SanaPipeline", "SanaSprintPipeline")
            try $0.edit("transformer/config.json", "\"guidance_embeds\": false,", "")
        },
        .init(rule: .componentFileAbsent, location: "vae/config.json") {
            try $0.remove("vae/config.json")
        },
        .init(rule: .componentFileAbsent, location: "scheduler/scheduler_config.json") {
            try $0.remove("scheduler/scheduler_config.json")
        },
        .init(rule: .componentFileAbsent, location: "tokenizer/tokenizer.json") {
            try $0.remove("tokenizer/tokenizer.json")
        },
        .init(rule: .componentFileAbsent, location: "text_encoder/config.json") {
            try $0.remove("text_encoder/config.json")
        },
        .init(rule: .componentFileInvalid, location: "vae/config.json", words: "invalid JSON") {
            try $0.truncate("vae/config.json", by: 1)
        },
        .init(
            rule: .componentFileInvalid, location: "scheduler/scheduler_config.json",
            words: "invalid JSON"
        ) { try $0.truncate("scheduler/scheduler_config.json", by: 1) },
        .init(
            rule: .componentFileInvalid, location: "tokenizer/tokenizer.json",
            words: "invalid JSON"
        ) { try $0.truncate("tokenizer/tokenizer.json", by: 1) },
        .init(
            rule: .componentFileInvalid, location: "tokenizer/tokenizer_config.json",
            words: "a web page"
        ) { try $0.write("tokenizer/tokenizer_config.json", "<!doctype html><html></html>") },
        .init(
            rule: .componentFileInvalid, location: "tokenizer/tokenizer.model", words: "zeros"
        ) { try $0.folder.write("tokenizer/tokenizer.model", [UInt8](repeating: 0, count: 90)) },
        .init(
            rule: .tokenizerAbsent, location: "tokenizer/tokenizer_config.json", words: "defaults"
        ) { try $0.remove("tokenizer/tokenizer_config.json") },
        .init(
            rule: .componentFileInvalid, location: "vae/config.json", words: "has no _class_name"
        ) { try $0.write("vae/config.json", serverError) },
        .init(
            rule: .componentFileInvalid, location: "text_encoder/config.json",
            words: "has no model_type"
        ) { try $0.write("text_encoder/config.json", serverError) },
        .init(
            rule: .componentFileInvalid, location: "scheduler/scheduler_config.json",
            words: "has no _class_name"
        ) { try $0.write("scheduler/scheduler_config.json", serverError) },
        .init(
            rule: .componentFileAbsent, location: "feature_extractor/preprocessor_config.json"
        ) {
            try $0.edit(
                "model_index.json", #""safety_checker": [null, null]"#,
                #""feature_extractor": ["transformers", "CLIPImageProcessor"]"#)
            try $0.write("feature_extractor/README.md", "An extractor.")
        },
        .init(
            rule: .lfsPointer, location: "vae/config.json", words: "a Git LFS pointer"
        ) {
            try $0.write(
                "vae/config.json",
                "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
        },
        .init(
            rule: .tokenizerAbsent, location: "tokenizer/tokenizer.json", words: "tokenizer.model"
        ) {
            try $0.move("tokenizer/tokenizer.json", "tokenizer/README.md")
            try $0.folder.write("tokenizer/tokenizer.model", [0x0A, 0x01, 0x80])
        },
        .init(
            rule: .componentClass, location: "text_encoder",
            words: "names Gemma2ForCausalLM, and SanaPipeline works with Gemma2Model"
        ) { try $0.edit("model_index.json", "Gemma2Model", "Gemma2ForCausalLM") },
        .init(
            rule: .componentClass, location: "scheduler/scheduler_config.json",
            words: "_class_name is SCMScheduler, and model_index.json names"
        ) {
            try $0.write(
                "scheduler/scheduler_config.json", #"{"_class_name": "SCMScheduler"}"#)
        },
        .init(
            rule: .componentClass, location: "tokenizer/tokenizer_config.json",
            words: "tokenizer_class is T5TokenizerFast, and model_index.json names"
        ) {
            try $0.write(
                "tokenizer/tokenizer_config.json", #"{"tokenizer_class": "T5TokenizerFast"}"#)
        },
        .init(
            rule: .configClass, location: "text_encoder/config.json",
            words: "model_type is t5, and model_index.json names Gemma2Model"
        ) { try $0.write("text_encoder/config.json", #"{"model_type": "t5"}"#) },
    ]

    private static let serverError = #"{"error": "Repository not found"}"#

    /// A file whose last bytes were never written.
    private static func endWithZeros(_ repository: TinyRepository, _ count: Int) throws {
        let content = try fileBytes(repository.folder(weights))
        try repository.folder.write(
            weights, content.dropLast(count) + [UInt8](repeating: 0, count: count))
    }

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
            rule: .fileForeign, location: weights, words: "a web page (HTML or XML)"
        ) { try $0.write(weights, "<html><body>404</body></html>") },
        .init(
            rule: .fileForeign, location: weights, words: "Invalid username or password"
        ) { try $0.write(weights, #"{"error": "Invalid username or password."}"#) },
        .init(rule: .fileForeign, location: weights, words: "all zeros") {
            try $0.folder.write(weights, [UInt8](repeating: 0, count: 5000))
        },
        .init(rule: .fileForeign, location: weights, words: "torch.save file") {
            try $0.folder.write(weights, ZipBuilder(pickle: [0x80, 0x02]).file)
        },
        .init(rule: .fileForeign, location: weights, words: "GGUF") {
            try $0.folder.write(weights, Array("GGUF".utf8) + [3, 0, 0, 0, 0, 0])
        },
        .init(
            rule: .downloadUnfinished, location: weights, words: ".safetensors.aria2 is next to it"
        ) { try $0.folder.write(weights + ".aria2", [0, 1]) },
        .init(
            rule: .downloadUnfinished, location: weights, words: ".part", also: [.weightsAbsent]
        ) { try $0.move(weights, weights + ".part") },
        .init(rule: .headerOdd, location: weights, words: "is null") { repository in
            let file = try SafetensorsFile(path: repository.folder(weights))
            let header = file.headerBytes.withUnsafeBytes { Array($0.dropFirst(8)) }
            let json = String(decoding: header, as: UTF8.self)
                .replacing(#""__metadata__":{"format":"pt"}"#, with: #""__metadata__":null"#)
            let data = file.fileBytes.withUnsafeBytes { Array($0.dropFirst(8 + header.count)) }
            try repository.folder.write(
                weights, littleEndianBytes(UInt64(json.utf8.count)) + Array(json.utf8) + data)
        },
        .init(rule: .byteOrderMark, location: "transformer/config.json", words: "BOM") {
            repository in
            let path = "transformer/config.json"
            let text = try ByteView(mapping: repository.folder(path)).withUnsafeBytes { Array($0) }
            try repository.folder.write(path, [0xEF, 0xBB, 0xBF] + text)
        },
        .init(
            rule: .nameEncoding, location: "transformer/notes\u{FFFD}.txt", words: "not valid UTF-8"
        ) { repository in
            let path = Array(repository.folder("transformer/notes").utf8) + [0xFF]
            let file = path.map(CChar.init(bitPattern:)) + Array(".txt".utf8CString)
            let descriptor = open(file, O_CREAT | O_WRONLY, 0o644)
            guard descriptor >= 0, close(descriptor) == 0 else {
                throw FileError(.create, "transformer", code: errno)
            }
        },
        .init(
            rule: .fileUnwritten, location: weights,
            words: "zero bytes, 'transformer_blocks.1.ff.conv_point.weight' among them"
        ) { try endWithZeros($0, 13_000) },
        .init(
            rule: .fileZeroEnd, location: weights,
            words: "zero bytes, a part of 'transformer_blocks.1.ff.conv_point.weight' among them"
        ) { try endWithZeros($0, 5_000) },
        .init(rule: .weightsEmpty, location: weights, words: "holds no tensors") {
            try $0.folder.write(weights, SafetensorsBuilder().file)
        },
        .init(
            rule: .fileInvalid, location: weights, words: "Error while deserializing header"
        ) { repository in
            var builder = try SafetensorsBuilder(copying: repository.folder(weights))
            builder.add("stray", .f32, [2], bytes: [0, 0, 0, 0])
            try repository.folder.write(weights, builder.file)
        },
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
        .init(rule: .weightsAbsent, location: "vae/") {
            try $0.remove("vae/diffusion_pytorch_model.safetensors")
        },
        .init(rule: .weightsAbsent, location: "text_encoder/") {
            try $0.remove("text_encoder/model.safetensors")
        },
        .init(rule: .fileTruncated, location: "text_encoder/model.safetensors") {
            try $0.truncate("text_encoder/model.safetensors", by: 4)
        },
        .init(rule: .weightsEmpty, location: "text_encoder/model.safetensors") {
            try $0.folder.write("text_encoder/model.safetensors", SafetensorsBuilder().file)
        },
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
            rule: .nameWrapped, location: "diffusion_pytorch_model.safetensors",
            words: "without '_orig_mod.'"
        ) { try $0.rewrite { ("_orig_mod." + $0.name, $0.dtype, $0.shape, $1) } },
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
            rule: .variantType, location: "diffusion_pytorch_model.fp16.safetensors",
            words: "the variant is fp16", also: [.variantOnly, .variantMixed]
        ) { try $0.move(weights, stem + ".fp16.safetensors") },
        .init(
            rule: .variantOnly, location: "transformer/", words: "variant=\"fp16\"",
            also: [.variantMixed, .variantType]
        ) { try $0.move(weights, stem + ".fp16.safetensors") },
        .init(
            rule: .variantMixed, location: "model_index.json", words: "transformer has fp16",
            also: [.variantOnly, .variantType]
        ) { try $0.move(weights, stem + ".fp16.safetensors") },
        .init(rule: .variantMixed, fixture: "sharded", location: index) { repository in
            let renamed = "diffusion_pytorch_model.fp16-00002-of-00005.safetensors"
            try repository.move(shard2, "transformer/" + renamed)
            try repository.edit(index, shard2.lastPathComponent, renamed)
        },
    ]

    /// Versions of transformers that leave out the soft cap of a text encoder.
    private static let softCaps: [LintTests.Case] = ["4.44.2", "4.48.0", "4.51.3", "5.21.0"].map {
        version in
        .init(
            rule: .softCapVersion, location: "text_encoder/config.json",
            words: "transformers \(version), which saved it, ignores the cap"
        ) { try $0.write("text_encoder/config.json", softCap(version)) }
    }

    /// Configuration of a text encoder that such a version saved.
    static func softCap(_ version: String) -> String {
        """
        {"architectures": ["Gemma2Model"], "attn_logit_softcapping": 50.0,
         "transformers_version": "\(version)"}
        """
    }
}
