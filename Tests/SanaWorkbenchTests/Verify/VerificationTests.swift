import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Goldens that do not belong to the model, or are no goldens.
struct VerificationTests {
    private let golden = Fixtures.path + "/goldens/tiny-plain.safetensors"
    private let model = Fixtures.path + "/tiny/plain"
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// The golden with its tensors changed.
    private func doctored(
        _ change: (TensorInfo, [UInt8]) -> (String, [Int], [UInt8])?
    ) throws -> String { try rewritten(change) { _ in } }

    /// The golden with its metadata changed.
    private func doctored(
        metadata: (inout [String: String]) -> Void
    ) throws -> String {
        try rewritten({ ($0.name, $0.shape, $1) }, metadata)
    }

    private func rewritten(
        _ change: (TensorInfo, [UInt8]) -> (String, [Int], [UInt8])?,
        _ metadata: (inout [String: String]) -> Void
    ) throws -> String {
        var builder = try SafetensorsBuilder(copying: golden, change)
        metadata(&builder.metadata)
        return try folder.write("golden.safetensors", builder.file)
    }

    private func verify(
        _ golden: String, tolerance: Double = 1e-3, allowStale: Bool = false
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 1)
        var options = Verification.Options()
        (options.tolerances.base, options.allowStale) = (tolerance, allowStale)
        return try Verification.run(
            OpenedModel.open(model).load(workers: workers), Golden(path: golden), options,
            workers: workers)
    }

    @Test func missingEntryFailsWhileTheOthersAreCompared() throws {
        let path = try doctored { tensor, bytes in
            tensor.name == "activations.norm_out" ? nil : (tensor.name, tensor.shape, bytes)
        }
        let result = try verify(path)
        #expect(result.problems.map(\.kind) == [.missing])
        #expect(result.problems[0].message.contains("norm_out"))
        #expect(!result.passes)
        #expect(result.layers.allSatisfy { $0.passes })
        #expect(result.layers.count == 14)
    }

    /// The contract is the list of what was captured: what it does not list was put in later.
    @Test func entryThatTheContractDoesNotListIsExtra() throws {
        for name in ["norm_out", "transformer_blocks.0.attn1"] {
            let path = try doctored(metadata: { values in
                guard let contract = try? JSONScanner.parse(values["contract"] ?? ""),
                    let list = contract["activations"]?.array
                else { return }
                let rest = list.filter { $0["name"]?.string != "activations.\(name)" }
                values["contract"] =
                    contract.setting("activations", to: .array(rest)).text()
            })
            let result = try verify(path)
            #expect(result.problems.map(\.kind) == [.extra], "\(result.problems)")
            #expect(result.problems.first?.message.contains("\(name) is in the golden") == true)
            #expect(result.layers.contains { $0.path == name })
            #expect(!result.passes)
        }
    }

    @Test func extraEntryFails() throws {
        let path = try doctored { tensor, bytes in
            (
                tensor.name == "activations.norm_out" ? "activations.norm_in" : tensor.name,
                tensor.shape, bytes
            )
        }
        let kinds = try verify(path).problems.map(\.kind.rawValue).sorted()
        #expect(kinds == ["extra", "missing"])
    }

    @Test func misshapenEntryFails() throws {
        let path = try doctored { tensor, bytes in
            let isHit = tensor.name == "activations.norm_out" || tensor.name == "outputs.sample"
            return (tensor.name, isHit ? Array(tensor.shape.reversed()) : tensor.shape, bytes)
        }
        let result = try verify(path)
        #expect(result.problems.map(\.kind) == [.misshapen, .misshapen])
        #expect(result.output == nil)
        #expect(!result.passes)
    }

    @Test func contractThatContradictsTheFileFails() throws {
        let path = try doctored(metadata: {
            $0["contract"] = $0["contract"]?.replacingOccurrences(
                of: #"("activations.norm_out","shape":)\[[^\]]*\]"#, with: "$1[1,2,3]",
                options: .regularExpression)
        })
        let result = try verify(path)
        #expect(result.problems.map(\.kind) == [.misshapen])
        #expect(!result.passes)
    }

    @Test func entriesOutOfExecutionOrderFail() throws {
        let path = try doctored(metadata: {
            $0["contract"] = $0["contract"]?
                .replacingOccurrences(of: "activations.norm_out", with: "activations.swap")
                .replacingOccurrences(of: "activations.proj_out", with: "activations.norm_out")
                .replacingOccurrences(of: "activations.swap", with: "activations.proj_out")
        })
        let problems = try verify(path).problems.filter { $0.kind == .outOfOrder }
        #expect(
            problems.map(\.message) == [
                "the contract lists proj_out where the model runs norm_out: it is not in execution order"
            ])
        let twice = try doctored(metadata: {
            $0["contract"] = $0["contract"]?.replacingOccurrences(
                of: "activations.patch_embed", with: "activations.norm_out")
        })
        #expect(try verify(twice).problems.contains { $0.message.hasSuffix("norm_out twice") })
    }

    /// Every defect of a golden is told in words of its own, and each fails the check by itself.
    @Test func defectsHaveMessagesOfTheirOwn() throws {
        var messages = Set<String>()
        let contract: (String, String) -> (inout [String: String]) -> Void = { old, new in
            { $0["contract"] = $0["contract"]?.replacingOccurrences(of: old, with: new) }
        }
        let isHit: (TensorInfo) -> Bool = { $0.name == "activations.caption_norm" }
        let defects: [(Verification.Problem.Kind, () throws -> String)] = [
            (.missing, { try doctored { isHit($0) ? nil : ($0.name, $0.shape, $1) } }),
            (
                .misshapen,
                { try doctored { ($0.name, isHit($0) ? $0.shape + [1] : $0.shape, $1) } }
            ),
            (.stale, { try doctored(metadata: contract(#""digest":""#, #""digest":"0"#)) }),
            (.precision, { try doctored(metadata: contract(#""float32""#, #""float16""#)) }),
            (.precision, { try doctored(metadata: contract(#""fp32""#, #""fp16-clip""#)) }),
        ]
        for (kind, make) in defects {
            let result = try verify(make(), tolerance: 1e-4)
            #expect(Set(result.problems.map(\.kind)) == [kind])
            #expect(result.verdict == .fail)
            #expect(result.layers.count >= 13)
            #expect(result.layers.allSatisfy { $0.passes })
            messages.formUnion(result.problems.map(\.message))
        }
        #expect(messages.count >= 5)
    }

    /// A golden computed in 16 bits cannot tell errors of its own size from the model's.
    @Test func errorsOfTheSizeOfTheGoldensRoundingAreInconclusive() throws {
        // The last bits of the float32 output cut away, as BF16 would.
        func cut(_ mask: UInt8, dtype: String) throws -> String {
            let bare = try doctored { tensor, bytes in
                let isHit = tensor.name == "activations.norm_out"
                return (
                    tensor.name, tensor.shape,
                    isHit
                        ? bytes.enumerated().map { $0 % 4 < 2 ? 0 : $0 % 4 == 2 ? $1 & mask : $1 }
                        : bytes
                )
            }
            var builder = try SafetensorsBuilder(copying: bare)
            builder.replaceInContract(
                #""compute_dtype":"float32""#, #""compute_dtype":"\#(dtype)""#)
            return try folder.write("cut.safetensors", builder.file)
        }
        let result = try verify(cut(0xFC, dtype: "bfloat16"), tolerance: 2e-3)
        #expect(result.firstOutOfTolerance == "norm_out")
        #expect(result.problems.isEmpty)
        #expect(result.verdict == .inconclusive)
        #expect(try verify(cut(0xFC, dtype: "float32"), tolerance: 2e-3).verdict == .fail)
        #expect(try verify(cut(0x80, dtype: "bfloat16"), tolerance: 2e-3).verdict == .fail)
        #expect(try verify(cut(0xFC, dtype: "bfloat16"), tolerance: 0.1).verdict == .pass)
    }

    @Test func misspeltInputIsNotLeftOutSilently() throws {
        let path = try doctored { tensor, bytes in
            let old = "inputs.encoder_attention_mask"
            return (tensor.name == old ? old + "s" : tensor.name, tensor.shape, bytes)
        }
        #expect(
            try verify(path).problems.map(\.message) == [
                "inputs.encoder_attention_masks is not an entry of a golden"
            ])
    }

    @Test func goldenOfLessPrecisionThanTheToleranceIsRefused() throws {
        let path = try doctored(metadata: {
            $0["contract"] = $0["contract"]?.replacingOccurrences(
                of: #""compute_dtype":"float32""#, with: #""compute_dtype":"bfloat16""#)
        })
        #expect(try verify(path).problems.map(\.kind) == [.precision])
        #expect(try verify(path, tolerance: 1e-2).problems == [])
    }

    @Test func staleGoldenFailsUnlessAllowed() throws {
        let path = try doctored(metadata: {
            $0["contract"] = $0["contract"]?.replacingOccurrences(
                of: #""digest":"[0-9a-f]{8}"#, with: #""digest":"00000000"#,
                options: .regularExpression)
        })
        let result = try verify(path)
        #expect(result.problems.map(\.kind) == [.stale])
        #expect(!result.passes)
        #expect(try verify(path, allowStale: true).passes)
    }

    @Test func valuesThatAreNotFiniteFail() throws {
        let path = try doctored { tensor, bytes in
            guard tensor.name == "activations.proj_out" else {
                return (tensor.name, tensor.shape, bytes)
            }
            return (tensor.name, tensor.shape, [0, 0, 0xC0, 0x7F] + bytes.dropFirst(4))
        }
        let result = try verify(path)
        #expect(result.firstOutOfTolerance == "proj_out")
        #expect(result.layers.first { $0.path == "proj_out" }?.comparison.nonfinite == 1)
        // It is the golden's own fault, and nobody else's.
        #expect(result.problems.map(\.kind) == [.notFinite])
        #expect(
            result.problems.first?.message.contains("proj_out: 1 value of the golden is") == true)
        #expect(result.attribution == nil)
        for layer in result.compared where layer.path != "proj_out" {
            #expect((layer.isolated?.own ?? .infinity) <= 2e-6)
            #expect(layer.passes)
        }
    }

    @Test func goldenWithoutOutputFailsWhileTheOthersAreCompared() throws {
        let path = try doctored { tensor, bytes in
            tensor.name == "outputs.sample" ? nil : (tensor.name, tensor.shape, bytes)
        }
        let result = try verify(path)
        #expect(result.problems.map(\.message) == ["outputs.sample is not in the golden"])
        #expect(!result.passes)
        #expect(result.layers.allSatisfy { $0.passes })
        #expect(result.layers.count == 15)
    }

    @Test func absentInputIsNamed() throws {
        for name in ["hidden_states", "encoder_hidden_states", "timestep"] {
            let path = try doctored { tensor, bytes in
                tensor.name == "inputs.\(name)" ? nil : (tensor.name, tensor.shape, bytes)
            }
            #expect { try verify(path) } throws: {
                ($0 as? BadDataError)?.reason == "inputs.\(name) is absent"
            }
        }
    }

    @Test func precisionThatIsRefusedIsExplained() throws {
        func message(_ dtype: String, _ tolerances: Tolerances) throws -> String? {
            let path = try doctored(metadata: {
                $0["contract"] = $0["contract"]?.replacingOccurrences(
                    of: #""compute_dtype":"float32""#, with: #""compute_dtype":"\#(dtype)""#)
            })
            let workers = WorkerPool(threadCount: 1)
            var options = Verification.Options()
            options.tolerances = tolerances
            return try Verification.run(
                OpenedModel.open(model).load(workers: workers), Golden(path: path), options,
                workers: workers
            ).problems.first?.message
        }
        #expect(
            try message("bfloat16", Tolerances(base: 1e-3))?.contains(
                "costs 1.70e-03 relative RMS, and the tolerance allows 1.00e-03") == true)
        var tolerances = Tolerances(base: 1e-2)
        tolerances.rules = [try #require(LayerTolerance("proj_out=1e-4"))]
        #expect(
            try message("float16", tolerances)?.contains(
                "costs 2.10e-04 relative RMS, and the tolerance of proj_out allows 1.00e-04")
                == true)
        #expect(
            try message("float8_e4m3", Tolerances(base: 1))?.contains("unknown to this program")
                == true)
        #expect(try message("float64", Tolerances(base: 1e-3)) == nil)
    }

    /// Nor can a layer answer for what the golden gave it.
    @Test func inputThatIsNotFiniteBlamesNoLayer() throws {
        for name in ["inputs.hidden_states", "inputs.timestep"] {
            let path = try doctored { tensor, bytes in
                let isHit = tensor.name == name
                return (
                    tensor.name, tensor.shape,
                    isHit ? bytes.dropLast(4) + littleEndianBytes(Float.nan.bitPattern) : bytes
                )
            }
            let result = try verify(path)
            #expect(result.problems.map(\.kind) == [.notFinite])
            #expect(result.verdict == .fail)
            #expect(result.problems.first?.path == name)
            #expect(result.attribution == nil)
        }
    }

    /// What keeps a comparison from taking place does not hide that the golden is stale.
    @Test func staleGoldenWhoseInputsDoNotFitIsToldBoth() throws {
        let path = try doctored { tensor, bytes in
            let isHit = tensor.name == "inputs.timestep"
            return (tensor.name, isHit ? tensor.shape + [1] : tensor.shape, bytes)
        }
        #expect(try verify(path).problems.map(\.kind) == [.misshapen])
        var builder = try SafetensorsBuilder(copying: path)
        builder.replaceInContract(#""digest":""#, #""digest":"0"#)
        let stale = try folder.write("stale.safetensors", builder.file)
        #expect(try verify(stale).problems.map(\.kind) == [.stale, .misshapen])
    }

    @Test func fileThatIsNoGoldenIsBadData() throws {
        let changes: [(inout [String: String]) -> Void] = [
            { $0["format"] = nil }, { $0["version"] = "3" }, { $0["contract"] = nil },
            { $0["contract"] = "{}" }, { $0["contract"] = "{\"weights\":" },
        ]
        for change in changes {
            let path = try doctored(metadata: change)
            #expect { try Golden(path: path) } throws: {
                ($0 as? any DiagnosticError)?.category == .badData
            }
        }
        let path = try doctored { tensor, bytes in
            tensor.name == "inputs.timestep" ? nil : (tensor.name, tensor.shape, bytes)
        }
        #expect(throws: BadDataError.self) { try verify(path) }
        #expect(throws: BadDataError.self) {
            try Golden(path: model + "/diffusion_pytorch_model.safetensors")
        }
    }

    @Test func statisticsFollowTheirDefinitions() {
        let actual = DenseTensor(shape: [4], values: FloatBuffer([3, 0, 4, 1]))
        let comparison = Comparison(
            ErrorSums(actual, with: FloatBuffer([3, 0, 0, 1])), shape: [2, 2])
        #expect(abs(comparison.relativePower - 1.6) < 1e-12)
        #expect(abs(comparison.relativeRMS - 1.6.squareRoot()) < 1e-12)
        #expect(comparison.maxAbs == 4)
        #expect(comparison.maxAbsIndex == [1, 0])
        #expect(comparison.meanAbs == 1)
        #expect(comparison.p99Abs == 4)
        #expect(comparison.goldenMaxAbs == 3)
        #expect(comparison.fp16Headroom == 65504 / 4)
        #expect(abs(comparison.goldenRMS - 2.5.squareRoot()) < 1e-12)
        #expect(abs(comparison.cosine - 10 / (26.0 * 10).squareRoot()) < 1e-12)
        #expect(abs((comparison.sqnrDecibels ?? 0) + 10 * log10(1.6)) < 1e-12)
        let same = Comparison(ErrorSums(actual, with: actual.values), shape: [4])
        #expect(same.relativeRMS == 0)
        #expect(same.sqnrDecibels == nil)
        #expect(same.cosine == 1)
        let zero = Comparison(ErrorSums(actual, with: FloatBuffer(count: 4)), shape: [4])
        #expect(zero.relativeRMS == .infinity)
        #expect(!Metric.relativeRMS.passes(zero, tolerance: 1e30))
    }
}
