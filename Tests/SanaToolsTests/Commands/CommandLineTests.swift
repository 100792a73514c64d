import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// The built binary, as its users call it.
@Suite(.tags(.process)) struct CommandLineTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }

    /// The repository's own project: fixtures linked, `sana-tools.yaml` as it stands.
    init() throws {
        program = try BuiltProgram()
        let root = URL(fileURLWithPath: Fixtures.path).deletingLastPathComponent()
        try FileManager.default.copyItem(
            atPath: root.appendingPathComponent("sana-tools.yaml").path,
            toPath: folder("sana-tools.yaml"))
    }

    private func run(_ arguments: String...) throws -> BuiltProgram.Outcome {
        try program.run(arguments)
    }

    private func run(_ arguments: [String]) throws -> BuiltProgram.Outcome {
        try program.run(arguments)
    }

    private let goldens = "fixtures/goldens/sana-digits-b2-t999.safetensors"

    @Test func nightlyJobRunsWithoutArguments() throws {
        for _ in 0..<2 {
            let converted = try run("convert", "--format", "json")
            #expect(converted.code == 0, "\(converted.talk)")
            #expect(
                converted.json?.members?.map(\.key).prefix(5)
                    == ["output", "bytes_in", "bytes_out", "ratio", "seconds"])
            #expect(
                converted.json?["output"]?.string
                    == "reports/archives/sana-digits-int8.safetensors.zst")
        }
        let verified = try run("verify", "--tolerance", "1e-3", "--format", "json")
        #expect(verified.code == 0, "\(verified.talk)")
        let results = verified.json?.array ?? []
        // The source and the archive, against each golden.
        #expect(results.count == 6)
        #expect(
            Set(results.compactMap { $0["metric"]?.string }) == ["relative_rms", "relative_power"])
        for result in results {
            for key in [
                "verdict", "metric", "tolerance", "compute", "numerics", "first_out_of_tolerance",
                "cause",
                "layers", "output",
            ] { #expect(result[key] != nil) }
            #expect(result["output"]?["path"]?.string == "outputs.sample")
            let keys = Set(result["layers"]?.array?.first?.members?.map(\.key) ?? [])
            #expect(
                keys.isSuperset(of: [
                    "path", "relative_rms", "relative_power", "max_abs", "cosine", "sqnr_db",
                    "own_relative_rms", "tolerance", "verdict",
                ]))
        }
        #expect(try run("profile").code == 0)
        let listed = try run("history", "list", "--format", "json")
        #expect(listed.results?.count == 7)
        let shown = try run("history", "show", "--format", "json")
        #expect(shown.json?["kind"]?.string == "profile")
        #expect((shown.json?["layers"]?.array?.count ?? 0) > 20)
    }

    @Test func exactFP16ArchiveGivesTheBitsOfItsBF16Source() throws {
        #expect(try run("convert", "--dtype", "fp16", "--exact").code == 0)
        let workers = WorkerPool(threadCount: 2)
        let models = try [
            Fixtures.digits, folder("reports/archives/sana-digits-fp16.safetensors.zst"),
        ].map { try OpenedModel.open($0).load(workers: workers).network }
        for name in try Reference.expand([Fixtures.path + "/goldens/sana-digits-*"]) {
            let inputs = try Golden(path: name).inputs
            let bits = try models.map {
                try $0.forward(inputs, ForwardContext(workers: workers))[0].values.values.map(
                    \.bitPattern)
            }
            #expect(bits[0] == bits[1])
            #expect(bits[0].count >= 64)
        }
    }

    @Test func damagedWeightFailsWithExitCode1() throws {
        let doctored = try DoctoredCheckpoint("sana-digits/transformer")
        try doctored.patch(
            "transformer_blocks.2.ff.conv_point.weight", element: 9, with: [0x20, 0x40])
        let result = try run("verify", doctored.path, "--reference", goldens, "--format", "json")
        #expect(result.code == 1)
        #expect(result.json?["verdict"]?.string == "fail")
        #expect(result.json?["first_out_of_tolerance"]?.string == "transformer_blocks.2.ff")
    }

    @Test func tensorsThatDoNotFitAreNamedTogetherWithExitCode65() throws {
        let doctored = try DoctoredCheckpoint("sana-digits/transformer")
        try doctored.rewrite(
            { tensor, bytes in
                switch tensor.name {
                case "proj_out.bias": nil
                case "caption_norm.weight": (tensor.name, [64, 2], bytes)
                default: (tensor.name, tensor.shape, bytes)
                }
            }, adding: ["stray.weight"])
        for command in ["verify", "profile", "convert"] {
            let extra = command == "convert" ? ["--dtype", "int8"] : ["--no-record"]
            let reference = command == "verify" ? ["--reference", goldens] : []
            let result = try run([command, doctored.path] + extra + reference)
            #expect(result.code == 65)
            for name in ["proj_out.bias [1]", "stray.weight", "caption_norm.weight"] {
                #expect(result.talk.contains(name), "\(command): \(name)")
            }
            // verify tells of it among its results, too.
            #expect(
                command == "verify"
                    ? result.output.hasSuffix("ERROR: 1 of 1 could not be read\n")
                    : result.output.isEmpty)
        }
        let inspected = try run("inspect", doctored.path, "--format", "json")
        #expect(inspected.code == 1)
        #expect(
            Set(inspected.json?["problems"]?.array?.compactMap { $0["id"]?.string } ?? [])
                == ["tensor-missing", "tensor-unexpected", "tensor-misshapen", "dtype-mixed"])
    }

    @Test func exitCodesTellWhatWentWrong() throws {
        try folder.write("bad.safetensors", Array("<html>".utf8))
        try folder.write("config.json", Array("{}".utf8))
        try folder.write("notes.txt", [1])
        #expect(try run("verify", "fixtures/absent", "--reference", goldens).code == 66)
        #expect(try run("verify", "fixtures/sana-digits", "--reference", "absent").code == 66)
        #expect(try run("verify", "bad.safetensors", "--reference", goldens).code == 65)
        #expect(
            try run("verify", "fixtures/sana-digits", "--reference", "bad.safetensors").code == 65)
        #expect(try run("verify", "fixtures/tiny/plain").code == 64)
        #expect(try run("verify", "--tolerance", "-1").code == 64)
        #expect(try run("profile", "fixtures/sana-digits", "--latent", "0x3").code == 64)
        #expect(try run("history", "show", "--db", "none.sqlite").code == 66)
        #expect(
            try run("convert", "fixtures/sana-digits", "--dtype", "int8", "--output", "notes.txt/x")
                .code == 73)
        #expect(try run("unpack", "absent.zst").code == 66)
        #expect(try run("nonsense").code == 64)
        #expect(try run("profile", "fixtures/tiny/variants-two", "--no-record").code == 65)
        #expect(try run("inspect", "fixtures/tiny/variants-two").code == 0)
        #expect(try run("inspect", "fixtures/tiny/variant").code == 0)
        #expect(try run("inspect", "fixtures/tiny/variant", "--strict").code == 1)
        #expect(try run("profile", "--latent", "4096x4096", "--batch", "99").code == 64)
        #expect(try run("inspect", "bad.safetensors", "--variant", "fp16").code == 64)
    }

    @Test func fullDiskOnStdoutIsAnErrorAndAClosedPipeIsNone() throws {
        let full = try program.launch(
            ["inspect", "fixtures/sana-digits"], output: FileHandle(forWritingAtPath: "/dev/full"))
        #expect(try program.finish(full).code == 74)
        let pipe = Pipe()
        try pipe.fileHandleForReading.close()
        let closed = try program.launch(
            ["inspect", "fixtures/sana-digits"], output: pipe.fileHandleForWriting)
        let outcome = try program.finish(closed)
        #expect(outcome.code == 0)
        #expect(outcome.talk.isEmpty)
    }

    @Test func roundingActivationsIsTimedWhereItIsDone() throws {
        let archive = "x.safetensors.zst"
        #expect(
            try run("convert", "fixtures/sana-digits", "--dtype", "int8", "--output", archive).code
                == 0)
        for compute in ["w8a8", "w8a16"] {
            let outcome = try run(
                "profile", archive, "--compute", compute, "--repeat", "1", "--no-record",
                "--format", "json")
            let share = try #require(outcome.json?["allocation"]?["quantization"]?.double)
            #expect(compute == "w8a8" ? share > 0 && share < 1 : share == 0)
            #expect((outcome.json?["peaks"]?["int8_multiply_add_gops"]?.double ?? 0) > 0)
        }
    }

    @Test func existingOutputIsKeptWithoutForce() throws {
        let output = "x.safetensors.zst"
        #expect(
            try run("convert", "fixtures/sana-digits", "--dtype", "int8", "--output", output).code
                == 0)
        let before = try fileBytes(folder(output))
        let refused = try run(
            "convert", "fixtures/sana-digits", "--dtype", "fp16", "--output", output)
        #expect(refused.code == 73)
        #expect(refused.talk.contains("--force"))
        #expect(try fileBytes(folder(output)) == before)
        #expect(
            try run(
                "convert", "fixtures/sana-digits", "--dtype", "fp16", "--output", output, "--force"
            ).code == 0)
        #expect(try fileBytes(folder(output)) != before)
    }

    @Test func unpackRestoresAFolderThatIsAModelAgain() throws {
        #expect(try run("convert").code == 0)
        let archive = "reports/archives/sana-digits-int8.safetensors.zst"
        #expect(try run("unpack", archive, "--output", "int8").code == 0)
        let fromFolder = try run(
            "verify", "int8", "--reference", goldens, "--allow-stale", "--format", "json")
        let fromArchive = try run("verify", archive, "--reference", goldens, "--format", "json")
        #expect(fromFolder.code == 0)
        #expect(fromArchive.code == 0)
        #expect(fromFolder.json?["layers"] == fromArchive.json?["layers"])
        #expect(fromArchive.json?["compute"]?.string == "w8a16")
    }

    @Test func rulesDecideBeforeTheBuiltInOnesAndExplainSaysSo() throws {
        let rule = #"transformer_blocks\.[01]\..*attn2.*weight=keep"#
        let query = "transformer_blocks.1.attn2.to_q.weight"
        let converted = try run(
            "convert", "fixtures/sana-digits", "--dtype", "int8", "--rule", rule, "--rule",
            "proj_out.weight=int8", "--output", "x.safetensors.zst", "--format", "json")
        #expect(converted.code == 0, "\(converted.talk)")
        let tensors = converted.json?["tensors"]?.array ?? []
        func type(_ name: String) -> String? {
            tensors.first { $0["name"]?.string == name }?["to"]?.string
        }
        #expect(type(query) == "BF16")
        #expect(type("proj_out.weight") == "I8")
        #expect(type("transformer_blocks.2.attn2.to_q.weight") == "I8")
        let verified = try run("verify", "x.safetensors.zst", "--reference", goldens)
        #expect(verified.code == 0, "\(verified.talk)")
        let explained = try run(
            "convert", "fixtures/sana-digits", "--dtype", "int8", "--rule", rule, "--explain", query
        )
        #expect(explained.code == 0)
        #expect(explained.output.contains("decided by rule '\(rule)'"))
        let builtIn = try run(
            "convert", "fixtures/sana-digits", "--dtype", "int8", "--explain", "proj_out.weight")
        #expect(builtIn.output.contains("decided by built-in rule: output head"))
        for arguments in [
            ["--rule", "(=keep"], ["--rule", "a=int4"], ["--rule", "nothing=keep"],
            ["--explain", "nothing"],
        ] {
            let refused = try run(
                ["convert", "fixtures/sana-digits", "--dtype", "int8", "--output", "y"] + arguments)
            #expect(refused.code == 64)
            #expect(refused.talk.contains("'\(arguments[1])'"))
        }
    }

    @Test func dryRunWritesNothing() throws {
        let result = try run("convert", "--dry-run")
        #expect(result.code == 0)
        #expect(result.output.contains("output head"))
        #expect(!FileManager.default.fileExists(atPath: folder("reports")))
    }

    @Test(arguments: [
        "inspect", "convert", "unpack", "verify", "tune", "profile", "history", "capture",
    ])
    func everyCommandHasHelpWithExamples(_ command: String) throws {
        let result = try run(command, "--help")
        #expect(result.code == 0)
        #expect(result.output.contains("EXAMPLES\n  sana-tools \(command)"))
    }

    /// A stand-in for Python that shows how it was called and what it was fed.
    @Test func captureHandsItsOptionsAndScriptToPython() throws {
        let python = try folder.write(
            "python",
            Array("#!/bin/sh\necho \"$@\"\ncat > script.py\ncp \(goldens) g.safetensors\n".utf8))
        #expect(chmod(python, 0o755) == 0)
        let result = try run(
            "capture", "fixtures/sana-digits", "--output", "g.safetensors", "--python", python,
            "--latent", "4x12", "--timestep", "3,700", "--batch", "2", "--detail", "full",
            "--force",
            "--quiet"
        )
        #expect(result.code == 0)
        #expect(result.output.hasPrefix("-I -c "))
        #expect(result.output.contains(#" --plan={"class":"SanaTransformer2DModel","#))
        #expect(
            result.output.hasSuffix(
                " --output=g.safetensors --latent=4x12 --batch=2 --timestep=3,700 --detail=full "
                    + "--force --quiet -- fixtures/sana-digits/transformer\n"))
        let script = String(decoding: try fileBytes(folder("script.py")), as: UTF8.self)
        #expect(script.contains("sana-reference"))
    }

    @Test func captureOfATrajectoryHandsOnItsOptionsAndChecksTheResult() throws {
        let trajectory = "fixtures/trajectories/sana-digits-dpm-short-3.safetensors"
        for (file, code) in [(trajectory, Int32(0)), (goldens, 65)] {
            let python = try folder.write(
                "python", Array("#!/bin/sh\necho \"$@\"\ncp \(file) t.safetensors\n".utf8))
            #expect(chmod(python, 0o755) == 0)
            let result = try run(
                "capture", "fixtures/sana-digits", "--output", "t.safetensors", "--python", python,
                "--trajectory", "--steps", "3", "--guidance-scale", "2.5", "--scheduler",
                "fixtures/sana-digits/scheduler", "--compute-dtype", "float32")
            #expect(result.code == code, "\(result.talk)")
            #expect(
                result.output.hasSuffix(
                    " --output=t.safetensors --compute-dtype=float32 --steps=3 "
                        + "--guidance-scale=2.5 --scheduler=fixtures/sana-digits/scheduler "
                        + "--trajectory -- fixtures/sana-digits/transformer\n"))
        }
    }

    @Test func captureThatLeavesNoGoldenIsOurFault() throws {
        for program in ["/bin/true", "/bin/false"] {
            let result = try run(
                "capture", "fixtures/sana-digits", "--output", "g.safetensors", "--python", program)
            #expect(result.code == 70)
        }
    }

    @Test func brokenModelDoesNotHideTheResultsOfOthers() throws {
        try folder.write("bad.safetensors", Array("<html>".utf8))
        let result = try run(
            "verify", "bad.safetensors", "fixtures/sana-digits", "--reference", goldens,
            "--reference",
            "fixtures/goldens/tiny-plain.safetensors", "--format", "json")
        #expect(result.code == 65)
        #expect(result.talk.contains("bad.safetensors"))
        // The model against its own golden, and against one whose inputs do not fit it.
        #expect(
            result.json?.array?.compactMap { $0["verdict"]?.string } == ["pass", "fail", "error"])
    }

    @Test func pipesAndFoldersInPlaceOfFilesAreBadData() throws {
        #expect(mkfifo(folder("pipe.safetensors"), 0o600) == 0)
        for path in ["pipe.safetensors", "/dev/zero", "fixtures"] {
            let result = try run("verify", "fixtures/sana-digits", "--reference", path)
            #expect(result.code == 65, "\(path): \(result.talk)")
        }
        #expect(mkfifo(folder("pipe.safetensors.zst"), 0o600) == 0)
        #expect(try run("unpack", "pipe.safetensors.zst").code == 65)
        #expect(try run("unpack", "fixtures/sana-digits").code == 65)
    }

    @Test func captureNamesAMissingInterpreter() throws {
        let result = try run(
            "capture", "fixtures/sana-digits", "--output", "g.safetensors", "--python",
            "no-such-python")
        #expect(result.code == 64)
        #expect(result.talk.contains("--python"))
    }
}
