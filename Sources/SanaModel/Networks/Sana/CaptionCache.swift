/// Keys and values that a transformer's blocks make of its captions: the same in every step of a
/// sampling, so they are computed in the first one.
///
/// Give it to every forward of one model as `SanaInputs.captionCache`, with the embeddings of the
/// first one: a forward whose `encoderHiddenStates` are in other memory, or that computes in
/// another mode, fills it anew. Their values must not change meanwhile. Results have the same bits
/// as without. It takes two rows of floats for each caption token and block, and is for one forward
/// at a time.
public final class CaptionCache: @unchecked Sendable {
    private var layers: [String: (key: Matrix, value: Matrix)] = [:]
    private var captions: DenseTensor?
    private var compute: ComputeMode?

    public init() {}

    /// Whether it has what a forward with `captions` reads; if not, it is empty from now on.
    func isFilled(from captions: DenseTensor, _ compute: ComputeMode) -> Bool {
        if let known = self.captions, known.values === captions.values,
            known.shape == captions.shape, self.compute == compute
        {
            return true
        }
        (self.captions, self.compute, layers) = (captions, compute, [:])
        return false
    }

    /// Of the attention at `path`.
    subscript(path: String) -> (key: Matrix, value: Matrix)? {
        get { layers[path] }
        set { layers[path] = newValue }
    }
}
