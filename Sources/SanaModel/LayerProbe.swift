/// Something that watches a forward pass module by module: a comparison, a profile.
///
/// Paths are the module paths of diffusers (`transformer_blocks.3.attn1.to_q`), children between
/// the `begin` and the `end` of their parent. A module with several outputs ends once, with all of
/// them.
public protocol LayerProbe: AnyObject {
    /// The module at `path` is about to run.
    func begin(_ path: String)

    /// The module at `path` has run. The activations are overwritten when this returns.
    func end(_ path: String, _ outputs: [Activation])

    /// A piece of the module at `path` is about to run: modules that are joined row by row take
    /// turns.
    func resume(_ path: String)

    /// That piece has run.
    func pause(_ path: String)

    /// The module at `path` has run, all pieces of it.
    func finish(_ path: String)

    /// Whether activations are looked at. Where they are not, passes between modules are joined to
    /// their products, `end` may get no outputs, and the results are the same.
    var readsActivations: Bool { get }
}

extension LayerProbe {
    public var readsActivations: Bool { true }
    public func resume(_ path: String) {}
    public func pause(_ path: String) {}
    public func finish(_ path: String) {}
}
