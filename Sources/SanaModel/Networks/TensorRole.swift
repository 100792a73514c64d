/// What a tensor is for in its network, and whether rounding it to int8 is worth its error.
///
/// The layer that binds a tensor knows its role; a network with roles of its own declares them in
/// its room.
public struct TensorRole: Hashable, Sendable {
    /// As reports show it.
    public let name: String
    /// Why int8 conversion leaves it as it is; `nil` for roles that it rounds, whose error is
    /// confined to one product and absorbed by the residuals around it.
    public let reasonToKeep: String?

    init(_ name: String, keep reasonToKeep: String?) {
        (self.name, self.reasonToKeep) = (name, reasonToKeep)
    }

    /// Projection of self- or cross-attention.
    public static let attention = TensorRole("attention", keep: nil)
    /// 1×1 convolution of the feed-forward.
    public static let pointwiseConvolution = TensorRole("pointwise convolution", keep: nil)
    /// 3×3 convolution over all channels.
    public static let convolution = TensorRole("convolution", keep: nil)
    /// Projection of a feed-forward without convolutions.
    public static let feedForward = TensorRole("feed-forward", keep: nil)
    public static let groupedConvolution = TensorRole(
        "grouped convolution",
        keep: "grouped convolution: a channel sees only one head's, too few to share a scale")
    /// First or last layer of an autoencoder's half, towards pixels or latents.
    public static let endConvolution = TensorRole(
        "end convolution",
        keep: "end convolution: its error is the image's or the latent's, and it is small")
    public static let tokenEmbedding = TensorRole(
        "token embedding", keep: "token embedding: rows are looked up, and enter every layer")
    public static let depthwiseConvolution = TensorRole(
        "depthwise convolution",
        keep: "depthwise convolution: nine values per channel, too few to share a scale")
    public static let norm = TensorRole("norm", keep: "norm: one value scales a whole channel")
    /// `scale_shift_table`
    public static let table = TensorRole(
        "table", keep: "table: modulates every token of a block, and is small")
    /// Patch, timestep or caption embedding.
    public static let embedding = TensorRole(
        "embedding", keep: "embedding: its error enters every block, and it is small")
    public static let outputHead = TensorRole(
        "output head", keep: "output head: its error is the output's error")
    public static let bias = TensorRole("bias", keep: "bias: one value per channel")
    /// Scale of an int8 weight.
    public static let scale = TensorRole("scale", keep: "scale of an int8 weight")
    /// A tensor that the network does not have.
    public static let other = TensorRole("other", keep: "a role that the int8 rules do not know")
}

/// The part of a network that a tensor belongs to, weight, bias and scale alike: what sizes are
/// summed over.
public struct TensorPart: Hashable, Sendable {
    /// As reports and JSON call it.
    public let name: String

    init(_ name: String) { self.name = name }

    public static let embeddings = TensorPart("embeddings")
    public static let tablesAndNorms = TensorPart("tables_norms")
    public static let output = TensorPart("output")
    public static let attention = TensorPart("attention")
    public static let feedForward = TensorPart("feed_forward")
    public static let norms = TensorPart("norms")
    public static let other = TensorPart("other")
}

/// A tensor that a network calls for.
public struct ExpectedTensor: Sendable, Equatable {
    /// Name in the checkpoint.
    public let name: String
    public let shape: [Int]
    public let role: TensorRole
    public let part: TensorPart
    /// Path of the module that computes with it.
    public let module: String
}

/// Every tensor that a network calls for, in the order in which it binds them.
public struct ExpectedTensors: Sendable {
    public let all: [ExpectedTensor]
    private let places: [String: Int]

    init(_ all: [ExpectedTensor]) {
        self.all = all
        places = Dictionary(zip(all.map(\.name), all.indices)) { first, _ in first }
    }

    /// A network that nothing is known of.
    public static let none = ExpectedTensors([])

    /// The tensor called `name`; `nil` where the network has none. The scale of an int8 weight
    /// belongs to its weight.
    public subscript(name: String) -> ExpectedTensor? {
        if let place = places[name] { return all[place] }
        guard name.hasSuffix(".scale"),
            let place = places[name.dropLast("scale".count) + "weight"]
        else { return nil }
        let weight = all[place]
        return ExpectedTensor(
            name: name, shape: [weight.shape[0]] + weight.shape.dropFirst().map { _ in 1 },
            role: .scale, part: weight.part, module: weight.module)
    }

    /// What a tensor is for; `other` where the network has none of its name, number of dimensions
    /// and kernel.
    public func role(of tensor: TensorInfo) -> TensorRole {
        guard let expected = self[tensor.name], expected.shape.count == tensor.shape.count,
            expected.shape.dropFirst(2) == tensor.shape.dropFirst(2)
        else { return .other }
        return expected.role
    }

    /// Where a tensor belongs; `other` where the network has none of its name.
    public func part(of tensor: TensorInfo) -> TensorPart { self[tensor.name]?.part ?? .other }
}
