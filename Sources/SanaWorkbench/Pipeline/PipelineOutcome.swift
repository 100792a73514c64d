import Libc
import SanaModel

/// What a verification of a pipeline knows besides its layers: stages, the images and the cause.
package struct PipelineOutcome: Sendable {
    /// One stage of the golden's, worst of its layers.
    package struct Stage: Sendable {
        package let stage: PipelineStage
        /// On what our stages before it made; relative RMS.
        package var total = 0.0
        /// On the golden's own input; `nil` where that was not run.
        package var own: Double?
        package var passes = true
        /// Whether it is out of tolerance on the golden's own input.
        package var ownFails = false
        package var seconds = 0.0
    }

    /// How pictures differ.
    package struct PictureDifference: Sendable {
        /// Largest difference of a level, of 255.
        package var maxLevels = 0
        /// Share of pixels any of whose levels differs.
        package var differing = 0.0
        /// Share of pixels any of whose levels differs by more than one.
        package var differingByMore = 0.0
        /// Peak signal to noise; `nil` for equal pictures.
        package var psnr: Double?
    }

    package var stages: [Stage] = []
    package var image = PictureDifference()
    /// What is to blame.
    struct Cause: Sendable {
        let stage: PipelineStage
        /// Which of the stage's components, where that is known.
        var component: PipelineComponent?
        /// Which module of that, where the golden tells it.
        var module: String?
        /// Tensors of the component that are not those that the golden was recorded from.
        var tensors: [String] = []
        /// The first entry of the golden that the stage does not make of the golden's own input.
        var entry: String?
    }

    var cause: Cause?
    /// Ours minus the golden's, made visible, `[B, 3, H, W]`, and by which factor.
    package var difference: (tensor: DenseTensor, factor: Int)?

    package subscript(stage: PipelineStage) -> Stage {
        get { stages.first { $0.stage == stage } ?? Stage(stage: stage) }
        set {
            if let index = stages.firstIndex(where: { $0.stage == stage }) {
                stages[index] = newValue
            } else {
                stages.append(newValue)
            }
        }
    }

    /// What a stage's layers and outputs are called by those of a golden.
    package static func stage(of path: String) -> PipelineStage {
        switch path.split(separator: ".").first ?? "" {
        case "prompt", "negative": .prompt
        case "control": .control
        case "latents": .denoise
        case "decode": .decode
        default: .image
        }
    }

    package var json: JSONValue {
        .array(
            stages.map { stage in
                var members: [JSONValue.Member] = [
                    .init("name", .string(stage.stage.rawValue)),
                    .init("verdict", .string((stage.passes ? Verdict.pass : .fail).rawValue)),
                    .init("own_relative_rms", .double(stage.own)),
                    .init("relative_rms", .double(stage.total)),
                    .init("seconds", .double(stage.seconds)),
                ]
                if stage.stage == .image {
                    members += [
                        .init("psnr_db", .double(image.psnr)),
                        .init("max_levels", .int(image.maxLevels)),
                        .init("share_differing", .double(image.differing)),
                        .init("share_over_one_level", .double(image.differingByMore)),
                    ]
                }
                return .object(members)
            })
    }

    /// The cause in words; `nil` where nothing fails.
    package var explanation: String? {
        guard let cause else { return nil }
        let stage = self[cause.stage]
        let own = stage.own.map {
            ", own error \(Format.scientific($0)) relative RMS on golden input"
        }
        let place = cause.component.map { component in
            cause.module.map { ", \(component.rawValue): \($0.printable)" }
                ?? ", its \(component.rawValue)"
        }
        let tensors = cause.tensors.prefix(3).map(\.printable).joined(separator: ", ")
        let more = cause.tensors.count - 3
        return "cause: stage \(cause.stage.rawValue)" + (place ?? "") + (own ?? "")
            + (cause.entry.map { ", first at \($0)" } ?? "")
            + (tensors.isEmpty
                ? "" : "; not the golden's: \(tensors)" + (more > 0 ? " and \(more) more" : ""))
    }

    /// Stages in a line, and the pictures.
    package var summary: [String] {
        let parts = stages.map { stage in
            "\(stage.stage.rawValue) \(Format.scientific(stage.total))"
                + (stage.own.map { " (own \(Format.scientific($0)))" } ?? "")
        }
        let pixels =
            "pictures: at most \(Format.counted(image.maxLevels, "level")) off, "
            + "\(Format.percent(image.differing)) of pixels differ, "
            + "\(Format.percent(image.differingByMore)) by more than one level, PSNR "
            + (image.psnr.map { "\(Format.decimal($0, digits: 1)) dB" } ?? "unbounded: equal")
        return ["stages: " + parts.joined(separator: ", "), pixels]
    }
}

extension PipelineOutcome.PictureDifference {
    package init(_ ours: [Picture], _ golden: [Picture]) {
        var (squares, pixels, differing, more) = (0.0, 0, 0, 0)
        for (own, reference) in zip(ours, golden) {
            for pixel in 0..<min(own.pixels.count, reference.pixels.count) / 3 {
                var largest = 0
                for place in pixel * 3..<pixel * 3 + 3 {
                    let away = abs(Int(own.pixels[place]) - Int(reference.pixels[place]))
                    largest = max(largest, away)
                    squares += Double(away * away)
                }
                pixels += 1
                differing += largest > 0 ? 1 : 0
                more += largest > 1 ? 1 : 0
                maxLevels = max(maxLevels, largest)
            }
        }
        let count = Double(max(pixels, 1))
        self.differing = Double(differing) / count
        differingByMore = Double(more) / count
        psnr = squares > 0 ? 10 * log10(255 * 255 * 3 * count / squares) : nil
    }
}
