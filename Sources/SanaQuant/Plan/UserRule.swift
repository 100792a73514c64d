import SanaModel

/// A rule as a user writes it, `REGEX=TYPE`: what becomes of the tensors whose whole name the
/// regular expression matches.
///
/// `COMPONENT:REGEX=TYPE` is about that component of a repository, others are about its
/// transformer.
///
/// TYPE is `int8`, `fp16`, `bf16`, `fp32` or `keep`. Rules come before the built-in ones and the
/// first that matches decides, also where fp16 then rounds.
public struct UserRule: Sendable {
    /// As written.
    public let text: String
    /// The component of a repository that it is about, where it names one.
    public private(set) var component: String?
    /// `nil` for `keep`.
    let target: ConversionTarget?
    private let pattern: BoundedExpression

    /// Longest rule accepted, in UTF-8 bytes.
    private static let maximumByteCount = 1000
    /// - Parameter text: the type follows the last `=`.
    /// - Throws: `RuleError`.
    public init(_ text: String) throws(RuleError) {
        guard text.utf8.count <= Self.maximumByteCount else { throw RuleError(text, .tooLong) }
        guard let separator = text.lastIndex(of: "="), separator > text.startIndex else {
            throw RuleError(text, .noType)
        }
        let type = String(text[text.index(after: separator)...])
        target = ConversionTarget(rawValue: type)
        guard target != nil || type == "keep" else { throw RuleError(text, .type(type)) }
        // Names of tensors have no colon, and an expression with one does not begin with a word.
        let colon = text[..<separator].firstIndex(of: ":")
        let name = colon.map { text[..<$0] }
        let isNamed = name?.allSatisfy { $0.isLetter || $0.isNumber || $0 == "_" } == true
        component = isNamed ? name.map(String.init) : nil
        let start = isNamed ? colon.map(text.index(after:)) : nil
        guard let whole = BoundedExpression(String(text[(start ?? text.startIndex)..<separator]))
        else { throw RuleError(text, .pattern) }
        (self.text, pattern) = (text, whole)
    }

    /// The rules of a plan that do what `rules` say of `tensors`.
    ///
    /// - Throws: `RuleError` when a rule decides nothing, or when matching takes too long, which
    ///   some expressions do on harmless names.
    static func conversionRules(
        _ rules: [UserRule], for tensors: [TensorInfo]
    ) throws(RuleError) -> [ConversionRule] {
        var decided: [Set<String>] = rules.map { _ in [] }
        for tensor in tensors {
            for (index, rule) in rules.enumerated() where try rule.matches(tensor.name) {
                decided[index].insert(tensor.name)
                break
            }
        }
        if let unused = decided.firstIndex(where: \.isEmpty) {
            throw RuleError(rules[unused].text, .unused)
        }
        return zip(rules, decided).flatMap { rule, names in
            let matches: (TensorInfo) -> Bool = { names.contains($0.name) }
            let written = "rule '\(rule.text.printable)'"
            guard let target = rule.target else {
                return [
                    ConversionRule(.keep, reason: written, userRule: rule.text, matches: matches)
                ]
            }
            let conversion: TensorConversion =
                target == .int8 ? .int8PerChannel : .cast(target.dtype)
            return [
                ConversionRule(.keep, reason: written, userRule: rule.text) {
                    matches($0) && $0.dtype == target.dtype
                },
                ConversionRule(
                    conversion, reason: written, userRule: rule.text, matches: matches),
            ]
        }
    }

    /// The same, where only that component's tensors are looked at.
    var withinComponent: UserRule {
        var rule = self
        rule.component = nil
        return rule
    }

    private func matches(_ name: String) throws(RuleError) -> Bool {
        guard component == nil else { return false }
        guard let isMatch = pattern.matches(name) else {
            throw RuleError(text, .tooSlow(tensor: name))
        }
        return isMatch
    }
}

/// A rule that cannot be followed.
public struct RuleError: DiagnosticError, Equatable {
    /// What is wrong with the rule.
    public enum Problem: Sendable, Equatable {
        case tooLong
        case noType
        case type(String)
        case pattern
        case tooSlow(tensor: String)
        case unused
        case component(converted: [String])
    }

    /// The rule as written.
    public let rule: String
    public let problem: Problem

    init(_ rule: String, _ problem: Problem) { (self.rule, self.problem) = (rule, problem) }

    public var category: DiagnosticCategory { .usage }

    public var description: String {
        let reason =
            switch problem {
            case .tooLong: "is too long"
            case .noType: "is not REGEX=TYPE"
            case .type(let type): "has the unknown type '\(type.printable)'"
            case .pattern: "is not a regular expression"
            case .tooSlow(let tensor): "takes too long to match '\(tensor.printable)'"
            case .unused: "applies to no tensor"
            case .component: "applies to a component that is not converted"
            }
        return "rule '\(rule.printable)' \(reason)"
    }

    public var page: HelpPage? {
        switch problem {
        case .noType, .type, .pattern: .rules
        case .tooLong, .tooSlow, .unused, .component: nil
        }
    }

    public var remedy: String? {
        switch problem {
        case .tooLong, .noType, .type:
            "write REGEX=TYPE with TYPE int8, fp16, bf16, fp32 or keep, such as '.*attn2.*weight=fp16'"
        case .pattern: "quote it for the shell, and escape ( ) [ ] . * + ? as \\( or \\."
        case .tooSlow: "avoid repetitions inside repetitions, such as (a+)+"
        case .component(let converted):
            converted.isEmpty
                ? "leave out the component name; only the transformer is converted"
                : "name one of " + converted.map(\.printable).joined(separator: ", ")
        case .unused:
            "it must match a whole name that no earlier rule matches; 'convert --dry-run --format json' lists names"
        }
    }
}
