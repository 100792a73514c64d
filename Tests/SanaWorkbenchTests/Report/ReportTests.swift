import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct ReportTests {
    @Test func tablesAlign() {
        var table = TextTable([("name", .left), ("n", .right)])
        table.append(["a|b", "10"])
        table.append(["longer", "7"])
        #expect(table.text == "name     n\na|b     10\nlonger   7")
        #expect(table.markdown == "| name | n |\n| --- | ---: |\n| a&#124;b | 10 |\n| longer | 7 |")
    }

    @Test func quantilesInterpolate() {
        let timing = Timing(samples: [40, 10, 30, 20])
        #expect(timing.median == 25)
        #expect(timing.quantile(0) == 10)
        #expect(timing.quantile(1) == 40)
        #expect(abs(timing.p95 - 38.5) < 1e-9)
        #expect(Timing(samples: [7]).p95 == 7)
    }

    @Test func numbersReadWell() {
        #expect(Format.bytes(999) == "999 B")
        #expect(Format.bytes(1_341_821) == "1.34 MB")
        #expect(Format.count(1_223_681) == "1.22 M")
        #expect(Format.nanoseconds(1_500_000) == "1.50 ms")
        #expect(Format.scientific(0) == "0")
        #expect(Format.scientific(2e-6) == "2.00e-06")
    }

    @Test func numbersThatJSONCannotHoldAreNull() {
        #expect(JSONValue.double(.infinity) == .null)
        #expect(JSONValue.double(nil) == .null)
        #expect(JSONValue.double(1e-6).double == 1e-6)
    }

    @Test func profileSumsUp() throws {
        let workers = WorkerPool(threadCount: 1)
        let model = try OpenedModel.open(Fixtures.digits).load(workers: workers)
        let sizes = Self.sizes(1, 8, 8, 12)
        let profile = try Profile.run(
            model, SyntheticInputs.make(sizes, for: model.network),
            .init(warmup: 1, repetitions: 3),
            workers: workers, reload: { model }, progress: { _, _ in })
        #expect(profile.total.samples.count == 3)
        #expect(profile.layers.allSatisfy { $0.timing.samples.count == 3 })
        let modules = try model.network.graph(sizes).measured
        #expect(profile.layers.map(\.module.path) == modules.map(\.path))
        let blocks = profile.layers.filter { $0.module.kind == "SanaTransformerBlock" }
        #expect(blocks.count == 4)
        #expect(blocks.allSatisfy { $0.share > 0 })
        for pass in 0..<3 {
            let inside = blocks.reduce(0) { $0 + $1.timing.samples[pass] }
            #expect(inside <= profile.total.samples[pass])
        }
        let fields = profile.json
        for key in ["layers", "total", "peak_rss_bytes", "canary_gflops", "threads", "compute"] {
            #expect(fields[key] != nil)
        }
        #expect(
            fields["layers"]?.array?.first?.members?.map(\.key)
                == [
                    "path", "kind", "median_ns", "p95_ns", "share", "gflops", "samples_ns",
                    "cpu_ns", "mad_ns",
                    "interval_ns", "operations", "bytes", "gbytes_per_second", "attainable_gflops",
                ])
        #expect(
            fields["total"]?.members?.map(\.key)
                == ["median_ns", "p95_ns", "samples_ns", "gflops", "mad_ns", "interval_ns"])
        #expect(abs(profile.allocation.values.reduce(0, +) - 1) < 1e-9)
        #expect(
            profile.repetitions.allSatisfy {
                $0.canaryGFLOPS > 0 && $0.cpuNanoseconds > 1 && $0.canaryCPUNanoseconds > 1
            })
        // One thread: CPU time is no more than wall time, and the canary's is not in it.
        for pass in 0..<3 {
            let repetition = profile.repetitions[pass]
            #expect(Double(repetition.cpuNanoseconds) <= 1.05 * Double(repetition.nanoseconds))
            let inside = blocks.reduce(0) { $0 + $1.cpu[pass] }
            #expect(inside <= repetition.cpuNanoseconds)
            #expect(2 * inside >= repetition.cpuNanoseconds)
        }
        #expect(fields["clock"]?.string == "threads")
        #expect(fields["canary"]?.string?.count == 64)
        #expect(profile.loadSeconds > 0)
        #expect(profile.storedBytes > 2_000_000)
        #expect(profile.peaks.readBandwidth > 0.1)
        #expect(profile.peaks.int8GOPS > 0.1)
    }

    /// Peaks that were measured beside other processes are no roof.
    @Test func roofBelowALayerIsWithheldWithTheReason() throws {
        let workers = WorkerPool(threadCount: 1)
        let model = try OpenedModel.open(Fixtures.digits).load(workers: workers)
        let sizes = Self.sizes(1, 8, 8, 12)
        var profile = try Profile.run(
            model, SyntheticInputs.make(sizes, for: model.network), .init(repetitions: 2),
            workers: workers, reload: { model }, progress: { _, _ in })
        func peaks(_ rate: Double) -> Profile.Peaks {
            .init(
                sgemmGFLOPS: rate, multiplyAddGFLOPS: rate, bf16MultiplyAddGFLOPS: rate,
                int8MultiplyAddGOPS: rate,
                tileGFLOPS: rate, int8GOPS: rate, readBandwidth: rate, cacheBandwidth: rate)
        }
        profile.peaks = peaks(1e6)
        #expect(profile.roofDoubt == nil)
        #expect(profile.layers.contains { profile.attainable($0) != nil })
        profile.peaks = peaks(1e-3)
        #expect(profile.roofDoubt?.contains("roofline withheld") == true)
        #expect(profile.text(leaves: true).contains("roofline withheld"))
        #expect(profile.layers.allSatisfy { profile.attainable($0) == nil })
        #expect(profile.json["roof_withheld"]?.string == profile.roofDoubt)
    }

    private static func sizes(
        _ batch: Int, _ height: Int, _ width: Int, _ tokens: Int
    ) -> NetworkSizes {
        ["batch": batch, "height": height, "width": width, "caption_tokens": tokens]
    }

    @Test func syntheticSizesAreBounded() throws {
        let network = try SanaConfig().unbound().network.network
        for sizes in [
            Self.sizes(0, 8, 8, 3),
            Self.sizes(1 << 40, 4096, 4096, 3),
            Self.sizes(1, 8, 8, 1 << 30),
            Self.sizes(1_000_000, 1, 1, 65536),
        ] {
            #expect(throws: UsageError.self) { try SyntheticInputs.make(sizes, for: network) }
        }
    }
}
