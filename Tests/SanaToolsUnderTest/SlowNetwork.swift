import Foundation
import SanaModel

/// A network with a module that really is slower, so that what finds a slow model can be measured.
///
/// `SANA_SLOWDOWN=transformer_blocks.1=0.05` gives that block 5 % more work, `total=0.03` the whole
/// forward 3 %.
///
/// One forward at a time, as its contexts allow no more.
final class SlowNetwork: Network, @unchecked Sendable {
    private let inner: any Network
    private let path: String
    private let share: Double
    /// That of the caller, and what stands for it here.
    private var contexts: (given: ForwardContext, slow: ForwardContext)?

    private init(_ inner: any Network, _ path: String, _ share: Double) {
        (self.inner, self.path, self.share) = (inner, path, share)
    }

    /// `network` with the slowdown that the environment asks for.
    static func around(_ network: any Network) -> any Network {
        let parts = ProcessInfo.processInfo.environment["SANA_SLOWDOWN"]?.split(separator: "=")
        guard let parts, parts.count == 2, let share = Double(parts[1]), 0 < share, share < 10
        else { return network }
        return SlowNetwork(network, String(parts[0]), share)
    }

    func forward(
        _ inputs: NamedTensors, _ context: ForwardContext
    ) throws(InputError) -> [DenseTensor] {
        guard let probe = context.probe else { return try inner.forward(inputs, context) }
        if contexts?.given !== context {
            let slow = ForwardContext(
                workers: context.workers, numerics: context.numerics, compute: context.compute,
                probe: Slowdown(path, share, probe, context.workers))
            contexts = (context, slow)
        }
        return try inner.forward(inputs, contexts?.slow ?? context)
    }

    var className: String { inner.className }

    var inputSpecs: [InputSpec] { inner.inputSpecs }

    var outputs: [String] { inner.outputs }

    var capturesModules: Bool { inner.capturesModules }

    func check(_ inputs: NamedTensors) throws(InputError) { try inner.check(inputs) }

    func sizes(_ request: SizeRequest) -> NetworkSizes { inner.sizes(request) }

    func clearPadding(_ values: FloatBuffer, ofOutput index: Int, _ inputs: NamedTensors) {
        inner.clearPadding(values, ofOutput: index, inputs)
    }

    func hidden(_ weights: [String], by inputs: NamedTensors) -> [String] {
        inner.hidden(weights, by: inputs)
    }
}
