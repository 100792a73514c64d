import Foundation
import SanaModel
import SanaTestSupport
import Testing

extension BrokenModelTests {
    /// A change to the trained model's component folder, and the words that name what is wrong.
    struct Case: Sendable, CustomTestStringConvertible {
        let name: String
        /// Whether the weights are int8 before the change.
        var isInt8 = false
        /// Whether no program can read a file after it.
        var isUnreadable = false
        let words: String
        /// Words of the line that inspect prints, where they are others.
        var inspect: String?
        let damage: @Sendable (TemporaryFolder) throws -> Void

        var testDescription: String { name }
    }

    static let weights = "model/diffusion_pytorch_model.safetensors"

    private static func settings(
        _ folder: TemporaryFolder, _ change: (JSONValue) -> JSONValue
    ) throws {
        let path = folder("model/config.json")
        let json = try JSONFile.read(path)
        let old = json["quantization_config"] ?? .object([.init("quant_method", .string("sdnq"))])
        try folder.write(
            "model/config.json",
            Array(json.setting("quantization_config", to: change(old)).text(indent: 2).utf8))
    }

    static let cases: [Case] = [
        .init(name: "unknown key", isInt8: true, words: "unknown key use_spin") {
            try settings($0) { $0.setting("use_spin", to: .int(2)) }
        },
        .init(name: "no settings", isInt8: true, words: "no quantization_config") {
            try settings($0) { _ in .null }
        },
        .init(name: "another method", isInt8: true, words: "bitsandbytes (int8)") {
            try settings($0) { _ in
                .object([
                    .init("quant_method", .string("bitsandbytes")),
                    .init("load_in_8bit", .bool(true)),
                ])
            }
        },
        .init(name: "incomplete list", isInt8: true, words: "modules_to_not_convert does not name")
        {
            try settings($0) {
                let names = $0["modules_to_not_convert"]?.array ?? []
                return $0.setting("modules_to_not_convert", to: .array(Array(names.dropLast())))
            }
        },
        .init(name: "float weights", words: "no weight is quantized") {
            try settings($0) { $0.setting("weights_dtype", to: .string("int8")) }
        },
        .init(name: "heads", words: "num_attention_heads is 16, and by the shape of") {
            let json = try JSONFile.read($0("model/config.json"))
            try $0.write(
                "model/config.json",
                Array(json.setting("num_attention_heads", to: .int(16)).text().utf8))
        },
        .init(name: "pointer", isUnreadable: true, words: "a Git LFS pointer") {
            try $0.write(
                weights,
                Array("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n".utf8))
        },
        .init(name: "web page", isUnreadable: true, words: "a web page") {
            try $0.write(weights, Array("<!DOCTYPE html>\n<html>401</html>".utf8))
        },
        .init(name: "server's error", isUnreadable: true, words: "a server error") {
            try $0.write(weights, Array(#"{"error":"Repository not found"}"#.utf8))
        },
        .init(name: "zeros", isUnreadable: true, words: "all zeros") {
            try $0.write(weights, [UInt8](repeating: 0, count: 10_000))
        },
        .init(name: "renamed", isUnreadable: true, words: "a torch.save file") {
            try $0.write(weights, ZipBuilder(pickle: [0x80, 0x02]).file)
        },
        .init(name: "byte order mark", isUnreadable: true, words: "with a byte order mark") {
            try $0.write(weights, [0xEF, 0xBB, 0xBF] + fileBytes($0(weights)))
        },
        .init(name: "UTF-16", isUnreadable: true, words: "a text file in UTF-16") {
            try $0.write(weights, [0xFF, 0xFE, 0x7B, 0, 0x7D, 0])
        },
        .init(name: "GGUF", isUnreadable: true, words: "a GGUF file") {
            try $0.write(weights, Array("GGUF".utf8) + [3, 0, 0, 0])
        },
        .init(name: "unfinished", isUnreadable: true, words: "download is unfinished") {
            try $0.write(weights + ".aria2", [0, 1])
        },
        .init(name: "never written to its end", isUnreadable: true, words: "zero bytes") {
            let content = try fileBytes($0(weights))
            let missing = content.count / 2
            try $0.write(
                weights, content.dropLast(missing) + [UInt8](repeating: 0, count: missing))
        },
        .init(name: "empty", words: "holds no tensors") {
            try $0.write(weights, SafetensorsBuilder().file)
        },
    ]
}
