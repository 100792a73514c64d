import SanaModel
import Testing

@testable import SanaQuant

@Suite struct ConversionPlanTests {
    private func tensor(_ name: String, _ dtype: DType = .bf16, _ shape: [Int]) throws -> TensorInfo
    {
        try #require(TensorInfo(name: name, dtype: dtype, shape: shape))
    }

    @Test func int8TakesProjectionsAndPointwiseConvolutionsAndSaysWhyNotTheRest() throws {
        let quantized: [(String, [Int])] = [
            ("transformer_blocks.0.attn1.to_q.weight", [8, 8]),
            ("transformer_blocks.11.attn1.to_out.0.weight", [8, 8]),
            ("transformer_blocks.3.attn2.to_k.weight", [8, 6]),
            ("transformer_blocks.3.ff.conv_inverted.weight", [40, 8, 1, 1]),
            ("transformer_blocks.3.ff.conv_point.weight", [8, 20, 1, 1]),
        ]
        let kept: [(String, [Int], String)] = [
            ("transformer_blocks.0.attn1.to_out.0.bias", [8], "bias"),
            ("transformer_blocks.0.ff.conv_depth.weight", [40, 1, 3, 3], "depthwise"),
            ("transformer_blocks.0.attn1.norm_q.weight", [8], "norm"),
            ("transformer_blocks.0.norm2.weight", [8], "norm"),
            ("transformer_blocks.0.scale_shift_table", [6, 8], "table"),
            ("scale_shift_table", [2, 8], "table"),
            ("caption_norm.weight", [8], "norm"),
            ("patch_embed.proj.weight", [8, 4, 1, 1], "embedding"),
            ("time_embed.linear.weight", [48, 8], "embedding"),
            ("caption_projection.linear_1.weight", [8, 6], "embedding"),
            ("proj_out.weight", [4, 8], "output head"),
            ("transformer_blocks.0.ff.conv_point.weight.old", [8, 8], "a role that"),
            ("transformer_blocks.x.attn1.to_q.weight", [8, 8], "a role that"),
            ("transformer_blocks.1.ff.conv_point.weight", [8, 20, 3, 3], "a role that"),
        ]
        let plan = try ConversionPlan(
            try quantized.map { try tensor($0.0, .bf16, $0.1) }
                + kept.map { try tensor($0.0, .bf16, $0.1) },
            expected, target: .int8, file: "model")
        for decision in plan.decisions.prefix(quantized.count) {
            #expect(decision.conversion == .int8PerChannel, "\(decision.tensor.name)")
        }
        for (decision, expected) in zip(plan.decisions.dropFirst(quantized.count), kept) {
            #expect(decision.conversion == .keep, "\(decision.tensor.name)")
            #expect(
                decision.reason.contains(expected.2), "\(decision.tensor.name): \(decision.reason)")
        }
    }

    @Test func int8WeightBringsAScaleOfItsOwnRank() throws {
        let plan = try ConversionPlan(
            [
                try tensor("transformer_blocks.0.attn1.to_q.weight", .bf16, [5, 8]),
                try tensor("transformer_blocks.0.ff.conv_point.weight", .f32, [6, 8, 1, 1]),
            ], expected, target: .int8, file: "model")
        #expect(plan.decisions[0].outputs.map(\.shape) == [[5, 8], [5, 1]])
        #expect(plan.decisions[0].outputs.map(\.dtype) == [.i8, .f32])
        #expect(plan.decisions[1].outputs[1].name == "transformer_blocks.0.ff.conv_point.scale")
        #expect(plan.decisions[1].outputs[1].shape == [6, 1, 1, 1])
        #expect(plan.bytesBefore == 80 + 192)
        #expect(plan.bytesAfter == 40 + 20 + 48 + 24)
    }

    @Test func floatTargetsCastEveryFloatAndKeepTheRest() throws {
        let plan = try ConversionPlan(
            [
                try tensor("a", .bf16, [3]), try tensor("b", .f32, [3]), try tensor("c", .f16, [3]),
                try tensor("d", .i64, [3]),
            ], expected, target: .fp16, file: "model")
        #expect(plan.decisions.map(\.conversion) == [.cast(.f16), .cast(.f16), .keep, .keep])
    }

    @Test func firstMatchingRuleWins() throws {
        let rules =
            [ConversionRule(.keep, reason: "mine") { $0.name == "a" }]
            + ConversionRule.builtIn(for: .fp16, .none)
        let plan = try ConversionPlan(
            [try tensor("a", .bf16, [3]), try tensor("b", .bf16, [3])], expected, target: .fp16,
            rules: rules,
            file: "model")
        #expect(plan.decisions.map(\.conversion) == [.keep, .cast(.f16)])
        #expect(plan.decisions[0].reason == "mine")
    }

    @Test func planThatConvertsNothingIsRefused() throws {
        let tensors = [try tensor("vae.conv.weight", .bf16, [3, 3])]
        #expect(throws: ConversionError("model", .nothingToConvert(.int8))) {
            try ConversionPlan(tensors, expected, target: .int8, file: "model")
        }
        #expect(throws: ConversionError("model", .nothingToConvert(.fp16))) {
            try ConversionPlan([], expected, target: .fp16, file: "model")
        }
    }

    @Test func int8SourceStaysInt8AndBecomesNothingElse() throws {
        let tensors = [
            try tensor("transformer_blocks.0.attn1.to_q.weight", .i8, [4, 4]),
            try tensor("transformer_blocks.0.attn1.to_q.scale", .f32, [4, 1]),
        ]
        let plan = try ConversionPlan(tensors, expected, target: .int8, file: "model")
        #expect(plan.decisions.allSatisfy { $0.conversion == .keep })
        #expect(
            throws: ConversionError(
                "model", .sourceIsQuantized(tensor: tensors[0].name, target: .fp16))
        ) { try ConversionPlan(tensors, expected, target: .fp16, file: "model") }
    }

    @Test func scaleWhoseNameIsTakenIsRefused() throws {
        let tensors = [
            try tensor("transformer_blocks.0.attn1.to_q.weight", .bf16, [4, 4]),
            try tensor("transformer_blocks.0.attn1.to_q.scale", .bf16, [4]),
        ]
        #expect(
            throws: ConversionError(
                "model",
                .nameTaken(
                    tensor: tensors[0].name, name: "transformer_blocks.0.attn1.to_q.scale"))
        ) { try ConversionPlan(tensors, expected, target: .int8, file: "model") }
    }
}
