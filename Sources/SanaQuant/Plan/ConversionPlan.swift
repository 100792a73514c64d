import SanaModel

/// What a conversion will do to every tensor, decided before anything is written.
public struct ConversionPlan: Sendable, Equatable {
    /// What becomes of one tensor, and why.
    public struct Decision: Sendable, Equatable {
        public let tensor: TensorInfo
        public let role: TensorRole
        public let conversion: TensorConversion
        /// Text of the rule that decided.
        public let reason: String
        /// The user's rule that decided, as written; `nil` for rules of our own.
        public let userRule: String?
        /// Values that are NaN or infinite and stay as they are, as the user allows.
        public let nonFiniteCount: Int
        /// BF16 values that fp16 does not hold, for which the tensor stays BF16 or which change;
        /// 0 where neither is so, or where they were not counted.
        public let fp16InexactCount: Int
        /// The tensor or tensors it becomes; for int8 the weight, then its scale.
        public let outputs: [TensorInfo]

        public var bytesBefore: Int { tensor.byteCount }
        public var bytesAfter: Int { outputs.reduce(0) { $0 + $1.byteCount } }
    }

    public let target: ConversionTarget
    /// One per source tensor, in the order of the source.
    public let decisions: [Decision]

    /// Bytes of values in the source.
    public var bytesBefore: Int { decisions.reduce(0) { $0 + $1.bytesBefore } }
    /// Bytes of values after conversion, before compression.
    public var bytesAfter: Int { decisions.reduce(0) { $0 + $1.bytesAfter } }

    /// Applies the rules to every tensor.
    ///
    /// - Parameters:
    ///   - expected: the tensors of the network.
    ///   - rules: by default the target's own; tensors that none matches are kept.
    ///   - nonFinite: values that are NaN or infinite, of the tensors that may hold some. These
    ///     tensors are kept as they are, whatever the rules say.
    ///   - fp16Inexact: values that fp16 would change, of the tensors that hold some. These stay as
    ///     they are where no rule of the user speaks of them.
    ///   - mayBeEmpty: whether a plan that converts nothing is no error, as for one of many files.
    ///   - file: the checkpoint, for messages.
    /// - Throws: `ConversionError` when the source is int8 and the target is not, when two tensors
    ///   would get the same name, or when the plan leaves nothing in the type asked for.
    public init(
        _ tensors: [TensorInfo], _ expected: ExpectedTensors, target: ConversionTarget,
        rules: [ConversionRule]? = nil,
        nonFinite: [String: Int] = [:], fp16Inexact: [String: Int] = [:],
        mayBeEmpty: Bool = false, file: String
    ) throws(ConversionError) {
        let rules =
            nonFinite.map { name, count in
                ConversionRule(.keep, reason: "holds \(count) values that are NaN or infinite") {
                    $0.name == name
                }
            } + (rules ?? ConversionRule.builtIn(for: target, expected))
        let names = Set(tensors.map(\.name))
        var decisions: [Decision] = []
        for tensor in tensors {
            if target != .int8, tensor.dtype == .i8,
                names.contains(scaleName(of: tensor.name) ?? "")
            {
                throw ConversionError(file, .sourceIsQuantized(tensor: tensor.name, target: target))
            }
            let rule = rules.first { $0.matches(tensor) }
            let conversion = rule?.conversion ?? .keep
            guard let outputs = conversion.outputs(of: tensor) else {
                throw ConversionError(
                    file,
                    .notConvertible(
                        tensor: tensor.name, shape: tensor.shape, rule: rule?.reason ?? ""))
            }
            if let taken = outputs.first(where: {
                $0.name != tensor.name && names.contains($0.name)
            }) {
                throw ConversionError(file, .nameTaken(tensor: tensor.name, name: taken.name))
            }
            decisions.append(
                Decision(
                    tensor: tensor, role: expected.role(of: tensor), conversion: conversion,
                    reason: rule?.reason ?? "no rule matches", userRule: rule?.userRule,
                    nonFiniteCount: nonFinite[tensor.name] ?? 0,
                    fp16InexactCount: rule?.keepsExact ?? false || outputs[0].dtype == .f16
                        ? fp16Inexact[tensor.name] ?? 0 : 0,
                    outputs: outputs))
        }
        let touched = decisions.contains {
            $0.conversion != .keep || $0.tensor.dtype == target.dtype
        }
        guard touched || mayBeEmpty else { throw ConversionError(file, .nothingToConvert(target)) }
        self.target = target
        self.decisions = decisions
    }
}

extension TensorConversion {
    /// What `tensor` becomes; `nil` when its type, shape or name do not allow the conversion.
    func outputs(of tensor: TensorInfo) -> [TensorInfo]? {
        switch self {
        case .keep: return [tensor]
        case .cast(let dtype):
            guard tensor.dtype.isFloatWeight, dtype.isFloatWeight else { return nil }
            return TensorInfo(name: tensor.name, dtype: dtype, shape: tensor.shape).map { [$0] }
        case .int8PerChannel:
            // A matrix, or a convolution over all channels, which is one of its taps.
            guard tensor.dtype.isFloatWeight, tensor.elementCount > 0,
                tensor.shape.count == 2 || tensor.shape.count == 4,
                tensor.shape[1] > 1 || tensor.shape.dropFirst(2).allSatisfy({ $0 == 1 }),
                let name = scaleName(of: tensor.name),
                let weight = TensorInfo(name: tensor.name, dtype: .i8, shape: tensor.shape),
                let scale = TensorInfo(
                    name: name, dtype: .f32,
                    shape: [tensor.shape[0]] + tensor.shape.dropFirst().map { _ in 1 })
            else { return nil }
            return [weight, scale]
        }
    }
}

/// `X.scale` for `X.weight`; `nil` for other names.
private func scaleName(of weight: String) -> String? {
    weight.hasSuffix(".weight") ? weight.dropLast("weight".count) + "scale" : nil
}
