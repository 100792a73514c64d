import SanaModel

/// How much fp16 may change the values of a tensor.
public enum HalfRoundingPolicy: Sendable {
    /// Nothing in BF16 tensors, and nothing beyond 65504: a tensor that would change is kept.
    case exact
    /// A relative RMS of 1e-6, and nothing beyond 65504.
    case negligible
    /// All that it takes; values beyond 65504 are clipped.
    case any
}

/// One line of the ordered list that decides about tensors: the first rule that matches wins.
public struct ConversionRule {
    /// Whether the rule speaks about a tensor.
    public let matches: (TensorInfo) -> Bool
    public let conversion: TensorConversion
    /// Why, for the reader of the plan.
    public let reason: String
    /// The user's rule as written; `nil` for rules of our own.
    public let userRule: String?
    /// Whether the rule keeps tensors that fp16 would change.
    private(set) var keepsExact = false

    public init(
        _ conversion: TensorConversion, reason: String, userRule: String? = nil,
        matches: @escaping (TensorInfo) -> Bool
    ) {
        (self.matches, self.conversion) = (matches, conversion)
        (self.reason, self.userRule) = (reason, userRule)
    }

    /// Keeps the tensors of which fp16 would change more than `rounding` allows, by what it would
    /// do to each.
    static func keeping(
        _ halves: [String: HalfRounding], _ rounding: HalfRoundingPolicy
    ) -> [ConversionRule] {
        func keep(
            _ reason: String, _ matches: @escaping (HalfRounding) -> Bool
        ) -> ConversionRule {
            let names = Set(halves.filter { matches($0.value) }.keys)
            var rule = ConversionRule(.keep, reason: reason) { names.contains($0.name) }
            rule.keepsExact = true
            return rule
        }
        switch rounding {
        case .any: return []
        case .negligible:
            return [
                keep("fp16 would clip values beyond 65504") { $0.overflows },
                keep("fp16 would round it by a relative RMS of more than \(Codec.negligibleRMS)") {
                    $0.isLarge
                },
            ]
        case .exact:
            return [keep("exact: fp16 would change some of its values") { $0.inexact > 0 }]
        }
    }

    /// The rules for `target`. The last one matches every tensor.
    ///
    /// int8 takes the tensors whose role says so: in a Sana transformer the projections of
    /// attention and the 1×1 convolutions of the feed-forward, which together hold nine tenths of
    /// it.
    ///
    /// - Parameter expected: the tensors of the network, which int8 asks for their roles.
    public static func builtIn(
        for target: ConversionTarget, _ expected: ExpectedTensors
    ) -> [ConversionRule] {
        let dtype = target.dtype
        var rules = [
            ConversionRule(.keep, reason: "already \(dtype.rawValue)") { $0.dtype == dtype },
            ConversionRule(.keep, reason: "not F32, F16 or BF16") { !$0.dtype.isFloatWeight },
            ConversionRule(.keep, reason: "holds no values") { $0.elementCount == 0 },
        ]
        guard target == .int8 else {
            return rules + [ConversionRule(.cast(dtype), reason: "float") { _ in true }]
        }
        rules.append(
            ConversionRule(.int8PerChannel, reason: "one scale per output channel") {
                expected.role(of: $0).reasonToKeep == nil
            })
        var reasons: [String] = []
        for role in expected.all.map(\.role) + [.scale, .other] {
            guard let reason = role.reasonToKeep, !reasons.contains(reason) else { continue }
            reasons.append(reason)
            rules.append(
                ConversionRule(.keep, reason: reason) { expected.role(of: $0) == role })
        }
        return rules
    }
}
