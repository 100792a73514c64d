import SanaModel

@testable import SanaWorkbench

extension LayerInputs {
    /// Of a network of `config`, in a small forward.
    init(_ config: any NetworkConfiguration, captured: [String]) throws {
        let (bound, tensors) = try config.unbound()
        let sizes = bound.network.sizes(SizeRequest(height: 8, width: 8, tokens: 3))
        self.init(try bound.network.graph(sizes), tensors, captured: captured)
    }
}
