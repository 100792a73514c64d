import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Single bits of int8 tensors: what a tolerance can show of them, and what only a hash can.
@Suite(.tags(.process)) struct BitFlipTests {
    private let golden: Golden

    init() throws {
        golden = try Golden(
            path: Fixtures.path + "/goldens/sana-digits-b2-t999.safetensors")
    }

    private func verify(
        _ path: String, _ compute: ComputeMode, isolated: Bool, _ tolerances: Tolerances = .init()
    ) throws -> Verification {
        let workers = WorkerPool(threadCount: 2)
        var options = Verification.Options()
        (options.tolerances, options.compute) = (tolerances, compute)
        (options.allowStale, options.isolated) = (true, isolated)
        return try Verification.run(
            OpenedModel.open(path).load(workers: workers), golden, options, workers: workers)
    }

    /// What the healthy model needs, times 1.1, its own errors included.
    private func calibrated(_ path: String, _ compute: ComputeMode) throws -> Tolerances {
        let healthy = try verify(path, compute, isolated: true)
        var tolerances = Tolerances()
        let calibration = try #require(Calibration([healthy], margin: 1.1))
        tolerances.calibrated = calibration
        return tolerances
    }

    private static let tensors = [
        "transformer_blocks.0.attn1.to_v", "transformer_blocks.1.attn2.to_out.0",
        "transformer_blocks.2.ff.conv_inverted", "transformer_blocks.2.attn1.to_out.0",
        "transformer_blocks.3.ff.conv_point",
    ]

    /// Flips at places of no choice: not all fail, and those that do must be blamed on their
    /// module.
    @Test(arguments: [ComputeMode.fp32, .int8])
    func flipsThatFailAreBlamedOnTheirModule(_ compute: ComputeMode) throws {
        var generator = SplitMix64(seed: 7)
        let model = try DoctoredCheckpoint.int8Digits()
        let tolerances = try calibrated(model.path, compute)
        var (failed, wrong): ([Bool: Int], [String]) = ([:], [])
        for tensor in Self.tensors {
            let name = tensor + ".weight"
            let module = tensor.split(separator: ".").prefix(3).joined(separator: ".")
            let bytes = try model.bytes(name)
            for bit in [UInt8(1 << 7), 1 << 6, 1 << 7] {
                let element = Int.random(in: 0..<bytes.count, using: &generator)
                try model.patch(name, element: element, with: [bytes[element] ^ bit])
                for isolated in [true, false] {
                    let result = try verify(
                        model.path, compute, isolated: isolated, tolerances)
                    guard !result.passes else { continue }
                    failed[isolated, default: 0] += 1
                    if let cause = result.attribution?.cause, cause != module {
                        wrong.append("\(name)[\(element)] ^ \(bit), isolated \(isolated): \(cause)")
                    }
                }
                try model.patch(name, element: element, with: [bytes[element]])
            }
        }
        #expect(wrong.isEmpty, "\(wrong)")
        #expect((failed[true] ?? 0) >= 3, "\(failed)")
        #expect(failed[true] == failed[false], "\(failed)")
    }

    /// The lowest bit is below the rounding that made the tensor: only a hash can tell.
    @Test func flipOfTheLowestBitPassesAndChangesTheDigest() throws {
        let model = try DoctoredCheckpoint.int8Digits()
        let workers = WorkerPool(threadCount: 2)
        func digest() throws -> String {
            try OpenedModel.open(model.path).sourceDigest(workers: workers)
        }
        let tolerances = try calibrated(model.path, .fp32)
        let before = try digest()
        let name = Self.tensors[3] + ".weight"
        let bytes = try model.bytes(name)
        // The value that the sign changes most.
        let element = try #require(
            bytes.indices.min {
                abs(Int(Int8(bitPattern: bytes[$0]))) < abs(Int(Int8(bitPattern: bytes[$1])))
            })
        for (bit, passes) in [(UInt8(1), true), (1 << 7, false)] {
            try model.patch(name, element: element, with: [bytes[element] ^ bit])
            let result = try verify(model.path, .fp32, isolated: true, tolerances)
            #expect(result.passes == passes, "bit \(bit)")
            #expect(try digest() != before)
        }
    }

    /// A flip in an archive is found before anything runs, whatever the bit.
    @Test func flipInAnArchiveNamesTheFrameAndTheTensor() throws {
        let program = try BuiltProgram()
        #expect(
            try program.run(
                "convert", Fixtures.digits, "--dtype", "int8", "--output", "a.safetensors.zst"
            ).code == 0)
        var content = try fileBytes(program.folder("a.safetensors.zst"))
        content[content.count / 3] ^= 1
        try program.folder.write("a.safetensors.zst", content)
        let outcome = try program.run(
            "verify", "a.safetensors.zst", "--reference",
            "fixtures/goldens/sana-digits-b1-t1.safetensors", "--no-record")
        #expect(outcome.code == 65)
        let message = /frame [0-9]+: .*; it holds '[a-z_0-9.]+'/
        #expect(outcome.output.contains(message))
        #expect(outcome.talk.contains(message))
    }
}

extension DoctoredCheckpoint {
    /// The digits in int8 as a folder that a test may damage.
    static func int8Digits() throws -> DoctoredCheckpoint {
        let program = try BuiltProgram()
        for arguments in [
            ["convert", Fixtures.digits, "--dtype", "int8", "--output", "a.safetensors.zst"],
            ["unpack", "a.safetensors.zst", "--output", "int8"],
        ] {
            let outcome = try program.run(arguments)
            #expect(outcome.code == 0, "\(outcome.talk)")
        }
        return try DoctoredCheckpoint(copying: program.folder("int8"))
    }
}
