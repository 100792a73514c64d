import SanaModel
import SanaQuant

/// How int8 may be laid out.
package enum Int8Scheme: String, Sendable, CaseIterable {
    /// `convert --dtype int8` with its own rules, which is the SDNQ layout that diffusers loads;
    /// w8a16 and w8a8 compute from the same weights.
    case convert
    /// Loaders that quantize Linear alone and leave 1×1 convolutions in 16 bits, as bitsandbytes,
    /// torchao, quanto and GGUF do.
    case linearOnly = "linear_only"

    fileprivate func rules(_ expected: ExpectedTensors) -> [ConversionRule] {
        let builtIn = ConversionRule.builtIn(for: .int8, expected)
        switch self {
        case .convert: return builtIn
        case .linearOnly:
            return [ConversionRule(.keep, reason: "convolution") { $0.shape.count == 4 }] + builtIn
        }
    }
}

/// Tensors of one part of the transformer: how many, how large, and how large as int8.
package struct PartSizes: Sendable {
    /// A size after conversion.
    package struct Forecast: Sendable {
        package var bytes = 0
        /// Of these, what stays in 16 or 32 bits, scales aside.
        package var floatBytes = 0
    }

    package let part: TensorPart
    package var tensors = 0
    package var parameters = 0
    package var bytes = 0
    /// Empty where the weights are int8 already.
    package var forecasts: [Int8Scheme: Forecast] = [:]

    /// The parts that hold anything.
    package static func make(
        _ tensors: [TensorInfo], _ expected: ExpectedTensors, file: String
    ) -> [PartSizes] {
        var parts: [TensorPart: PartSizes] = [:]
        for tensor in tensors {
            let part = expected.part(of: tensor)
            parts[part, default: PartSizes(part: part)].add(tensor)
        }
        for scheme in Int8Scheme.allCases where !tensors.contains(where: { $0.dtype == .i8 }) {
            guard
                let plan = try? ConversionPlan(
                    tensors, expected, target: .int8, rules: scheme.rules(expected),
                    mayBeEmpty: true, file: file)
            else { continue }
            for decision in plan.decisions {
                let part = expected.part(of: decision.tensor)
                var forecast = parts[part]?.forecasts[scheme] ?? Forecast()
                forecast.bytes += decision.bytesAfter
                if decision.conversion == .keep { forecast.floatBytes += decision.bytesAfter }
                parts[part]?.forecasts[scheme] = forecast
            }
        }
        // The parts of blocks, which hold most, before the rest.
        let outer: [TensorPart] = [.embeddings, .tablesAndNorms, .output, .other]
        var order: [TensorPart] = []
        for part in expected.all.map(\.part)
        where !outer.contains(part) && !order.contains(part) {
            order.append(part)
        }
        order += outer
        return order.compactMap { parts[$0] }
    }

    private mutating func add(_ tensor: TensorInfo) {
        tensors += 1
        parameters += tensor.elementCount
        bytes += tensor.byteCount
    }
}
