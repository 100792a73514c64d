import Libc
import SanaModel

/// Inputs for a profile, where no golden gives them: their values do not bear on speed, only their
/// sizes.
package enum SyntheticInputs {
    /// As the network's table of inputs says, normal numbers from a fixed seed.
    ///
    /// - Throws: `UsageError` for sizes out of range.
    package static func make(_ sizes: NetworkSizes, for network: any Network) throws -> NamedTensors
    {
        guard sizes.values.allSatisfy({ $0 > 0 }) else {
            throw UsageError("a forward needs sizes of at least 1")
        }
        do throws(InputError) { _ = try network.graph(sizes) } catch {
            throw UsageError(error.description)
        }
        var generator = NormalGenerator(seed: 2410)
        func normal(_ shape: [Int]) -> DenseTensor {
            let tensor = DenseTensor(shape: shape)
            for index in 0..<tensor.count { tensor.values.pointer[index] = generator.next() }
            return tensor
        }
        func constant(_ value: Float, _ shape: [Int]) -> DenseTensor {
            let tensor = DenseTensor(shape: shape)
            for index in 0..<tensor.count { tensor.values.pointer[index] = value }
            return tensor
        }
        func whole(below bound: Int, _ shape: [Int]) -> DenseTensor {
            let tensor = DenseTensor(shape: shape)
            for index in 0..<tensor.count {
                tensor.values.pointer[index] = Float(generator.whole(below: bound))
            }
            return tensor
        }
        var inputs: NamedTensors = [:]
        for spec in network.inputSpecs {
            guard let shape = spec.shape(sizes) else { continue }
            switch spec.filling {
            case .normal: inputs[spec.name] = normal(shape)
            case .constant(let value): inputs[spec.name] = constant(value, shape)
            case .whole(let bound): inputs[spec.name] = whole(below: bound, shape)
            case .mask: inputs[spec.name] = constant(1, shape)
            case .absent: continue
            }
        }
        return inputs
    }
}

/// Standard normal values by Box and Muller from SplitMix64.
package struct NormalGenerator {
    private var bits: SplitMix64

    package init(seed: UInt64) { bits = SplitMix64(seed: seed) }

    private mutating func uniform() -> Double { (Double(bits.next() >> 11) + 0.5) * 0x1p-53 }

    /// A whole number from 0 on.
    package mutating func whole(below bound: Int) -> Int { Int(uniform() * Double(bound)) }

    package mutating func next() -> Float {
        Float((-2 * log(uniform())).squareRoot() * cos(2 * .pi * uniform()))
    }
}
