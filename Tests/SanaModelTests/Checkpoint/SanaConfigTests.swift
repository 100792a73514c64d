import SanaModel
import Testing

struct SanaConfigTests {
    private func config(_ json: String) throws -> SanaConfig {
        try SanaConfig(json: JSONScanner.parse(json), file: "config.json")
    }

    /// Defaults of diffusers 0.42.1's `SanaTransformer2DModel.__init__`.
    @Test func absentKeysTakeDiffusersDefaults() throws {
        let config = try config("{}")
        #expect(config == SanaConfig())
        #expect(config.innerDim == 2240)
        #expect(config.crossInnerDim == 2240)
        #expect(config.ffHiddenDim == 5600)
        #expect(config.interpolationScale == nil)
        #expect(!config.qkNorm)
        #expect(config.normEps == 1e-6)
    }

    @Test func outChannelsNullMeansInChannels() throws {
        #expect(try config(#"{"in_channels":7,"out_channels":null}"#).outChannels == 7)
        #expect(try config(#"{"in_channels":7}"#).outChannels == 32)
    }

    @Test func hiddenChannelsAreTruncated() throws {
        let json =
            #"{"num_attention_heads":3,"attention_head_dim":5,"cross_attention_dim":15,"mlp_ratio":2.3}"#
        #expect(try config(json).ffHiddenDim == 34)
    }

    @Test(arguments: [
        #"{"num_layers":-1}"#, #"{"num_layers":1e9}"#, #"{"num_layers":"2"}"#,
        #"{"in_channels":2.5}"#,
        #"{"in_channels":null}"#, #"{"attention_bias":1}"#, #"{"norm_eps":"x"}"#,
        #"{"mlp_ratio":-1}"#,
        #"{"mlp_ratio":0}"#, #"{"patch_size":0}"#, #"{"sample_size":99999999}"#,
        #"{"qk_norm":"layer_norm"}"#,
        #"{"qk_norm":7}"#, #"{"cross_attention_dim":null}"#, #"{"cross_attention_dim":1152}"#,
        #"{"interpolation_scale":0}"#, #"{"_class_name":"FluxTransformer2DModel"}"#, "[]", "3",
        #"{"num_attention_heads":4096,"attention_head_dim":4096}"#,
        #"{"sample_size":1,"patch_size":2}"#,
    ])
    func valuesThatTheClassCannotRunAreRefused(_ json: String) {
        #expect(throws: BadDataError.self) { try config(json) }
    }

    @Test func errorNamesFileKeyAndRemedy() {
        #expect { try config(#"{"num_layers":-1}"#) } throws: { error in
            guard let error = error as? BadDataError else { return false }
            return error.description.contains("config.json: num_layers is -1")
                && error.remedy != nil
        }
    }
}
