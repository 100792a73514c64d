import SanaModel
import SanaTestSupport
import Testing

struct WeightScopeTests {
    private func source(_ build: (inout SafetensorsBuilder) -> Void) throws -> SafetensorsFile {
        var builder = SafetensorsBuilder()
        build(&builder)
        return try SafetensorsFile(content: ByteView(builder.file), path: "x")
    }

    @Test func reportsMissingUnexpectedAndMisshapenTogether() throws {
        let source = try source {
            $0.add("a.weight", [2, 3], [1, 2, 3, 4, 5, 6])
            $0.add("stray", [1], [1])
        }
        let scope = WeightScope(source, label: "m")
        _ = try scope["a"].weight(shape: [3, 2])
        _ = try scope["a"].parameter("bias", shape: [2])
        do {
            try scope.finish()
            Issue.record("accepted")
        } catch {
            #expect(error.missing.map(\.name) == ["a.bias"])
            #expect(error.unexpected == ["stray"])
            #expect(error.mismatched.map(\.tensor.name) == ["a.weight"])
            for word in [
                "a.bias [2]", "stray",
                "a.weight: expected F32/F16/BF16/I8 [3, 2], found F32 [2, 3]",
            ] {
                #expect(error.description.contains(word))
            }
        }
    }

    @Test func parametersOfEveryFloatTypeAreWidened() throws {
        let source = try source {
            $0.add("f", [2], [1.5, -2])
            $0.add("h", .f16, [2], bits: [0x3E00, 0xC000])
            $0.add("b", .bf16, [2], bits: [0x3FC0, 0xC000])
        }
        let scope = WeightScope(source, label: "m")
        for name in ["f", "h", "b"] {
            #expect(try scope.parameter(name, shape: [2]).values == [1.5, -2])
        }
        try scope.finish()
    }

    @Test func int8WeightNeedsItsScale() throws {
        let source = try source { $0.add("a.weight", .i8, [2, 1], bytes: [1, 255]) }
        let scope = WeightScope(source, label: "m")
        _ = try scope["a"].weight(shape: [2, 1])
        #expect { try scope.finish() } throws: {
            ($0 as? BindingError)?.missing.map(\.name) == ["a.scale"]
        }
    }

    @Test func integerParameterIsOfTheWrongType() throws {
        let source = try source { $0.add("bias", .i8, [1], bytes: [1]) }
        let scope = WeightScope(source, label: "m")
        _ = try scope.parameter("bias", shape: [1])
        #expect { try scope.finish() } throws: { ($0 as? BindingError)?.mismatched.count == 1 }
    }

    /// The widest configuration that is allowed, and no weights: nothing of its size may be
    /// allocated.
    @Test(.tags(.slow)) func checkOfNamesAllocatesNothing() throws {
        let source = try source { _ in }
        var config = SanaConfig()
        (config.numAttentionHeads, config.attentionHeadDim, config.crossAttentionDim) = (
            4096, 16, 65536
        )
        (config.mlpRatio, config.numLayers) = (64, 1024)
        for build in [
            { try config.check(source: source, label: "m") },
            { _ = try SanaTransformer2DModel(config, source: source, label: "m") },
        ] {
            #expect { try build() } throws: { ($0 as? BindingError)?.missing.count ?? 0 > 19_000 }
        }
    }

    @Test func emptyCheckpointMissesEverythingAndDoesNotCrash() throws {
        let source = try source { _ in }
        var config = SanaConfig()
        config.numLayers = 2
        #expect { try SanaTransformer2DModel(config, source: source, label: "m") } throws: {
            ($0 as? BindingError)?.missing.contains {
                $0.name == "transformer_blocks.1.ff.conv_depth.weight"
            }
                == true
        }
    }
}
