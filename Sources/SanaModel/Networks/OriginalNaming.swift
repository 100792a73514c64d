/// The names that a network's tensors have in its authors' own checkpoints, before diffusers'
/// converter has been at them.
struct OriginalNaming: Sendable {
    /// Whether tensors have them.
    let matches: @Sendable ([StoredTensor]) -> Bool
    /// The tensors under diffusers' names, those stored as one taken apart.
    let renamed: @Sendable (_ tensors: [StoredTensor], _ file: String) throws -> [StoredTensor]
    /// What `config.json` would hold, from shapes: by their own names, and by diffusers'.
    let configuration:
        @Sendable (_ inner: [TensorInfo], _ source: any TensorSource, _ file: String) throws
            -> JSONValue

    /// Those of every network that has some.
    static let all = [sana, autoencoderDC]
}
