/// What the name of a file in a component's directory says of it.
///
/// Source: diffusers 0.42.1 (`_add_variant`, `_fetch_index_file_legacy`) and transformers, whose
/// files are called `model*`.
package struct WeightName: Sendable, Equatable {
    package enum Kind: Sendable, Equatable {
        case single
        case shard
        case index
    }

    package let name: String
    /// `diffusion_pytorch_model` or `model`.
    package let stem: String
    package let kind: Kind
    /// Empty for the plain names.
    package let variant: String
    /// The name that diffusers gives it today, where this is another.
    package let currentName: String?

    /// `nil` for names that are none of safetensors weights or their index.
    package init?(_ name: String, stem: String) {
        guard name.hasPrefix(stem) else { return nil }
        let rest = name.dropFirst(stem.count)
        (self.name, self.stem) = (name, stem)
        if let match = rest.wholeMatch(of: /(\.[^.\-]+)?\.safetensors/) {
            (kind, variant, currentName) = (.single, Self.bare(match.1), nil)
        } else if let match = rest.wholeMatch(
            of: /(\.[^.\-]+)?(-[0-9]+-of-[0-9]+)(\.[^.\-]+)?\.safetensors/)
        {
            let variant = Self.bare(match.1 ?? match.3)
            let current = stem + Self.dotted(variant) + match.2 + ".safetensors"
            (kind, self.variant) = (.shard, variant)
            currentName = current == name ? nil : current
        } else if let match = rest.wholeMatch(
            of: /(\.[^.\-]+)?\.safetensors(\.[^.\-]+)?\.index(\.[^.\-]+)?\.json/)
        {
            let variant = Self.bare(match.1 ?? match.2 ?? match.3)
            let current = stem + ".safetensors.index" + Self.dotted(variant) + ".json"
            (kind, self.variant) = (.index, variant)
            currentName = current == name ? nil : current
        } else {
            return nil
        }
    }

    private static func bare(_ dotted: Substring?) -> String { String(dotted?.dropFirst() ?? "") }
    private static func dotted(_ variant: String) -> String {
        variant.isEmpty ? "" : "." + variant
    }

    /// Whether a name is that of weights in Python's pickle format.
    package static func isPickle(_ name: String) -> Bool {
        [".bin", ".pt", ".pth", ".ckpt"].contains { name.hasSuffix($0) }
            && !name.hasPrefix("openvino_")
    }
}
