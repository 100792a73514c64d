import ArgumentParser
import CSignalCleanup
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools capture`
struct CaptureCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "capture",
        abstract: "Record a golden by running diffusers or transformers in Python.",
        discussion: """
            This is the only command that needs Python, with torch, diffusers and safetensors. \
            Weights are widened to FP32, and the forward runs in FP32. Inputs are read from a file \
            with tensors named inputs.*, or generated from a seed.

            With --trajectory, diffusers' SanaPipeline samples from inputs.latents and \
            inputs.prompt_embeds (with masks, and negative_ tensors for guidance), and the latent \
            after each step is recorded. A Sprint model, which embeds guidance, is sampled with \
            SanaSprintPipeline, and the noise between its steps (inputs.noise.*) is recorded too.

            With --pipeline, SanaPipeline, SanaSprintPipeline or SanaControlNetPipeline generates \
            images from --prompt, and everything that passes between its stages is recorded: \
            tokens, embeddings, every step, the decoder's input and output, and the images.

            A ControlNet also takes inputs.controlnet_cond and inputs.conditioning_scale, and \
            outputs residuals. An autoencoder takes inputs.latent (--entry decode) or \
            inputs.sample (--entry encode). A text encoder takes inputs.input_ids and \
            inputs.attention_mask, and needs transformers installed.

            EXAMPLES
              sana-tools capture repo --output golden.safetensors
              sana-tools capture repo --output golden.safetensors \\
                --latent 16x16 --tokens 300 --timestep 500
              sana-tools capture repo --output golden.safetensors \\
                --inputs inputs.safetensors --detail full --python ~/venv/bin/python
              sana-tools capture repo --output trajectory.safetensors \\
                --trajectory --steps 20 --guidance-scale 4.5
              sana-tools capture sprint --output sprint.safetensors \\
                --trajectory --steps 2
              sana-tools capture repo --output pipeline.safetensors \\
                --pipeline --prompt "a cat" --seed 7
              sana-tools capture repo --subfolder controlnet \\
                --output controlnet.safetensors
              sana-tools capture repo --subfolder vae \\
                --output decode.safetensors --latent 16x16
              sana-tools capture repo --subfolder text_encoder \\
                --output text.safetensors --tokens 20
            """)

    @Argument(
        help: ArgumentHelp("Repository or component directory.", valueName: "model"),
        completion: .file())
    var model: String

    @Option(
        help: ArgumentHelp("Golden to write (.safetensors).", valueName: "file"),
        completion: .file())
    var output: String

    @Option(help: ArgumentHelp("Python interpreter to run.", valueName: "path"))
    var python = "python3"

    @Option(
        help: ArgumentHelp("safetensors file with tensors named inputs.*.", valueName: "file"),
        completion: .file())
    var inputs: String?

    @Option(help: "Seed for generated inputs (default: 0).")
    var seed: Int?

    @Option(
        help: ArgumentHelp(
            "Latent height and width, such as 16x24 (default: the model's own).",
            valueName: "HxW"),
        transform: LatentSize.init(checking:))
    var latent: LatentSize?

    @Option(help: "Images per batch (default: 1).")
    var batch: Int?

    @Option(help: "Number of caption tokens (default: 300).")
    var tokens: Int?

    @Option(
        help: ArgumentHelp(
            "Timestep, or one per image, separated by commas (default: the middle of the model's range).",
            valueName: "t"))
    var timestep: String?

    @Option(
        help: ArgumentHelp(
            "Embedded guidance, or one per image, separated by commas (default: 4.5).",
            valueName: "g"))
    var guidance: String?

    @Option(
        help: ArgumentHelp("Scale of a ControlNet's outputs (default: 1).", valueName: "s"))
    var conditioningScale: Double?

    @Option(
        help: ArgumentHelp(
            "Forward to record: decode (default) or encode of an autoencoder.",
            valueName: "name"))
    var entry: String?

    @Option(help: "Modules to record: default, or full to add every leaf module.")
    var detail: Detail?

    @Option(
        help: ArgumentHelp(
            "Precision of weights and forward: float32 (default); float16 or bfloat16 show the error they add.",
            valueName: "type"))
    var computeDtype: String?

    @Flag(help: "Record the latents of a full sampling run instead of one forward.")
    var trajectory = false

    @Option(help: "Number of sampling steps (default: 20; 2 for Sprint).")
    var steps: Int?

    @Option(
        help: ArgumentHelp(
            "Classifier-free guidance scale, or the guidance that Sprint embeds (default: 4.5).",
            valueName: "g"))
    var guidanceScale: Double?

    @Option(
        help: ArgumentHelp(
            "scheduler_config.json for a trajectory, or its directory (default: the repository's).",
            valueName: "path"), completion: .file())
    var scheduler: String?

    @Option(help: "Number of torch threads.")
    var threads: Int?

    @OptionGroup var replacing: ReplaceOption

    @OptionGroup var pipelineOptions: PipelineCaptureOptions
    @OptionGroup var modelOptions: ModelOptions
    @OptionGroup var verbosity: VerbosityOptions

    enum Detail: String, ExpressibleByArgument, CaseIterable { case `default`, full }

    func validate() throws {
        guard modelOptions.config == nil else {
            throw ValidationError(
                "capture does not take --config: diffusers reads config.json in the directory")
        }
        guard isPipeline else { return }
        guard !trajectory, latent == nil, batch == nil, tokens == nil, timestep == nil,
            guidance == nil, detail == nil, computeDtype == nil, scheduler == nil, entry == nil,
            modelOptions.subfolder == nil, modelOptions.variant == nil
        else {
            throw ValidationError(
                "--pipeline goes with --prompt, --steps, --guidance-scale, --seed, --inputs and "
                    + "--conditioning-scale, not with options of one network")
        }
    }

    func run() throws {
        let path = try ModelPath.resolve(model)
        let folder = try ModelFault.advising(model) {
            try isPipeline
                ? path : Checkpoint.componentFolder(path, subfolder: modelOptions.subfolder)
        }
        guard folder.isFolder else {
            throw UsageError(
                "\(model.printable) is not a directory",
                remedy: "give a repository or component directory")
        }
        try OutputTargetError.checkReadable(output)
        let folders = isPipeline ? networkFolders(path).map { $0.folder } : [folder]
        try ModelFault.advising(model) { try folders.forEach(checkWeights) }
        let process = Process()
        process.executableURL = URL(fileURLWithPath: try ChildProcess.executable(python))
        process.environment = ChildProcess.environment
        let plan = try isPipeline ? nil : ModelFault.advising(model) { try capturePlan(folder) }
        process.arguments =
            try ["-I", "-c", Self.bootstrap] + (plan.map { ["--plan=" + $0.json.text()] } ?? [])
            + modulePlans(folder) + arguments(folder: folder)
        let script = Pipe()
        process.standardInput = script
        defer { signal_cleanup_set_child(0) }
        do { try process.run() } catch {
            throw UsageError(
                "cannot run \(python.printable): \(error.localizedDescription)",
                remedy: "name an interpreter with --python")
        }
        signal_cleanup_set_child(process.processIdentifier)
        // The interpreter may end without reading the script; its exit code says why.
        let sources = CaptureScript.source(ofPipelines: isPipeline)
        try? script.fileHandleForWriting.write(contentsOf: sources)
        try? script.fileHandleForWriting.close()
        process.waitUntilExit()
        guard process.terminationReason == .exit, process.terminationStatus == 0 else {
            // Only the script's own codes have a meaning here; Python ends with 1 on any exception.
            let isDesigned =
                process.terminationReason == .exit
                && [64, 65, 66, 69, 73].contains(process.terminationStatus)
            guard isDesigned else {
                throw InternalError("\(python.printable) failed while running the capture script")
            }
            throw ExitCode(process.terminationStatus)
        }
        guard output.pathExists else {
            throw InternalError("\(python.printable) exited successfully but wrote no output")
        }
        if isPipeline {
            _ = try PipelineGolden(path: output)
        } else if trajectory {
            _ = try TrajectoryGolden(path: output)
        } else {
            try warnOfHiddenWeights(Golden(path: output), plan)
        }
    }

    /// The networks of a pipeline by the names of its components.
    private func networkFolders(_ repository: String) -> [(name: String, folder: String)] {
        PipelineComponent.allCases.filter(\.isNetwork)
            .map { (name: $0.rawValue, folder: repository.appendingPath($0.rawValue)) }
            .filter { $0.folder.isFolder }
    }

    /// Files that no program can read are told of as by every other command. Everything else is
    /// for the script to say, which reads more than this program does.
    private func checkWeights(_ folder: String) throws {
        do { _ = try Checkpoint.open(folder, variant: modelOptions.variant) } catch let error
            as SafetensorsError
        {
            throw error
        } catch let error as BadDataError {
            let pages: Set = [
                HelpPage.downloadUnfinished, .fileForeign, .fileUnwritten, .lfsPointer,
            ]
            if let page = error.page, pages.contains(page) { throw error }
        } catch is any DiagnosticError {}
    }

    /// What the script is told of the network in a component's directory.
    private func capturePlan(_ folder: String) throws -> CapturePlan {
        let file = folder.appendingPath("config.json")
        return try CapturePlan(
            NetworkClass.configuration(JSONFile.read(file), file: file), entry: entry,
            SizeRequest(
                batch: batch, height: latent?.height, width: latent?.width, tokens: tokens))
    }

    /// The option that has a pipeline's networks recorded, with what the script is told of them.
    private func modulePlans(_ repository: String) throws -> [String] {
        guard pipelineOptions.modules else { return [] }
        let plans = try networkFolders(repository).map { name, folder in
            JSONValue.Member(name, try capturePlan(folder).json)
        }
        return ["--modules=" + JSONValue.object(plans).text()]
    }

    /// The script asks the gradients of small models, and tells what it found.
    private func warnOfHiddenWeights(_ golden: Golden, _ plan: CapturePlan?) throws {
        guard golden.contract["blind"] == nil,
            let warning = GoldenBlindness.warning(
                output, plan?.hiddenWeights(by: golden.inputs) ?? [])
        else { return }
        Console.warn(warning)
    }

    /// Runs the script from stdin, behind a module that it may import, with a zero byte between.
    /// Isolated, Python looks for modules neither in the current folder, which may be a stranger's,
    /// nor where the user has told it to: that is made up for.
    private static let bootstrap = """
        import os, site, sys, types
        folders = os.environ.get("PYTHONPATH", "").split(os.pathsep)
        sys.path[:0] = [folder for folder in folders if os.path.isabs(folder)]
        if sys.prefix == sys.base_prefix and not os.environ.get("PYTHONNOUSERSITE"):
            site.addsitedir(site.getusersitepackages())
        *modules, script = sys.stdin.buffer.read().split(bytes(1))
        for source in modules:
            sys.modules["capture"] = module = types.ModuleType("capture")
            exec(compile(source, "capture.py", "exec"), vars(module))
        exec(compile(script, "capture_pipeline.py" if modules else "capture.py", "exec"))
        """

    private var isPipeline: Bool { pipelineOptions.pipeline }

    /// Names may begin with a dash, so each is joined to its option and the model comes last.
    private func arguments(folder: String) -> [String] {
        var list = ["--output=\(output)"]
        func add(_ flag: String, _ value: String?) {
            if let value { list.append("--\(flag)=\(value)") }
        }
        add("variant", modelOptions.variant)
        add(isPipeline ? "latents" : "inputs", inputs)
        add("seed", seed.map { "\($0)" })
        add("latent", latent.map { "\($0.height)x\($0.width)" })
        add("batch", batch.map { "\($0)" })
        add("tokens", tokens.map { "\($0)" })
        add("timestep", timestep)
        add("guidance", guidance)
        add("conditioning-scale", conditioningScale.map { "\($0)" })
        add("detail", detail?.rawValue)
        add("compute-dtype", computeDtype)
        add("steps", steps.map { "\($0)" })
        add("guidance-scale", guidanceScale.map { "\($0)" })
        add("scheduler", scheduler)
        add("threads", threads.map { "\($0)" })
        if trajectory { list.append("--trajectory") }
        list += pipelineOptions.arguments
        if replacing.force { list.append("--force") }
        if verbosity.quiet { list.append("--quiet") }
        return list + ["--", folder]
    }
}
