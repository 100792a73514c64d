import ArgumentParser
import SanaWorkbench

/// What layers may differ by.
struct ToleranceOptions: ParsableArguments {
    @Option(help: "Maximum error of a layer (default: sana-tools.yaml, else 1e-3).")
    var tolerance: Double?

    @Option(
        help: ArgumentHelp(
            "Tolerance of the layers whose path matches a pattern: * matches any characters, ? one. Repeatable; the first match wins.",
            valueName: "glob=t"), transform: LayerTolerance.init(checking:))
    var layerTolerance: [LayerTolerance] = []

    @Option(
        name: .customLong("tolerance-file"),
        help: ArgumentHelp(
            "Per-layer tolerances written by --calibrate, for runs like the calibrated ones. Repeatable.",
            valueName: "file"), completion: .file())
    var calibration: [String] = []

    @Option(
        help: ArgumentHelp(
            "Write the per-layer tolerances that this model needs on this machine, times --margin, whatever the verdict.",
            valueName: "file"), completion: .file())
    var calibrate: String?

    @Option(help: "Safety factor of --calibrate on the measured relative RMS.")
    var margin = 2.0

    func validate() throws {
        if let tolerance, !(tolerance >= 0 && tolerance.isFinite) {
            throw ValidationError("--tolerance must be a non-negative number")
        }
        guard margin >= 1, margin.isFinite else {
            throw ValidationError("--margin must be a number from 1 on")
        }
    }

    /// - Parameter isProject: whether the project's model is verified, which its layers' tolerances
    ///   belong to.
    func make(_ project: ProjectFile?, isProject: Bool) -> Tolerances {
        var result = Tolerances()
        result.base = tolerance ?? project?.tolerance ?? result.base
        result.rules = rules(project, isProject: isProject)
        return result
    }

    /// Rules of flags, then those of the project.
    func rules(_ project: ProjectFile?, isProject: Bool) -> [LayerTolerance] {
        layerTolerance + (isProject ? project?.layerTolerances ?? [] : [])
    }

    /// The files of tolerances; those of the project where no flag names or writes one.
    ///
    /// - Throws: what reading them throws.
    func calibrations(_ project: ProjectFile?, isProject: Bool) throws -> [Calibration] {
        if !calibration.isEmpty { return try calibration.map { try Calibration(path: $0) } }
        let own = isProject && calibrate == nil ? project : nil
        return try own.blaming("tolerances") {
            try (own?.calibrations ?? []).map { try Calibration(path: $0) }
        }
    }
}

extension LayerTolerance {
    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        guard let rule = LayerTolerance(argument) else { throw ValidationError(Self.remedy) }
        self = rule
    }
}
