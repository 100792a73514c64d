import ArgumentParser
import SanaModel
import SanaWorkbench

/// What `capture --pipeline` is told beside what it shares with other captures.
struct PipelineCaptureOptions: ParsableArguments {
    @Flag(help: "Record a whole sampling of a repository, from prompt to picture.")
    var pipeline = false

    @Option(
        help: ArgumentHelp("Prompt of a pipeline. Repeatable.", valueName: "text"))
    var prompt: [String] = []

    @Option(help: ArgumentHelp("Negative prompt of a pipeline.", valueName: "text"))
    var negativePrompt: String?

    @Option(help: ArgumentHelp("Pictures of each prompt of a pipeline.", valueName: "n"))
    var pictures: Int?

    @Option(
        help: ArgumentHelp(
            "Rows and columns of a pipeline's picture (default: the model's own size).",
            valueName: "HxW"),
        transform: PictureSize.init(checking:))
    var size: PictureSize?

    @Flag(
        inversion: .prefixedNo,
        help: "Resolution binning of a pipeline (default: where diffusers has sizes for it).")
    var resolutionBinning: Bool?

    @Option(
        help: ArgumentHelp("Picture that a ControlNet pipeline reads.", valueName: "file"),
        completion: .file())
    var controlPicture: String?

    @Flag(
        help:
            "Record the modules of a pipeline's networks, too, as each runs first, so that a cause names a module."
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
