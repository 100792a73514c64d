import SanaModel
import Testing

@testable import SanaQuant

@Suite struct UserRuleTests {
    private static let query = "transformer_blocks.0.attn1.to_q.weight"

    private func tensors() throws -> [TensorInfo] {
        let shapes: [(String, [Int])] = [
            (Self.query, [4, 8]), ("transformer_blocks.0.attn2.to_q.weight", [4, 8]),
            ("transformer_blocks.0.ff.conv_depth.weight", [4, 1, 3, 3]),
            ("proj_out.weight", [4, 8]),
            ("proj_out.weight.old", [4, 8]),
        ]
        return try shapes.map { try #require(TensorInfo(name: $0, dtype: .bf16, shape: $1)) }
    }

    private func plan(_ target: ConversionTarget, _ rules: [String]) throws -> ConversionPlan {
        let tensors = try tensors()
        return try ConversionPlan(
            tensors, expected, target: target,
            rules: UserRule.conversionRules(rules.map { try UserRule($0) }, for: tensors)
                + ConversionRule.builtIn(for: target, expected), file: "model")
    }

    private func problem(_ body: () throws -> Void) -> RuleError? {
        do { try body() } catch { return error as? RuleError }
        return nil
    }

    @Test func firstRuleThatMatchesTheWholeNameDecides() throws {
        let rules = [#".*\.attn1\..*=keep"#, "transformer.*attn.*=fp16", "proj_out.weight=int8"]
        let plan = try plan(.int8, rules)
        #expect(
            plan.decisions.map(\.conversion) == [.keep, .cast(.f16), .keep, .int8PerChannel, .keep])
        #expect(plan.decisions.map(\.userRule) == [rules[0], rules[1], nil, rules[2], nil])
        #expect(plan.decisions[1].reason == "rule '\(rules[1])'")
    }

    @Test func typeOfItsOwnMeansTheSameBytes() throws {
        #expect(try plan(.int8, ["proj_out.weight=bf16"]).decisions[3].conversion == .keep)
    }

    @Test(arguments: ["a", "=int8", "", "a=int4", "a=", "a=INT8"])
    func ruleWithoutPatternOrKnownTypeIsRefused(_ text: String) {
        let problem = problem { _ = try UserRule(text) }
        #expect(problem?.description.contains("'\(text)'") ?? false)
        #expect(problem?.category == .usage)
        #expect(problem?.remedy != nil)
    }

    @Test(arguments: ["(a=keep", "a)(b=keep", "[=keep", "*=keep", "a)|(?:.*=keep"])
    func invalidExpressionIsRefused(_ text: String) {
        #expect(problem { _ = try UserRule(text) } == RuleError(text, .pattern))
    }

    @Test func typeFollowsTheLastEqualsSign() throws {
        let tensor = try #require(TensorInfo(name: "a=b", dtype: .bf16, shape: [1]))
        #expect(try UserRule.conversionRules([UserRule("a=b=keep")], for: [tensor]).count == 1)
    }

    @Test func ruleThatDecidesNothingIsRefused() throws {
        for rules in [["proj_out=int8"], [".*=keep", "proj_out.weight=int8"]] {
            #expect(
                problem { _ = try plan(.int8, rules) } == RuleError(rules[rules.count - 1], .unused)
            )
        }
    }

    /// A backtracking matcher takes 2ⁿ steps on this one.
    @Test func expressionThatExplodesIsGivenUp() throws {
        let name = String(repeating: "a", count: 200)
        let tensor = try #require(TensorInfo(name: name, dtype: .bf16, shape: [1]))
        let rule = try UserRule("(a+a?)+b=keep")
        #expect(
            problem { _ = try UserRule.conversionRules([rule], for: [tensor]) }
                == RuleError(rule.text, .tooSlow(tensor: name)))
    }

    @Test func int8OfWhatHasNoMatrixIsRefusedWithTheRule() throws {
        let rule = ".*conv_depth.*=int8"
        let error = #expect(throws: ConversionError.self) { try plan(.fp16, [rule]) }
        #expect(error?.description.contains("'\(rule)'") ?? false)
    }

    @Test func mixedPlanOfAFloatTargetListsWhatIsNotQuantized() throws {
        let tiny = try TinyCheckpoint()
        let (path, _) = try tiny.convert(.fp16) {
            $0.rules = [try? UserRule("transformer_blocks.0.attn1.to_q.weight=int8")].compactMap(
                \.self)
        }
        let archive = try Archive(path: path)
        #expect(archive.info(TinyCheckpoint.query)?.dtype == .i8)
        let quantization = try #require(archive.manifest?.config["quantization_config"])
        let listed = (quantization["modules_to_not_convert"]?.array ?? []).compactMap(\.string)
        let floats = archive.tensors.filter { $0.name.hasSuffix(".weight") && $0.dtype != .i8 }
        #expect(!floats.isEmpty)
        #expect(Set(listed) == Set(floats.map(\.name)))
    }
}
