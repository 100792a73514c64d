/// Where a module is in the tree of a network.
public enum ModuleLevel: Sendable, Equatable {
    /// Contained in no other and not one of a list: `patch_embed`, `proj_out`.
    case outer
    /// One of a list of blocks, by whose name it is called.
    case block
    /// Directly in a block: its attention, its feed-forward.
    case part
    /// Anything deeper.
    case inner

    /// - Parameter path: as in a checkpoint, such as `transformer_blocks.3.attn1`.
    public init(path: String) {
        let parts = path.split(separator: ".")
        let isListed = parts.first.map { Self.lists.contains(String($0)) } ?? false
        self =
            switch parts.count - (isListed ? 1 : 0) {
            case ...0: .inner
            case 1: isListed ? .block : .outer
            case 2 where isListed: .part
            default: .inner
            }
    }

    private static let lists: Set<String> = ["transformer_blocks", "controlnet_blocks"]
}
