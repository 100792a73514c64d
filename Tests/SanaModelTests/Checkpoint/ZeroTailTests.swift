import Foundation
import SanaTestSupport
import Testing

@testable import SanaModel

struct ZeroTailTests {
    /// F32 tensors, each with that many zero bytes at its end.
    private func tail(_ tensors: [(name: String, shape: [Int], zeros: Int)]) throws -> ZeroTail? {
        var builder = SafetensorsBuilder()
        for tensor in tensors {
            let count = 4 * tensor.shape.reduce(1, *)
            builder.add(
                tensor.name, .f32, tensor.shape,
                bytes: [UInt8](repeating: 0x3F, count: count - tensor.zeros)
                    + [UInt8](repeating: 0, count: tensor.zeros))
        }
        return try ZeroTail(SafetensorsFile(content: ByteView(builder.file), path: "f.safetensors"))
    }

    @Test("a file that ends in values, or in fewer zeros than a block, is whole")
    func values() throws {
        #expect(try tail([("a.weight", [64, 64], 0)]) == nil)
        #expect(try tail([("a.weight", [64, 64], 4095)]) == nil)
        #expect(try tail([("a.weight", [64, 64], 16384), ("b.weight", [1, 1], 0)]) == nil)
        #expect(try tail([("a.weight", [31, 33], 4092)]) == nil)
    }

    @Test("zeros of what may be zero are values")
    func zerosThatAreValues() throws {
        for name in ["a.bias", "norm.weight"] {
            for zeros in [0, 4] {
                #expect(
                    try tail([("a.weight", [64, 64], zeros), (name, [4096], 16384)]) == nil,
                    "\(name)")
            }
        }
        #expect(try tail([("a.lora_B.weight", [64, 64], 16384)]) == nil)
        #expect(try tail([("scale_shift_table", [64, 64], 16384)]) == nil)
    }

    @Test("a weight that is all zeros is told from one that ends in them")
    func weights() throws {
        let part = try #require(try tail([("a.weight", [64, 64], 5000), ("b.bias", [9], 36)]))
        #expect(part.tensor == "a.weight")
        #expect(part.byteCount == 5036)
        #expect(!part.isWhole)
        let whole = try #require(
            try tail([
                ("a.weight", [64, 64], 8), ("b.weight", [64, 64], 16384),
                ("c.bias", [64], 256), ("c.weight", [64, 64], 16384),
            ]))
        #expect(whole.tensor == "b.weight")
        #expect(whole.byteCount == 2 * 16384 + 256 + 8)
        #expect(whole.isWhole)
    }

    @Test("a GGUF file is looked at by the blocks that it holds")
    func blocks() throws {
        let content = try fileBytes(Fixtures.path + "/encodings/gguf.gguf")
        func tail(_ count: Int) throws -> ZeroTail? {
            let zeros = [UInt8](repeating: 0, count: count)
            return try GGUFFile(ByteView(content.dropLast(count) + zeros), path: "x.gguf").zeroTail
        }
        #expect(try tail(0) == nil)
        let half = try #require(try tail(content.count / 2))
        #expect(half.isWhole)
        #expect(half.byteCount >= content.count / 2)
    }

    @Test("of a large hole the end is looked at")
    func holes() throws {
        let folder = try TemporaryFolder()
        let count = 128 << 20
        let header = Array(
            #"{"a.weight":{"dtype":"F32","shape":[8192,4096],"data_offsets":[0,\#(count)]}}"#.utf8)
        let path = try folder.write(
            "a.safetensors", littleEndianBytes(UInt64(header.count)) + header + [1, 2, 3, 4])
        let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
        try handle.truncate(atOffset: UInt64(8 + header.count + count))
        try handle.close()
        let file = try SafetensorsFile(path: path)
        let tail = try #require(ZeroTail(file))
        #expect(tail.byteCount == 64 << 20)
        #expect(tail.isWhole)
        let error = #expect(throws: BadDataError.self) { try ZeroTail.check(file) }
        #expect(error?.page == .fileUnwritten)
    }
}
