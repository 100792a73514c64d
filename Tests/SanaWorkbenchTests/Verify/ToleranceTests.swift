import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// What layers may differ by, and files of it.
struct ToleranceTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    @Test(arguments: [
        ("transformer_blocks.*.attn1", "transformer_blocks.10.attn1", true),
        ("transformer_blocks.*.attn1", "transformer_blocks.10.attn1.to_q", false),
        ("transformer_blocks.?.ff", "transformer_blocks.3.ff", true),
        ("transformer_blocks.?.ff", "transformer_blocks.13.ff", false),
        ("*", "outputs.sample", true), ("**a*", "proj_a", true),
        ("*attn*to_?", "x.attn1.to_q", true),
        ("patch", "patch_embed", false), ("patch_embed", "patch_embed", true), ("?", "", false),
        (String(repeating: "*a", count: 300) + "*b", String(repeating: "a", count: 5000), false),
    ])
    func patternsMatchWholePaths(_ pattern: String, _ path: String, _ expected: Bool) throws {
        #expect(try #require(LayerTolerance(pattern + "=1")).matches(path) == expected)
    }

    @Test func malformedRulesAreRefused() {
        for text in ["", "a", "=1", "a=", "a=-1", "a=nan", "a=inf", "a=x", "a=1e-3 "] {
            #expect(LayerTolerance(text) == nil, "\(text)")
        }
        #expect(LayerTolerance("a=b=2e-3")?.tolerance == 2e-3)
    }

    @Test func firstRuleDecidesThenCalibrationThenBase() throws {
        let results = try [verify("sana-digits-b1-t1"), verify("sana-digits-b2-t999")]
        let calibration = try #require(Calibration(results, margin: 3))
        var tolerances = Tolerances(base: 0.5)
        tolerances.calibrated = calibration
        tolerances.rules = try ["*.ff=0.25", "transformer_blocks.1.*=0.125"].map {
            try #require(LayerTolerance($0))
        }
        #expect(tolerances.tolerance(of: "transformer_blocks.1.ff") == 0.25)
        #expect(tolerances.tolerance(of: "transformer_blocks.1.attn1") == 0.125)
        #expect(tolerances.tolerance(of: "norm_out") == calibration.layers["norm_out"])
        #expect(tolerances.tolerance(of: "elsewhere") == 0.5)
        #expect(tolerances.unused(["norm_out"]).map(\.text) == tolerances.rules.map(\.text))
        #expect(tolerances.unused(["transformer_blocks.1.ff"]).isEmpty)
    }

    private func verify(_ golden: String, _ tolerances: Tolerances = .init()) throws -> Verification
    {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        options.tolerances = tolerances
        return try Verification.run(
            OpenedModel.open(Fixtures.digits).load(workers: workers),
            Golden(path: Fixtures.path + "/goldens/\(golden).safetensors"), options,
            workers: workers)
    }

    @Test func calibrationIsTheLargestNeedTimesTheMargin() throws {
        let results = try [verify("sana-digits-b1-t1"), verify("sana-digits-b2-t999")]
        let calibration = try #require(Calibration(results, margin: 10))
        let needs = results.map { $0.compared.map(\.comparison.relativeRMS) }
        for (index, layer) in results[0].compared.enumerated() {
            let expected = max(max(needs[0][index], needs[1][index]) * 10, 2e-6)
            #expect(calibration.layers[layer.path] == expected)
        }
        let path = folder("tolerances.json")
        try calibration.write(path, order: results.flatMap { $0.compared.map(\.path) })
        #expect(try Calibration(path: path) == calibration)
        var tolerances = Tolerances(base: 0)
        tolerances.calibrated = try Calibration(path: path)
        for name in ["sana-digits-b1-t1", "sana-digits-b2-t999"] {
            #expect(try verify(name, tolerances).passes)
        }
    }

    /// What a layer late in the network may be off by is mostly inherited, so its own error is
    /// small beside that when it is already far too large for a healthy layer.
    @Test func causeIsJudgedByOwnErrorsWhereTheyAreCalibrated() throws {
        let (early, late) = ("transformer_blocks.0.attn1", "transformer_blocks.3.ff")
        func layer(_ path: String, _ total: Float, own: Double, tolerance: Double)
            -> Verification.Layer
        {
            let actual = DenseTensor(shape: [1], values: FloatBuffer([1 + total]))
            return .init(
                path: path,
                comparison: Comparison(ErrorSums(actual, with: FloatBuffer([1])), shape: [1]),
                tolerance: tolerance, passes: Double(total) <= tolerance,
                isolated: .init(own: own, local: own, inherited: 0, gain: nil))
        }
        let layers = [
            layer(early, 0.010, own: 0.010, tolerance: 0.011),
            layer(late, 0.040, own: 0.020, tolerance: 0.033),
        ]
        func cause(_ own: String) throws -> String? {
            let text =
                #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":1.1,"#
                + #""layers":{"\#(early)":0.011,"\#(late)":0.033}\#(own)}"#
            var tolerances = Tolerances()
            tolerances.calibrated = try Calibration(
                path: folder.write("t.json", Array(text.utf8)))
            let config = try OpenedModel.open(Fixtures.digits).config
            return Attribution.find(
                layers, try LayerInputs(config, captured: layers.map(\.path)), metric: .relativeRMS,
                tolerances: tolerances, noise: 1e-6)?.cause
        }
        #expect(try cause(#","own":{"\#(early)":0.011,"\#(late)":0.0044}"#) == late)
        #expect(try cause("") == early)
    }

    /// A layer behind the first failure that is within what it may add has not caused it, however
    /// small the errors before are; and what a rule allows is no cause.
    @Test func healthyLayerBehindTheFailureIsNoCause() throws {
        let paths = [
            "transformer_blocks.0.attn1", "transformer_blocks.1", "transformer_blocks.3.ff",
        ]
        let config = try OpenedModel.open(Fixtures.digits).config
        let inputs = try LayerInputs(config, captured: paths)
        func cause(_ last: Double, _ tolerances: Tolerances = .init()) -> Attribution? {
            let layers = zip(paths, [1e-4, 1e-4, last]).map { path, own in
                let (total, limit) = (Float(2e-3), path == paths[1] ? 1e-3 : 1e-2)
                let actual = DenseTensor(shape: [1], values: FloatBuffer([1 + total]))
                return Verification.Layer(
                    path: path,
                    comparison: Comparison(ErrorSums(actual, with: FloatBuffer([1])), shape: [1]),
                    tolerance: limit, passes: Double(total) <= limit,
                    isolated: .init(own: own, local: own, inherited: 2e-3, gain: nil))
            }
            return .find(
                layers, inputs, metric: .relativeRMS,
                tolerances: tolerances, noise: 1e-6)
        }
        #expect(cause(7e-3)?.cause == paths[1])
        #expect(cause(5e-2)?.cause == paths[2])
        var ruled = Tolerances()
        let text =
            #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"#
            + #""layers":{"\#(paths[2])":1e-2},"own":{"\#(paths[2])":1e-5}}"#
        ruled.calibrated = try Calibration(path: folder.write("t.json", Array(text.utf8)))
        #expect(cause(7e-3, ruled)?.others == [])
        #expect(cause(7e-3, ruled)?.cause == paths[2])
        ruled.rules = [try #require(LayerTolerance("*.ff=1e-2"))]
        #expect(cause(7e-3, ruled)?.others == [])
        #expect(cause(7e-3, ruled)?.cause == paths[1])
    }

    @Test func outputsOfOneModuleAreNotInsideEachOther() throws {
        let captured = ["time_embed.0", "time_embed.1", "time_embed.emb", "time_embed.linear"]
        let inputs = try LayerInputs(OpenedModel.open(Fixtures.digits).config, captured: captured)
        #expect(inputs.insides(of: "time_embed.0") == ["time_embed.emb", "time_embed.linear"])
        #expect(inputs.insides(of: "time_embed.1") == ["time_embed.emb", "time_embed.linear"])
        #expect(inputs.insides(of: "time_embed.emb") == [])
    }

    @Test func calibrationOfIsolatedRunsHasOwnErrors() throws {
        let result = try verify("sana-digits-b2-t999")
        let calibration = try #require(Calibration([result], margin: 10))
        #expect(calibration.own.count == result.compared.count)
        for layer in result.compared {
            #expect(calibration.own[layer.path] == max((layer.isolated?.local ?? 0) * 10, 2e-6))
        }
        #expect(calibration.subject?.dtypes == ["BF16"])
        #expect(calibration.subject?.compute == "fp32")
    }

    @Test func goldenWithNaNGivesNoCalibration() throws {
        var result = try verify("sana-digits-b1-t1")
        let broken = DenseTensor(shape: [1], values: FloatBuffer([.nan]))
        result.output = .init(
            path: "outputs.sample",
            comparison: Comparison(ErrorSums(broken, with: broken.values), shape: [1]),
            tolerance: 1, passes: false)
        #expect(Calibration([result], margin: 2) == nil)
    }

    @Test(arguments: [
        "", "[]", "{}",
        #"{"format":"sana-tolerances","version":2,"metric":"relative_rms","margin":2,"layers":{}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"x","margin":2,"layers":{}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","layers":{}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{"a":-1}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{"a":1,"a":2}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{"a":"1"}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{},"own":[]}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{},"dtypes":["I8"]}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{},"own":{"a":-1}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{},"scales":[]}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{},"scales":{"a":"AAAA"}}"#,
        #"{"format":"sana-tolerances","version":1,"metric":"relative_rms","margin":2,"layers":{},"scales":{"a":"-"}}"#,
    ])
    func fileThatIsNoCalibrationIsBadData(_ text: String) throws {
        let path = try folder.write("t.json", Array(text.utf8))
        #expect(throws: BadDataError.self) { try Calibration(path: path) }
    }

    @Test func toleranceThatWouldPassIsRoundedUp() {
        for value in [1.2345e-7, 9.999e-3, 1, 0.12, 1.2e-300, 7.77777e5] {
            let text = Format.roundedUp(value)
            let rounded = Double(text) ?? 0
            #expect(rounded >= value, "\(value): \(text)")
            #expect(rounded <= value * 1.011, "\(value): \(text)")
        }
        #expect(Format.roundedUp(0) == "0")
    }
}
