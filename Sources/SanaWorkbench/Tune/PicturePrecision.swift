import SanaModel
import SanaQuant

/// A whole pipeline, block by block of each network, by the pictures that come of it: mean squared
/// difference of levels over the square of the largest, whose logarithm PSNR is.
package final class PicturePrecision: PrecisionSubject {
    package let source: OpenedPipeline
    package let goldens: [PipelineGolden]
    package let items: [PrecisionItem]
    package let bytesBefore: Int
    /// What each item is made of.
    private let weights: [String: (component: PipelineComponent, names: Set<String>)]
    private let context: ForwardContext
    /// The output of the unchanged pipeline for each golden, computed on demand.
    private var prompts: [Int: SanaPipeline.Prompts] = [:]
    private var latents: [Int: DenseTensor] = [:]

    package var label: String { source.label }
    package var references: [String] { goldens.map(\.path) }
    package var measure: PrecisionMeasure { .psnr }

    package var baselines: [(name: String, names: Set<String>)] {
        let transformer = weights.filter { $0.value.component == .transformer }.map(\.key)
        return [
            ("every block in int8", Set(items.map(\.name))),
            ("the transformer alone", Set(transformer)),
        ]
    }

    /// Weights that no image can judge stay unchanged.
    package let standingRules: [String]

    /// - Throws: an error of reading the components.
    package init(
        _ source: OpenedPipeline, _ goldens: [PipelineGolden], _ context: ForwardContext
    ) throws {
        (self.source, self.goldens, self.context) = (source, goldens, context)
        var (items, weights, bytes):
            ([PrecisionItem], [String: (PipelineComponent, Set<String>)], Int) =
                ([], [:], 0)
        /// Without a ControlNet no picture shows what the encoder does.
        func hides(_ name: String) -> Bool {
            source.pipeline != .controlNet && name.hasPrefix("encoder.")
        }
        standingRules =
            try source.opened(.vae).builtInInt8.contains(where: hides)
            ? ["vae:encoder\\..*=keep"] : []
        for component in source.pipeline.components where component.isNetwork {
            let model = try source.opened(component)
            bytes += model.source.tensors.reduce(0) { $0 + $1.byteCount }
            let names = model.builtInInt8.filter { component != .vae || !hides($0) }
            for (module, names) in Dictionary(grouping: names, by: Self.module).sorted(by: {
                $0.key < $1.key
            }) {
                let saved = names.compactMap { name in
                    model.source.info(name).flatMap(QuantizedSource.savedBytes)
                }.reduce(0, +)
                guard saved > 0 else { continue }
                let name = "\(component.rawValue): \(module)"
                let prefix = component == .transformer ? "" : component.rawValue + ":"
                items.append(
                    PrecisionItem(
                        name: name, bytesSaved: saved, isBuiltIn: true,
                        pattern: prefix + module.asPattern + "\\..*"))
                weights[name] = (component, Set(names))
            }
        }
        (self.items, self.weights, bytesBefore) = (items, weights, bytes)
    }

    /// The block that a weight belongs to, else the module that no other contains.
    private static func module(_ name: String) -> String {
        let parts = name.split(separator: ".")
        let paths = parts.indices.dropFirst().map { parts[..<$0].joined(separator: ".") }
        return paths.first { ModuleLevel(path: $0) == .block }
            ?? paths.first { ModuleLevel(path: $0) == .outer } ?? paths.last ?? name
    }

    package func errors(_ names: Set<String>) throws -> [Double] {
        var rounded: [PipelineComponent: Set<String>] = [:]
        for name in names {
            guard let item = weights[name] else { continue }
            rounded[item.component, default: []].formUnion(item.names)
        }
        return try goldens.indices.map { try error(of: $0, rounded) }
    }

    /// Stages before the first that is rounded are run once for all choices.
    private func error(
        of index: Int, _ rounded: [PipelineComponent: Set<String>]
    ) throws -> Double {
        let golden = goldens[index]
        let pipeline = try SanaPipeline(source.rounding(rounded), golden.request)
        let text: SanaPipeline.Prompts
        if rounded[.textEncoder] == nil, let known = prompts[index] {
            text = known
        } else {
            text = try pipeline.encodePrompts(context)
            if rounded[.textEncoder] == nil { prompts[index] = text }
        }
        let last: DenseTensor
        let isAsItWas = Set(rounded.keys).isSubset(of: [.vae]) && source.pipeline != .controlNet
        if isAsItWas, let known = latents[index] {
            last = known
        } else {
            last = try pipeline.denoise(
                golden.start(), text, control: pipeline.encodeControl(context), context
            ) { _, _ in }.repeated(1)
            if isAsItWas { latents[index] = last }
        }
        let pictures = pipeline.pictures(
            try pipeline.decode(pipeline.decoderInput(last), context))
        let theirs = try golden.pictures()
        guard pictures.map(\.pixels.count) == theirs.map(\.pixels.count) else {
            throw BadDataError(
                file: golden.path, reason: "image has another size than the model's",
                remedy: "record the golden again with 'sana-tools capture --pipeline'")
        }
        let difference = PipelineOutcome.PictureDifference(pictures, theirs)
        return difference.psnr.map(PrecisionMeasure.power) ?? 0
    }
}
