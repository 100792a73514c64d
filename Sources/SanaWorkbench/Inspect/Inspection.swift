import SanaModel
import SanaQuant

/// What a checkpoint holds, and everything that is wrong with it.
package struct Inspection: Sendable {
    /// What to look into.
    package struct Options: Sendable {
        package var subfolder: String?
        package var variant: String?
        /// A config.json in place of the model's own.
        package var config: String?
        /// Read all values and hash them.
        package var digest = false
        /// Read all values and measure them.
        package var statistics = false
        /// Open the other components of a pipeline.
        package var isDeep = false
        /// Which weights of a training checkpoint.
        package var weights = TrainedWeights.model

        package init(
            subfolder: String? = nil, variant: String? = nil, config: String? = nil,
            digest: Bool = false, statistics: Bool = false, isDeep: Bool = false,
            weights: TrainedWeights = TrainedWeights.model
        ) {
            (self.subfolder, self.variant, self.config) = (subfolder, variant, config)
            (self.digest, self.statistics, self.isDeep) = (digest, statistics, isDeep)
            self.weights = weights
        }
    }

    /// Tensors of one role and type.
    package struct Group: Sendable {
        package let role: TensorRole
        package let dtype: DType
        package var tensors: Int
        package var parameters: Int
        package var bytes: Int
    }

    package struct File: Sendable {
        package let name: String
        package let byteCount: Int
    }

    /// The model as the user called it.
    package let label: String
    package let components: [RepositoryLint.Component]
    package let files: [File]
    /// Variants in the transformer's directory, the plain one as an empty text.
    package let variants: [String]
    /// The variant that was looked into.
    package let variant: String?
    /// `config.json`, where it could be read.
    package let configJSON: JSONValue?
    /// `nil` where the configuration is absent or wrong.
    package let config: (any NetworkConfiguration)?
    package let tensors: [TensorInfo]
    /// The tensors that the configuration calls for; none where it is absent or wrong.
    package let expected: ExpectedTensors
    /// Architecture of the released models that have these shapes; `nil` for any other.
    package let family: String?
    /// Released models of that architecture with the values that no shape shows, such as the size
    /// of the latent; all of them where there is no configuration.
    package let released: [String]
    package let groups: [Group]
    package let parts: [PartSizes]
    /// What the values are like, where they were read.
    package let values: ValueScan?
    package let problems: [Problem]
    package let digest: String?
    /// Whose names the stored tensors have.
    package let layout: Checkpoint.Layout
    /// How other programs have quantized tensors, the way of most bytes first.
    package let encodings: [Encoding]
    /// Notes on how the files were read.
    package let notes: [String]
    /// Adapters that were added to the weights, as `convert` notes them.
    package let adapters: [JSONValue]

    /// Tensors that are stored in one way of another program.
    package struct Encoding: Sendable {
        package let recipe: String
        package var tensors = 0
        /// Bytes in the file.
        package var bytes = 0
    }

    package static func encodings(_ source: any TensorSource) -> [Encoding] {
        var byRecipe: [String: Encoding] = [:]
        for tensor in source.tensors {
            guard let recipe = source.recipe(of: tensor) else { continue }
            byRecipe[recipe, default: Encoding(recipe: recipe)].tensors += 1
            byRecipe[recipe]?.bytes += source.storedByteCount(of: tensor)
        }
        return byRecipe.values.sorted { ($0.bytes, $0.recipe) > ($1.bytes, $1.recipe) }
    }

    package var hasErrors: Bool { problems.contains { $0.severity == .error } }

    package static func groups(_ tensors: [TensorInfo], _ expected: ExpectedTensors) -> [Group] {
        var groups: [Group] = []
        for tensor in tensors {
            let role = expected.role(of: tensor)
            let index =
                groups.firstIndex { $0.role == role && $0.dtype == tensor.dtype }
                ?? {
                    groups.append(
                        Group(role: role, dtype: tensor.dtype, tensors: 0, parameters: 0, bytes: 0))
                    return groups.count - 1
                }()
            groups[index].tensors += 1
            groups[index].parameters += tensor.elementCount
            groups[index].bytes += tensor.byteCount
        }
        return groups.sorted { ($0.bytes, $0.role.name) > ($1.bytes, $1.role.name) }
    }
}
