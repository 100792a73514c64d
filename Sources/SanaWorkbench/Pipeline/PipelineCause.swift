import SanaModel

extension OpenedPipeline {
    /// A component whose weights, or those that they were made from, are not a golden's.
    package struct Change {
        package let component: PipelineComponent
        package let problem: Verification.Problem
        /// Names of the tensors that differ, as far as the golden tells.
        package let tensors: [String]
    }

    /// - Throws: an error of reading the components.
    package func changes(since golden: PipelineGolden) throws -> [Change] {
        try pipeline.components.filter(\.isNetwork).compactMap { component in
            let own = try opened(component).sourceHashes(workers: workers)
            guard let recorded = golden.digests[component], recorded != own.digest else {
                return nil
            }
            let hashes = own.tensors.isEmpty ? [:] : golden.hashes[component] ?? [:]
            return Change(
                component: component,
                problem: .init(
                    kind: .stale,
                    message:
                        "golden is stale: recorded from weights "
                        + "\(String(recorded.prefix(12)).printable) of the \(component.rawValue), which "
                        + "has or was made from \(String(own.digest.prefix(12)).printable); capture it "
                        + "again, or --allow-stale"),
                tensors: hashes.filter { own.tensors[$0.key] != $0.value }.map(\.key).sorted())
        }
    }
}

extension PipelineOutcome.Cause {
    /// The same with the module that makes the stage fail: the one that the network's own golden in
    /// the recording blames, else the one whose tensors alone are not the golden's.
    ///
    /// - Throws: an error of loading a component, or of reading the golden.
    func located(
        in source: OpenedPipeline, _ golden: PipelineGolden, changes: [OpenedPipeline.Change],
        _ options: Verification.Options
    ) throws -> Self {
        let candidates: [PipelineComponent]
        switch (stage, component) {
        case (.denoise, nil): candidates = [.controlNet, .transformer]
        case (_, .some(let known)): candidates = [known]
        default: return self
        }
        for component in candidates where source.pipeline.components.contains(component) {
            let tensors = changes.first { $0.component == component }?.tensors ?? []
            let found = try Self.module(of: component, in: source, golden, stage, options)
            guard let module = found ?? Self.owner(of: tensors) else { continue }
            var cause = self
            (cause.component, cause.module) = (component, module)
            cause.tensors = tensors
            return cause
        }
        var cause = self
        if component == nil, source.pipeline != .controlNet { cause.component = .transformer }
        return cause
    }

    /// What the probes of a network's first forward find; `nil` where the golden has none of it, or
    /// all is well there.
    private static func module(
        of component: PipelineComponent, in source: OpenedPipeline, _ golden: PipelineGolden,
        _ stage: PipelineStage, _ options: Verification.Options
    ) throws -> String? {
        // There is no golden of the encoder, which reads a ControlNet's picture.
        guard component.isNetwork, stage != .control, let part = try golden.part(component) else {
            return nil
        }
        var options = options
        // That is told of the whole already; and tolerances of entries are not about modules.
        options.allowStale = true
        options.tolerances = Tolerances(base: options.tolerances.base)
        let model = try source.opened(component).load(workers: source.workers)
        let result = try Verification.run(
            model.configured(by: part), part, options, workers: source.workers)
        return result.attribution?.cause
    }

    /// Tensors of how many modules still tell something: a fine-tune changes them all.
    private static let mostModules = 3

    /// The module that the first of a few tensors belongs to.
    private static func owner(of tensors: [String]) -> String? {
        let modules = Set(
            tensors.map { $0.split(separator: ".").dropLast().joined(separator: ".") })
        guard modules.count <= mostModules else { return nil }
        return modules.min()
    }
}
