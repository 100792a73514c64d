import Foundation
import SanaModel
import SanaQuant

/// A repository of a pipeline, any component of which may come from elsewhere.
package struct OpenedPipeline: PipelineSource {
    /// The repository as it was given, for messages and records.
    package let label: String
    package let path: String
    package let pipeline: PipelineClass
    package let variant: String?
    package let workers: WorkerPool
    private let places: [PipelineComponent: String]
    private let instructionFolder: InstructionFolder?
    /// Weights that are rounded to int8 as they are read.
    private var rounded: [PipelineComponent: Set<String>] = [:]

    /// The same with weights rounded to int8, as conversion rounds them.
    package func rounding(_ weights: [PipelineComponent: Set<String>]) -> OpenedPipeline {
        var pipeline = self
        pipeline.rounded = weights
        return pipeline
    }

    /// - Parameters:
    ///   - places: components that lie elsewhere, by name: a folder, a file, an archive, or another
    ///     repository.
    ///   - instructionFolder: where instructions are kept between runs.
    /// - Throws: `FileError`; `BadDataError` if the directory is not a pipeline, `UsageError` if
    ///   the pipeline has no such component.
    package init(
        _ model: String, places: [String: String] = [:], variant: String? = nil,
        instructionFolder: InstructionFolder? = nil, workers: WorkerPool
    ) throws {
        self.instructionFolder = instructionFolder
        path = try ModelPath.resolve(model)
        guard path.isFolder else {
            guard path.pathExists else { throw FileError(.open, path, code: ENOENT) }
            throw UsageError(
                "\(path.printable) is a file, but a pipeline is a repository",
                remedy:
                    "give the directory with \(Checkpoint.indexName); its components may be files: "
                    + "--component transformer=FILE")
        }
        let index = path.appendingPath(Checkpoint.indexName)
        pipeline = try ModelFault.advising(model) {
            try PipelineClass(index: JSONFile.read(index, allowsNonFinite: true), file: index)
        }
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

    /// What is asked of it, as diffusers would where nothing is said.
    ///
    /// - Parameters:
    ///   - size: of the picture; `nil`: the model's own.
    ///   - usesResolutionBinning: `nil`: where diffusers has sizes for it.
    /// - Throws: `UsageError` for a number of steps that no scheduler takes, or an error of reading
    ///   the configurations.
    package func request(
        prompts: [String], size: (height: Int, width: Int)?, steps: Int?,
        usesResolutionBinning: Bool?
    ) throws -> PipelineRequest {
        let config = try transformerConfig()
        let side = try config.sampleSize * autoencoderConfig().spatialCompressionRatio
        var request = PipelineRequest(
            pipeline, prompts: prompts, height: size?.height ?? side, width: size?.width ?? side)
        if let steps {
            guard FlowSchedulers.stepCounts.contains(steps) else {
                throw UsageError("--steps must be in \(FlowSchedulers.stepCounts), not \(steps)")
            }
            request.steps = steps
            if steps != 2 { request.intermediateTimestep = nil }
        }
        request.usesResolutionBinning =
            usesResolutionBinning
            ?? (ResolutionBins(sampleSize: config.sampleSize, pipeline: pipeline) != nil)
        return request
    }

    /// What records need to say of all components together.
    package struct Identity: Sendable {
        /// SHA-256 over the digests of the components' weights.
        package let digest: String
        /// Stored types, those of the transformer first.
        package let dtype: String
        /// Pipelines with the same one do the same work: class, networks and their stored types.
        package let architecture: String
        package let storedBytes: Int
        package let hasInt8: Bool

        /// See `LoadedModel.compute`.
        package func compute(_ choice: ComputeMode) -> String { choice.name(hasInt8: hasInt8) }
    }

    /// - Throws: an error of reading the components.
    package func identity() throws -> Identity {
        let networks =
            [.transformer] + pipeline.components.filter { $0.isNetwork && $0 != .transformer }
        var (digests, lines): ([String], [String]) = ([], [pipeline.rawValue])
        var (types, bytes, hasInt8): ([String], Int, Bool) = ([], 0, false)
        for component in networks {
            let opened = try opened(component)
            digests.append(try opened.sourceDigest(workers: workers))
            lines.append("\(component.rawValue) \(opened.architecture) \(opened.dtypes)")
            for type in opened.dtypes.split(separator: "+").map(String.init)
            where !types.contains(type) {
                types.append(type)
            }
            bytes += opened.source.tensors.reduce(0) { $0 + $1.byteCount }
            hasInt8 = hasInt8 || opened.hasInt8
        }
        func hash(_ lines: [String]) -> String {
            ContentHash.sha256(of: lines.joined(separator: "\n")).hexadecimal
        }
        return Identity(
            digest: hash(digests), dtype: types.joined(separator: "+"),
            architecture: hash(lines), storedBytes: bytes, hasInt8: hasInt8)
    }

    // MARK: Components

    package func tokenizer() throws -> Tokenizer {
        try ModelFault.advising(label) { try Tokenizer.open(place(.tokenizer)) }
    }

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
        return try ModelFault.advising(label) {
            (try JSONFile.read(file, allowsNonFinite: true), file)
        }
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
            let bound = try opened.config.network(
                rounded[component].map { QuantizedSource(weights, quantizing: $0) } ?? weights,
                label: place(component))
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
