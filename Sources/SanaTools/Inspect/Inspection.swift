import SanaModel
import SanaQuant

/// What a checkpoint holds, and everything that is wrong with it.
struct Inspection: Sendable {
    /// What to look into.
    struct Options: Sendable {
        var subfolder: String?
        var variant: String?
        /// A config.json in place of the model's own.
        var config: String?
        /// Read all values and hash them.
        var digest = false
        /// Read all values and measure them.
        var statistics = false
        /// Open the other components of a pipeline.
        var isDeep = false
        /// Which weights of a training checkpoint.
        var weights = TrainedWeights.model
    }

    /// Tensors of one role and type.
    struct Group: Sendable {
        let role: TensorRole
        let dtype: DType
        var tensors: Int
        var parameters: Int
        var bytes: Int
    }

    struct File: Sendable {
        let name: String
        let byteCount: Int
    }

    /// The model as the user called it.
    let label: String
    let components: [RepositoryLint.Component]
    let files: [File]
    /// Variants in the transformer's folder, the plain one as an empty text.
    let variants: [String]
    /// The variant that was looked into.
    let variant: String?
    /// `config.json`, where it could be read.
    let configJSON: JSONValue?
    /// `nil` where the configuration is absent or wrong.
    let config: (any NetworkConfiguration)?
    let tensors: [TensorInfo]
    /// The tensors that the configuration calls for; none where it is absent or wrong.
    let expected: ExpectedTensors
    /// Architecture of the released models that have these shapes; `nil` for any other.
    let family: String?
    /// Released models of that architecture with the values that no shape shows, such as the size
    /// of the latent; all of them where there is no configuration.
    let released: [String]
    let groups: [Group]
    let parts: [PartBytes]
    /// What the values are like, where they were read.
    let values: ValueScan?
    let problems: [Problem]
    let digest: String?
    /// Whose names the stored tensors have.
    let layout: Checkpoint.Layout
    /// How other programs have quantized tensors, the way of most bytes first.
    let encodings: [Encoding]
    /// Remarks on how the files were read.
    let notes: [String]
    /// Adapters that were added to the weights, as `convert` notes them.
    let adapters: [JSONValue]

    /// Tensors that are stored in one way of another program.
    struct Encoding: Sendable {
        let recipe: String
        var tensors = 0
        /// Bytes in the file.
        var bytes = 0
    }

    static func encodings(_ source: any TensorSource) -> [Encoding] {
        var byRecipe: [String: Encoding] = [:]
        for tensor in source.tensors {
            guard let recipe = source.recipe(of: tensor) else { continue }
            byRecipe[recipe, default: Encoding(recipe: recipe)].tensors += 1
            byRecipe[recipe]?.bytes += source.storedByteCount(of: tensor)
        }
        return byRecipe.values.sorted { ($0.bytes, $0.recipe) > ($1.bytes, $1.recipe) }
    }

    var hasErrors: Bool { problems.contains { $0.severity == .error } }

    static func groups(_ tensors: [TensorInfo], _ expected: ExpectedTensors) -> [Group] {
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
