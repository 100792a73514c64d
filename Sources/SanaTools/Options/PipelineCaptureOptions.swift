import ArgumentParser
import SanaModel
import SanaWorkbench

/// Options of `capture` that only `--pipeline` takes.
struct PipelineCaptureOptions: ParsableArguments {
    @Flag(help: "Record a full pipeline run of a repository, from prompt to image.")
    var pipeline = false

    @Option(
        help: ArgumentHelp("Prompt for --pipeline. Repeatable.", valueName: "text"))
    var prompt: [String] = []

    @Option(help: ArgumentHelp("Negative prompt for --pipeline.", valueName: "text"))
    var negativePrompt: String?

    @Option(help: ArgumentHelp("Images per prompt for --pipeline.", valueName: "n"))
    var pictures: Int?

    @Option(
        help: ArgumentHelp(
            "Image height and width for --pipeline (default: the model's own size).",
            valueName: "HxW"),
        transform: PictureSize.init(checking:))
    var size: PictureSize?

    @Flag(
        inversion: .prefixedNo,
        help: "Resolution binning for --pipeline (default: if diffusers has sizes for the model).")
    var resolutionBinning: Bool?

    @Option(
        help: ArgumentHelp("Input image of a ControlNet pipeline.", valueName: "file"),
        completion: .file())
    var controlPicture: String?

    @Flag(
        help:
            "Also record the modules of each network's first forward, so that a cause can name a module."
    )
    var modules = false

    func validate() throws {
        guard pipeline || isEmpty else {
            throw ValidationError(
                "--prompt, --negative-prompt, --pictures, --size, --resolution-binning, --modules and "
                    + "--control-picture are for --pipeline")
        }
        guard !pipeline || !prompt.isEmpty else {
            throw ValidationError("--pipeline needs at least one --prompt")
        }
    }

    private var isEmpty: Bool {
        prompt.isEmpty && negativePrompt == nil && pictures == nil && size == nil
            && resolutionBinning == nil && controlPicture == nil && !modules
    }

    /// Arguments of the script, each joined to its option.
    var arguments: [String] {
        var list = prompt.map { "--prompt=\($0)" }
        if let negativePrompt { list.append("--negative-prompt=\(negativePrompt)") }
        if let pictures { list.append("--pictures=\(pictures)") }
        if let size { list.append("--size=\(size.height)x\(size.width)") }
        if let resolutionBinning {
            list.append(resolutionBinning ? "--resolution-binning" : "--no-resolution-binning")
        }
        if let controlPicture { list.append("--control-picture=\(controlPicture)") }
        return list
    }
}
