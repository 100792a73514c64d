import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Peak memory of the built binary.
@Suite(.tags(.process)) struct MemoryTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let weightByteCount: Int

    /// A model of 83 MB that hardly packs, as a folder and as an archive.
    init() throws {
        program = try BuiltProgram()
        try FileManager.default.createDirectory(
            atPath: program.folder("model"), withIntermediateDirectories: true)
        try SparseModel(dim: 1024, captions: 12288).write(
            "model/diffusion_pytorch_model.safetensors", in: program.folder, isFilled: true)
        let made = try program.run(
            "convert", "model", "--dtype", "fp32", "--output", "a.safetensors.zst",
            "--no-verify-write")
        #expect(made.code == 0, "\(made.talk)")
        let archive = try fileBytes(program.folder("a.safetensors.zst")).count
        weightByteCount = try SafetensorsFile(
            path: program.folder("model/diffusion_pytorch_model.safetensors")
        ).fileBytes.count
        #expect(weightByteCount > 64 << 20)
        #expect(archive > weightByteCount / 2)

        // Inputs alone: what is missing fails, after a whole forward.
        var golden = SafetensorsBuilder()
        golden.metadata = [
            "format": "sana-reference", "version": "1",
            "contract": #"{"activations":[],"weights":{"digest":"0"},"numerics":"fp32","#
                + #""model_class":"SanaTransformer2DModel","compute_dtype":"float32"}"#,
        ]
        golden.add("inputs.hidden_states", [1, 32, 2, 2], (0..<128).map { Float($0 % 7) })
        golden.add(
            "inputs.encoder_hidden_states", [1, 2, 12288], (0..<24576).map { Float($0 % 5) - 2 })
        golden.add("inputs.timestep", [1], [500])
        golden.add("outputs.sample", [1, 32, 2, 2], [Float](repeating: 1, count: 128))
        try program.folder.write("golden.safetensors", golden.file)
    }

    /// The largest resident set of a run, which the kernel keeps and which is read until the end.
    private func peak(_ arguments: [String], endsWith codes: Set<Int32>) throws -> Int {
        let process = try program.launch(arguments + ["--threads", "2"])
        var peak = 0
        while process.isRunning {
            let status =
                (try? String(
                    contentsOfFile: "/proc/\(process.processIdentifier)/status", encoding: .utf8))
                ?? ""
            let line = status.split(separator: "\n").first { $0.hasPrefix("VmHWM:") }
            let words = line?.split(whereSeparator: \.isWhitespace) ?? []
            if words.count > 1, let kilobytes = Int(words[1]) { peak = max(peak, kilobytes << 10) }
            usleep(1000)
        }
        let outcome = try program.finish(process)
        #expect(codes.contains(outcome.code), "\(outcome.output)\(outcome.talk)")
        return peak
    }

    @Test(
        .enabled(if: FileManager.default.fileExists(atPath: "/proc/self/status"), "no /proc here"))
    func weightsOfAnArchiveAreHeldOnce() throws {
        for (command, options, codes) in [
            (
                "verify",
                ["--reference", "golden.safetensors", "--tolerance", "1", "--allow-stale"], [1]
            ),
            ("profile", ["--size", "64", "--repeat", "1", "--warmup", "0"], [0]),
        ] as [(String, [String], Set<Int32>)] {
            let plain = try peak([command, "model", "--no-record"] + options, endsWith: codes)
            let packed = try peak(
                [command, "a.safetensors.zst", "--no-record"] + options, endsWith: codes)
            #expect(plain > weightByteCount / 2, "\(command): \(plain >> 20) MB")
            // A second copy would be of 83 MB; frames that are being decoded take 8.
            #expect(
                packed < plain + weightByteCount / 2,
                "\(command): \(packed >> 20) MB for an archive, \(plain >> 20) MB for the folder")
        }
    }

    @Test(
        .enabled(if: FileManager.default.fileExists(atPath: "/proc/self/status"), "no /proc here"))
    func comparedTensorsAreLetGo() throws {
        // 24 tensors of 8 MiB.
        let size = 8 << 20
        let members = (0..<24).map { index in
            JSONValue.Member(
                "w\(index)",
                .object([
                    .init("dtype", .string("BF16")), .init("shape", .array([.int(size / 2)])),
                    .init(
                        "data_offsets", .array([.int(index * size), .int((index + 1) * size)])),
                ]))
        }
        let json = Array(JSONValue.object(members).text().utf8)
        for (name, byte) in [("x.safetensors", UInt8(0x3C)), ("y.safetensors", 0x3D)] {
            let path = try folder.write(name, littleEndianBytes(UInt64(json.count)) + json)
            let file = try FileHandle(forWritingTo: URL(fileURLWithPath: path))
            try file.seekToEnd()
            for _ in members { try file.write(contentsOf: Data(repeating: byte, count: size)) }
        }
        for (second, codes) in [("y.safetensors", [1]), ("x.safetensors", [0])]
            as [(String, Set<Int32>)]
        {
            let peak = try peak(["diff", "x.safetensors", second], endsWith: codes)
            // Of two tensors of each at a time; both files are 384 MB.
            #expect(peak < 80 << 20, "\(peak >> 20) MB")
        }
    }
}
