/// A ControlNet's own tensors in NVlabs' checkpoints, which hold the transformer that it is for,
/// too: the parts around the blocks are both models', the blocks and the last layer are not.
///
/// Sources: `diffusion/model/nets/sana_multi_scale_controlnet.py` of NVlabs/Sana, and diffusers'
/// `scripts/convert_sana_controlnet_to_diffusers.py`.
extension OriginalNames {
    /// A block's copy of the transformer's.
    static let copiedBlock = "copied_block"

    /// - Parameter module: below the block.
    @Sendable static func controlNetNames(
        _ index: Int, _ module: String, _ parameter: Substring
    ) -> [String]? {
        switch module {
        case "before_proj" where index == 0: return ["input_block" + parameter]
        case "after_proj": return ["controlnet_blocks.\(index)" + parameter]
        case copiedBlock: return blockNames(index, "", parameter)
        default:
            guard module.hasPrefix(copiedBlock + ".") else { return nil }
            return blockNames(index, String(module.dropFirst(copiedBlock.count + 1)), parameter)
        }
    }
}
