import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Rules that only values show.
enum ValueLintCases {
    static let rules: Set<LintRule> = [
        .valueNaN, .valueInfinite, .valueSubnormal, .valueFP16Overflow, .valueZero,
    ]
}

/// `--stats` and the rules that need it.
@Suite(.tags(.process)) struct ValueLintTests {
    private static let weight = "transformer_blocks.1.attn2.to_q.weight"

    private func inspect(
        _ path: String, threads: Int = 2
    ) throws -> Inspection {
        var options = Inspection.Options()
        options.statistics = true
        return try Inspector.run(
            path, options: options, workers: WorkerPool(threadCount: threads))
    }

    /// Bits of one F32 value, or of all where there is no such number.
    private static let damages: [(LintRule, UInt32?)] = [
        (.valueNaN, 0x7FC0_0000), (.valueInfinite, 0xFF80_0000), (.valueSubnormal, 0x0000_0001),
        (.valueFP16Overflow, Float(65505).bitPattern), (.valueZero, nil),
    ]

    @Test(arguments: damages)
    func valuesAreTold(_ rule: LintRule, _ bits: UInt32?) throws {
        let repository = try TinyRepository("plain")
        #expect(try inspect(repository.path).problems == [])
        try repository.rewrite { info, bytes in
            var bytes = bytes
            if info.name == Self.weight {
                if let bits {
                    bytes.replaceSubrange(4..<8, with: littleEndianBytes(bits))
                } else {
                    bytes = bytes.map { _ in 0 }
                }
            }
            return (info.name, info.dtype, info.shape, bytes)
        }
        let found = try inspect(repository.path).problems
        try #require(found.map(\.rule) == [rule], "\(found)")
        #expect(found[0].location == Self.weight, "\(found)")
        #expect(Set(Self.damages.map(\.0)) == ValueLintCases.rules)
        // Without --stats no value is read.
        let quick = try Inspector.run(
            repository.path, options: .init(), workers: WorkerPool(threadCount: 1))
        #expect(quick.problems == [])
        #expect(quick.values == nil)
    }

    /// Statistics of 2.2 million values over three measured runs, against plain sums.
    @Test func statisticsAreThoseOfTheValues() throws {
        let count = 2_200_000
        var (values, state) = ([Float](), UInt64(7))
        for _ in 0..<count {
            state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
            values.append(Float(Int64(bitPattern: state) >> 40) * 0x1p-20)
        }
        (values[5], values[count - 1]) = (0, 70_000)
        (values[77], values[78], values[79]) = (.nan, .infinity, 0x1p-30)
        var builder = SafetensorsBuilder()
        builder.add("w", [count], values)
        builder.add("b", [4], [1, 1.001, 1.002, 1.003])
        let folder = try TemporaryFolder()
        let path = try folder.write("w.safetensors", builder.file)
        let scans = try [1, 2, 5].map { try inspect(path, threads: $0).values }
        let texts = scans.map { $0?.json.text() }
        #expect(texts[0] == texts[1])
        #expect(texts[0] == texts[2])
        let entries = try #require(scans[0]?.entries)
        let all = entries[0].values
        let finite = values.filter(\.isFinite)
        let mean = finite.reduce(0.0) { $0 + Double($1) } / Double(finite.count)
        let variance = finite.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) }
        #expect(all.count == count)
        #expect(all.minimum == finite.min())
        #expect(all.maximum == 70_000)
        #expect(abs(all.mean - mean) < 1e-9)
        #expect(all.absoluteMaximum == 70_000)
        let deviation = (variance / Double(finite.count)).squareRoot()
        #expect(abs(all.standardDeviation / deviation - 1) < 1e-9)
        #expect(all.zeroCount == values.count { $0 == 0 })
        #expect(all.nanCount == 1)
        #expect(all.infinityCount == 1)
        #expect(all.overFP16Count == 1)
        #expect(all.underFP16Count == 1)
        let changed = values.count { !$0.isNaN && Float(Float16($0)) != $0 }
        #expect(all.inexactFP16Count == changed)
        #expect(changed > 1000)
        #expect(all.histogram.reduce(0, +) == finite.count)
        #expect(all.histogram.last == 1)
        // A narrow range has its shape, too.
        #expect(entries[1].values.histogram.filter { $0 > 0 } == [1, 1, 1, 1])
    }

    @Test func int8IsMeasuredAsWhatItStandsFor() throws {
        var builder = SafetensorsBuilder()
        builder.add("w.weight", .i8, [2, 2], bytes: [127, 0, 129, 1])
        builder.add("w.scale", [2, 1], [0.5, 2])
        let folder = try TemporaryFolder()
        let path = try folder.write("w.safetensors", builder.file)
        let values = try #require(try inspect(path).values?.entries.first?.values)
        #expect(values.maximum == 63.5)
        #expect(values.minimum == -254)
        #expect(values.zeroCount == 1)
        #expect(values.subnormalCount == 0)
    }

    @Test func truncatedFilesAreMeasuredAsFarAsTheyGo() throws {
        let repository = try TinyRepository("sharded")
        let shard = "transformer/diffusion_pytorch_model-00002-of-00005.safetensors"
        let held = try SafetensorsFile(path: repository.folder(shard)).tensors.map(\.name)
        try repository.truncate(shard)
        let found = try inspect(repository.path)
        #expect(Set(found.problems.map(\.rule)) == [.fileTruncated])
        let measured = Set(found.values?.entries.map(\.tensor.name) ?? [])
        #expect(measured.isDisjoint(with: held))
        #expect(measured.count + held.count == found.tensors.count)
    }

    @Test func sparklinesShowTheirCounts() {
        #expect(ValueScan.sparkline([0, 1, 1000]) == "▁▂█")
        #expect(ValueScan.sparkline([0, 0]) == "")
        #expect(ValueScan.sparkline([3]) == "█")
    }

    // MARK: Sizes by part

    @Test func partsAddUpAndForecastWhatConvertMakes() throws {
        let program = try BuiltProgram()
        let inspected = try program.run("inspect", "fixtures/sana-digits", "--format", "json")
        let parts = try #require(inspected.json?["parts"]?.array)
        func sum(_ items: [JSONValue], _ keys: String...) -> Int {
            items.reduce(0) { total, item in
                total + (keys.reduce(item) { $0[$1] ?? .null }.int ?? 0)
            }
        }
        #expect(
            parts.compactMap { $0["part"]?.string } == [
                "attn1", "attn2", "conv_inverted", "conv_depth", "conv_point", "embeddings",
                "tables_norms", "output",
            ])
        #expect(sum(parts, "bytes") == inspected.json?["bytes"]?.int)
        #expect(sum(parts, "parameters") == inspected.json?["parameters"]?.int)
        #expect(
            try program.run(
                "convert", "fixtures/sana-digits", "--dtype", "int8", "--output",
                "x.safetensors.zst"
            ).code == 0)
        let int8 = try program.run("inspect", "x.safetensors.zst", "--format", "json").json
        #expect(sum(parts, "int8_convert", "bytes") == int8?["bytes"]?.int)
        let floats = (int8?["tensors"]?.array ?? []).filter {
            $0["dtype"]?.string != "I8" && !($0["name"]?.string ?? "").hasSuffix(".scale")
        }
        #expect(sum(parts, "int8_convert", "float_bytes") == sum(floats, "bytes"))
        // Of a converted model nothing is left to forecast.
        let converted = int8?["parts"]?.array ?? []
        #expect(converted.allSatisfy { $0["int8_convert"] == nil })
        // Loaders that skip convolutions leave both 1×1 convolutions as they are.
        for part in parts where (part["part"]?.string ?? "").hasPrefix("conv_") {
            #expect(part["int8_linear_only"]?["float_bytes"] == part["bytes"])
        }
    }
}
