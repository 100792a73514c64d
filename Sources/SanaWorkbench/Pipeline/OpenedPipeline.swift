import Foundation
import SanaModel
import SanaQuant

/// A repository of a pipeline, any component of which may lie elsewhere.
package struct OpenedPipeline: PipelineSource {
    /// The repository as it was given, for messages and records.
    package let label: String
    package let path: String
    package let pipeline: PipelineClass
    package let variant: String?
    package let workers: WorkerPool
    private let places: [PipelineComponent: String]
    private let instructionFolder: InstructionFolder?

    /// - Parameters:
    ///   - places: components that lie elsewhere, by name: a folder, a file, an archive, or another
    ///     repository.
    ///   - instructionFolder: where instructions are kept between runs.
    /// - Throws: `FileError`; `BadDataError` for a folder that is no pipeline's, `UsageError` for a
    ///   component that the pipeline does not have.
    package init(
        _ model: String, places: [String: String] = [:], variant: String? = nil,
        instructionFolder: InstructionFolder? = nil, workers: WorkerPool
    ) throws {
        self.instructionFolder = instructionFolder
        path = try ModelPath.resolve(model)
        guard path.isFolder else {
            guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
            throw UsageError(
                "\(path.printable) is a file, and a pipeline is a repository",
                remedy:
                    "give the folder with \(Checkpoint.indexName); its components may be files: "
                    + "--component transformer=FILE")
        }
        let index = path.appendingPath(Checkpoint.indexName)
        pipeline = try PipelineClass(
            index: JSONFile.read(index, allowsNonFinite: true), file: index)
        var found: [PipelineComponent: String] = [:]
        for (name, place) in places {
            guard let component = PipelineComponent(rawValue: name),
                pipeline.components.contains(component)
            else {
                throw UsageError(
                    "\(pipeline.rawValue) has no component '\(name.printable)'",
                    remedy: "it has "
                        + pipeline.components.map(\.rawValue).joined(separator: ", "))
            }
            found[component] = try ModelPath.resolve(place)
        }
        (self.places, label, self.variant, self.workers) = (found, model, variant, workers)
    }

    /// Where a component lies.
    package func place(_ component: PipelineComponent) -> String {
        guard let place = places[component] else {
            return path.appendingPath(component.rawValue)
        }
        return place.appendingPath(Checkpoint.indexName).pathExists
            ? place.appendingPath(component.rawValue) : place
    }

    /// A component with weights as it is stored, whatever network it should be of.
    ///
    /// - Throws: as `OpenedModel.open`.
    package func opened(_ component: PipelineComponent) throws -> OpenedModel {
        let place = place(component)
        return try ModelFault.advising(place) {
            try OpenedModel.open(place, variant: place.isFolder ? variant : nil)
        }
    }

    // MARK: Components

    package func tokenizer() throws -> Tokenizer { try Tokenizer.open(place(.tokenizer)) }

    package func textEncoder() throws -> Gemma2Model {
        try network(.textEncoder) {
            // Of what is computed with, whatever an archive says of its weights.
            guard let instructionFolder else { return }
            instructionFolder.weightsDigest = try WeightsDigest.compute($0, workers: workers)
        }
    }

    package var instructions: (any InstructionStore)? { instructionFolder }

    package func transformer() throws -> SanaTransformer2DModel { try network(.transformer) }

    package func controlNet() throws -> SanaControlNetModel { try network(.controlNet) }

    package func encoder() throws -> AutoencoderDCEncoder { try network(.vae) }

    package func decoder() throws -> AutoencoderDCDecoder { try network(.vae) }

    package func scheduler() throws -> (json: JSONValue, file: String) {
        let place = place(.scheduler)
        let file = place.isFolder ? place.appendingPath("scheduler_config.json") : place
        return (try JSONFile.read(file, allowsNonFinite: true), file)
    }

    package func transformerConfig() throws -> SanaConfig { try config(.transformer) }

    package func autoencoderConfig() throws -> AutoencoderDCConfig { try config(.vae) }

    /// Binds the weights of a component; what is compressed is decoded.
    ///
    /// - Parameter look: gets them.
    private func network<Model: Network>(
        _ component: PipelineComponent, _ look: (any TensorSource) throws -> Void = { _ in }
    ) throws -> Model {
        let opened = try opened(component)
        return try ModelFault.advising(place(component)) {
            let weights = try opened.source.resident(using: workers)
            try look(weights)
            let bound = try opened.config.network(weights, label: place(component))
            guard let model = bound.entries.lazy.compactMap({ $0.network as? Model }).first else {
                throw foreign(component, opened.config)
            }
            return model
        }
    }

    private func config<Config: NetworkConfiguration>(
        _ component: PipelineComponent
    ) throws -> Config {
        let opened = try opened(component)
        guard let config = opened.config as? Config else {
            throw foreign(component, opened.config)
        }
        return config
    }

    private func foreign(
        _ component: PipelineComponent, _ config: any NetworkConfiguration
    ) -> BadDataError {
        BadDataError(
            file: place(component),
            reason: "is a \(config.networkClass.name), which cannot be the "
                + "\(component.rawValue) of a \(pipeline.rawValue)",
            remedy: "check --component \(component.rawValue)=PATH")
    }
}
