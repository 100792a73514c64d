/// Where a module is in the tree of a network, derived from its path.
public enum ModuleLevel: Sendable, Equatable {
    /// Contained in no other and not one of a list: `patch_embed`, `decoder.conv_in`.
    case outer
    /// One of a list of blocks, by whose name it is called: `transformer_blocks.3`,
    /// `decoder.up_blocks.0`.
    case block
    /// Directly in a block: its attention, its feed-forward.
    case part
    /// Anything deeper.
    case inner

    /// - Parameter path: as in a checkpoint, such as `transformer_blocks.3.attn1`.
    public init(path: String) {
        let parts = path.split(separator: ".")
        guard let number = parts.firstIndex(where: { Int($0) != nil }), number > 0 else {
            let isHalf = parts.first.map { Self.halves.contains(String($0)) } ?? false
            self = parts.count == (isHalf ? 2 : 1) ? .outer : .inner
            return
        }
        // Lists inside of modules, as `to_out.0`, are theirs.
        let isList = Self.listSuffixes.contains { parts[number - 1].hasSuffix($0) }
        self =
            switch parts.count - number {
            case 1 where isList: .block
            case 2 where isList: .part
            default: .inner
            }
    }

    /// Modules that are not run themselves, but those in them.
    private static let halves: Set = ["encoder", "decoder"]
    private static let listSuffixes = ["blocks", "layers"]
}
