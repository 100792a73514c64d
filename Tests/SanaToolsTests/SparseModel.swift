import Foundation
import SanaModel
import SanaTestSupport

/// A model of 335 MB, none of them on the disk: all its weights are zero.
enum SparseModel {
    /// Writes the weights as `name` and `config.json` beside them.
    static func write(_ name: String, in folder: TemporaryFolder) throws {
        let sizes =
            #"{"_class_name":"SanaTransformer2DModel","num_layers":0,"num_attention_heads":16,"#
            + #""attention_head_dim":256,"cross_attention_dim":4096,"caption_channels":16384}"#
        let parent = (name as NSString).deletingLastPathComponent
        let config = (parent as NSString).appendingPathComponent("config.json")
        try folder.write(config, Array(sizes.utf8))
        let header = header
        let path = try folder.write(name, header.bytes)
        let size = off_t(header.bytes.count + header.dataByteCount)
        guard truncate(path, size) == 0 else { throw CocoaError(.fileWriteUnknown) }
    }

    /// The header of a model with a caption projection of 268 MB and next to nothing else.
    private static var header: (bytes: [UInt8], dataByteCount: Int) {
        let (dim, captions) = (4096, 16384)
        var shapes: [(String, [Int])] = [
            ("patch_embed.proj.weight", [dim, 32, 1, 1]), ("caption_norm.weight", [dim]),
            ("caption_projection.linear_1.weight", [dim, captions]),
            ("caption_projection.linear_2.weight", [dim, dim]),
            ("time_embed.emb.timestep_embedder.linear_1.weight", [dim, 256]),
            ("time_embed.emb.timestep_embedder.linear_2.weight", [dim, dim]),
            ("time_embed.linear.weight", [6 * dim, dim]), ("scale_shift_table", [2, dim]),
            ("proj_out.weight", [32, dim]),
        ]
        let plain: Set = ["caption_norm.weight", "scale_shift_table"]
        for (name, shape) in shapes where !plain.contains(name) {
            shapes.append((name.replacingOccurrences(of: ".weight", with: ".bias"), [shape[0]]))
        }
        var offset = 0
        let members = shapes.map { name, shape in
            let bytes = 4 * shape.reduce(1, *)
            defer { offset += bytes }
            return JSONValue.Member(
                name,
                .object([
                    .init("dtype", .string("F32")),
                    .init("shape", .array(shape.map(JSONValue.int))),
                    .init("data_offsets", .array([.int(offset), .int(offset + bytes)])),
                ]))
        }
        let json = Array(JSONValue.object(members).text().utf8)
        return (littleEndianBytes(UInt64(json.count)) + json, offset)
    }
}
