import Foundation
import SanaModel
import SanaTestSupport

/// A pipeline's repository in a temporary folder, of a tiny transformer and stand-ins for all other
/// components, that a test may damage.
struct TinyRepository {
    let folder: TemporaryFolder
    var path: String { folder.path }

    static let weights = "transformer/diffusion_pytorch_model.safetensors"

    init(_ fixture: String) throws {
        folder = try TemporaryFolder()
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/tiny/" + fixture, toPath: folder("transformer"))
        try FileManager.default.createDirectory(
            atPath: folder("vae"), withIntermediateDirectories: true)
        var builder = SafetensorsBuilder()
        builder.add("w", [2], [1, 2])
        try folder.write("vae/diffusion_pytorch_model.safetensors", builder.file)
        try folder.write("vae/config.json", Array(#"{"_class_name": "AutoencoderDC"}"#.utf8))
        for name in ["text_encoder", "tokenizer", "scheduler"] {
            try FileManager.default.createDirectory(
                atPath: folder(name), withIntermediateDirectories: true)
        }
        try folder.write("text_encoder/model.safetensors", builder.file)
        try write("text_encoder/config.json", #"{"architectures": ["Gemma2Model"]}"#)
        try write("tokenizer/tokenizer.json", #"{"model": {"vocab": {"a": 0}}}"#)
        try write("tokenizer/tokenizer_config.json", "{}")
        try write(
            "scheduler/scheduler_config.json",
            #"{"_class_name": "FlowMatchEulerDiscreteScheduler"}"#)
        // A folder in a zip file is there by its files alone.
        try write("scheduler/README.md", "A scheduler.")
        try folder.write(
            "model_index.json",
            Array(
                #"""
                {"_class_name": "SanaPipeline", "_diffusers_version": "0.42.1",
                 "safety_checker": [null, null], "force_upcast": true,
                 "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
                 "text_encoder": ["transformers", "Gemma2Model"],
                 "tokenizer": ["transformers", "GemmaTokenizerFast"],
                 "transformer": ["diffusers", "SanaTransformer2DModel"],
                 "vae": ["diffusers", "AutoencoderDC"]}
                """#.utf8))
    }

    func write(_ name: String, _ text: String) throws { try folder.write(name, Array(text.utf8)) }

    func remove(_ name: String) throws {
        try FileManager.default.removeItem(atPath: folder(name))
    }

    func move(_ name: String, _ target: String) throws {
        try FileManager.default.moveItem(atPath: folder(name), toPath: folder(target))
    }

    func copy(_ name: String, _ target: String) throws {
        try FileManager.default.copyItem(atPath: folder(name), toPath: folder(target))
    }

    /// All files as a pipeline in one file, in a name beside the folder's.
    func packed(_ name: String) throws -> String {
        var builder = ZipBuilder()
        func add(_ path: String) throws {
            for name in folder.entries(path) where !name.hasSuffix(".dduf") {
                let inner = path.isEmpty ? name : path + "/" + name
                if folder(inner).isFolder {
                    try add(inner)
                } else {
                    builder.entries.append(.init(inner, try fileBytes(folder(inner))))
                }
            }
        }
        try add("")
        return try folder.write(name, builder.file)
    }

    /// Leaves out the last bytes.
    func truncate(_ name: String, by count: Int = 16) throws {
        try folder.write(name, Array(try fileBytes(folder(name)).dropLast(count)))
    }

    /// Replaces text, which must be there.
    func edit(_ name: String, _ old: String, _ new: String) throws {
        let text = String(decoding: try fileBytes(folder(name)), as: UTF8.self)
        guard text.contains(old) else {
            throw BadDataError(file: name, reason: "does not contain \(old)")
        }
        try write(name, text.replacingOccurrences(of: old, with: new))
    }

    /// Writes weights again with their tensors changed; `nil` leaves one out.
    func rewrite(
        _ name: String = weights, adding extra: [String] = [],
        _ change: (TensorInfo, [UInt8]) -> (String, DType, [Int], [UInt8])?
    ) throws {
        let file = try SafetensorsFile(content: ByteView(fileBytes(folder(name))), path: name)
        var builder = SafetensorsBuilder()
        for tensor in file.tensors {
            let bytes = try file.bytes(of: tensor).withUnsafeBytes { Array($0) }
            guard let (name, dtype, shape, content) = change(tensor, bytes) else { continue }
            builder.add(name, dtype, shape, bytes: content)
        }
        for name in extra { builder.add(name, [1], [0]) }
        try folder.write(name, builder.file)
    }
}
