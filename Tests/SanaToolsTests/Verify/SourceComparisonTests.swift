import SanaModel
import SanaQuant
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Converted models next to the weights they were made from.
@Suite(.tags(.process)) struct SourceComparisonTests {
    private let workers = WorkerPool(threadCount: 2)

    private func deviations(_ path: String) throws -> [SourceComparison.Deviation] {
        try SourceComparison.run(
            OpenedModel.open(path).source, source: OpenedModel.open(Fixtures.digits).source,
            workers: workers)
    }

    @Test("what convert makes does not deviate, whatever the scales")
    func healthyConversions() throws {
        let program = try BuiltProgram()
        for (type, scales) in [
            ("int8", "absmax"), ("int8", "squared-error"), ("fp16", "absmax"), ("bf16", "absmax"),
            ("fp32", "absmax"),
        ] {
            let path = "\(type)-\(scales).safetensors.zst"
            let converted = try program.run(
                "convert", Fixtures.digits, "--dtype", type, "--scales", scales, "--output", path)
            #expect(converted.code == 0, "\(converted.talk)")
            #expect(try deviations(program.folder(path)) == [], "\(path)")
        }
    }

    @Test("a wrong scale of one channel is found", arguments: [1.1, 127.0 / 128, 0.9] as [Float])
    func wrongScale(_ factor: Float) throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let healthy = try deviations(model.path)
        #expect(healthy == [])
        let names = try OpenedModel.open(model.path).source.tensors.map(\.name).filter {
            $0.hasSuffix(".scale")
        }
        var (found, tried) = (0, 0)
        for name in names {
            let bytes = try model.bytes(name)
            for channel in [0, bytes.count / 8, bytes.count / 4 - 1] {
                let word = bytes[4 * channel..<4 * channel + 4].reversed().reduce(UInt32(0)) {
                    $0 << 8 | UInt32($1)
                }
                let wrong = littleEndianBytes((Float(bitPattern: word) * factor).bitPattern)
                try model.patch(name, element: channel, with: wrong)
                let result = try deviations(model.path)
                tried += 1
                if result.map(\.tensor) == [name], result[0].message.contains("channel \(channel) ")
                {
                    found += 1
                }
                try model.patch(name, element: channel, with: littleEndianBytes(word))
            }
        }
        #expect(tried >= 60)
        #expect(Double(found) >= 0.98 * Double(tried), "\(found) of \(tried)")
    }

    @Test("other values, and other floats, are not the source's")
    func otherValues() throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let name = "transformer_blocks.1.attn1.to_q.weight"
        try model.patch(name, with: Array(model.bytes(name).reversed()))
        let table = "transformer_blocks.1.scale_shift_table"
        try model.patch(table, with: model.bytes(table).map { $0 ^ 1 })
        let result = try deviations(model.path)
        #expect(
            Set(result.map(\.tensor)) == ["transformer_blocks.1.attn1.to_q.scale", table],
            "\(result)")
    }
}
