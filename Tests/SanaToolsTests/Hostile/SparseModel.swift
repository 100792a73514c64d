import Foundation
import SanaModel
import SanaTestSupport

/// A model without blocks and with large projections.
struct SparseModel {
    /// Channels, 256 of them in a head, and of the caption.
    let (dim, captions): (Int, Int)

    /// A model of 335 MB, next to none of them on the disk: all its weights are zero but for the
    /// last of each tensor, since a file that ends in zeros is one that a download has not written.
    static func write(_ name: String, in folder: TemporaryFolder) throws {
        try SparseModel(dim: 4096, captions: 16384).write(name, in: folder, isFilled: false)
    }

    /// Writes the weights as `name` and `config.json` beside them.
    ///
    /// - Parameter isFilled: whether values are random, so that they hardly pack.
    func write(_ name: String, in folder: TemporaryFolder, isFilled: Bool) throws {
        let sizes =
            #"{"_class_name":"SanaTransformer2DModel","num_layers":0,"#
            + #""num_attention_heads":\#(dim / 256),"attention_head_dim":256,"#
            + #""cross_attention_dim":\#(dim),"caption_channels":\#(captions)}"#
        let parent = (name as NSString).deletingLastPathComponent
        let config = (parent as NSString).appendingPathComponent("config.json")
        try folder.write(config, Array(sizes.utf8))
        let header = header
        let path = try folder.write(name, header.bytes)
        guard !isFilled else {
            let (file, random) = try (
                FileHandle(forWritingTo: URL(fileURLWithPath: path)),
                FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
            )
            try file.seekToEnd()
            var values = try random.read(upToCount: header.ends.last ?? 0) ?? Data()
            values.withUnsafeMutableBytes { bytes in
                // ±2⁻³…2⁻¹, so that nothing overflows.
                let words = bytes.bindMemory(to: UInt32.self)
                for index in words.indices {
                    words[index] = words[index] & 0x80FF_FFFF | 0x3E00_0000
                }
            }
            return try file.write(contentsOf: values)
        }
        let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        let one = littleEndianBytes(Float(1).bitPattern)
        for end in header.ends {
            try file.seek(toOffset: UInt64(header.bytes.count + end - one.count))
            try file.write(contentsOf: one)
        }
        try file.close()
    }

    /// The header of a model with a caption projection of 268 MB and next to nothing else.
    private var header: (bytes: [UInt8], ends: [Int]) {
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
        var (offset, ends) = (0, [Int]())
        let members = shapes.map { name, shape in
            let bytes = 4 * shape.reduce(1, *)
            defer {
                offset += bytes
                ends.append(offset)
            }
            return JSONValue.Member(
                name,
                .object([
                    .init("dtype", .string("F32")),
                    .init("shape", .array(shape.map(JSONValue.int))),
                    .init("data_offsets", .array([.int(offset), .int(offset + bytes)])),
                ]))
        }
        let json = Array(JSONValue.object(members).text().utf8)
        return (littleEndianBytes(UInt64(json.count)) + json, ends)
    }
}
