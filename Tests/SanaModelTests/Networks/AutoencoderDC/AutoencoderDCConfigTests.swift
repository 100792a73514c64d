import SanaTestSupport
import Testing

@testable import SanaModel

struct AutoencoderDCConfigTests {
    /// The key that a configuration is refused for; empty where it is not.
    private func refused(_ json: String) throws -> String {
        do throws(BadDataError) {
            let document = (try? JSONScanner.parse(json)) ?? .null
            _ = try AutoencoderDCConfig(json: document, file: "config.json")
            return ""
        } catch { return String(error.reason.prefix { $0 != " " }) }
    }

    @Test func defaultsAreThoseOfDiffusers() throws {
        let config = try RandomAutoencoder.config("{}")
        #expect(config == AutoencoderDCConfig())
        #expect(config.encoder.map(\.layers) == [2, 2, 2, 3, 3, 3])
        #expect(config.decoder.map(\.width) == [128, 256, 512, 512, 1024, 1024])
        #expect(config.decoder[4].multiscales == [5])
        #expect(config.unshuffles)
        #expect(!config.interpolates)
        #expect(config.decoderConvActivation == .relu)
        #expect(config.spatialCompressionRatio == 32)
    }

    @Test("names that are not quite the ones tested for are the other kind")
    func sampling() throws {
        let config = try RandomAutoencoder.config(
            #"{"downsample_block_type": "Conv", "upsample_block_type": "Interpolate"}"#)
        #expect(!config.unshuffles)
        #expect(!config.interpolates)
    }

    @Test("one name stands for all stages")
    func broadcast() throws {
        let config = try RandomAutoencoder.config(
            """
            {"decoder_block_types": "EfficientViTBlock", "decoder_norm_types": "batch_norm",
             "decoder_act_fns": "GELU"}
            """)
        #expect(config.decoder.allSatisfy { $0.blockType == .efficientViT })
        #expect(config.decoder.allSatisfy { $0.norm == .batch && $0.activation == .gelu })
        #expect(config.encoder.allSatisfy { $0.blockType == .resBlock && $0.norm == .rms })
    }

    @Test(arguments: [
        (#"{"_class_name": "AutoencoderKL"}"#, "_class_name"),
        (#"{"in_channels": 0}"#, "in_channels"),
        (#"{"in_channels": "3"}"#, "in_channels"),
        (#"{"latent_channels": 1000000000}"#, "latent_channels"),
        (#"{"latent_channels": 48}"#, "latent_channels"),
        (#"{"attention_head_dim": 0}"#, "attention_head_dim"),
        (#"{"encoder_block_types": "Transformer"}"#, "encoder_block_types"),
        (#"{"encoder_block_types": ["ResBlock"]}"#, "encoder_block_types"),
        (#"{"decoder_block_types": 1}"#, "decoder_block_types"),
        (#"{"encoder_block_out_channels": []}"#, "encoder_block_out_channels"),
        (#"{"encoder_block_out_channels": [0, 8]}"#, "encoder_block_out_channels"),
        (#"{"encoder_block_out_channels": 128}"#, "encoder_block_out_channels"),
        (#"{"encoder_block_out_channels": [128, 256]}"#, "encoder_layers_per_block"),
        (#"{"encoder_layers_per_block": [1, 1]}"#, "encoder_layers_per_block"),
        (#"{"encoder_layers_per_block": [-1, 1, 1, 1, 1, 1]}"#, "encoder_layers_per_block"),
        (#"{"encoder_layers_per_block": [1e9, 1, 1, 1, 1, 1]}"#, "encoder_layers_per_block"),
        (#"{"decoder_layers_per_block": [1, 1, 1, 0, 1, 1]}"#, "decoder_layers_per_block"),
        (#"{"decoder_qkv_multiscales": [[], [], [], [4], [5], [5]]}"#, "decoder_qkv_multiscales"),
        (
            #"{"decoder_qkv_multiscales": [[], [], [], [1000000001], [], []]}"#,
            "decoder_qkv_multiscales"
        ),
        (#"{"decoder_qkv_multiscales": [[], [], [], 5, [], []]}"#, "decoder_qkv_multiscales"),
        (#"{"decoder_qkv_multiscales": [[5]]}"#, "decoder_qkv_multiscales"),
        (#"{"upsample_block_type": null}"#, "upsample_block_type"),
        (#"{"decoder_norm_types": "layer_norm"}"#, "decoder_norm_types"),
        (#"{"decoder_norm_types": ["rms_norm"]}"#, "decoder_norm_types"),
        (#"{"decoder_act_fns": "relu6"}"#, "decoder_act_fns"),
        (#"{"decoder_act_fns": null}"#, "decoder_act_fns"),
        (#"{"decoder_act_fns": "identity"}"#, "decoder_act_fns"),
        (#"{"decoder_conv_act_fn": null}"#, "decoder_conv_act_fn"),
        (#"{"encoder_out_shortcut": 1}"#, "encoder_out_shortcut"),
        (#"{"scaling_factor": 0}"#, "scaling_factor"),
        (
            #"{"encoder_layers_per_block": [1, 1], "encoder_qkv_multiscales": [[], []], "encoder_block_out_channels": [32, 96]}"#,
            "encoder_block_out_channels"
        ),
        (
            #"{"encoder_layers_per_block": [1, 1], "encoder_qkv_multiscales": [[], []], "encoder_block_out_channels": [32, 160]}"#,
            "encoder_block_out_channels"
        ),
        (
            #"{"encoder_layers_per_block": [1, 1], "encoder_qkv_multiscales": [[], []], "encoder_block_out_channels": [8, 32], "encoder_block_types": "EfficientViTBlock"}"#,
            "encoder_block_out_channels"
        ),
        ("[]", "config"),
    ])
    func whatDiffusersCannotRunIsRefused(_ json: String, _ key: String) throws {
        #expect(try refused(json) == key)
    }

    @Test("weights that do not fit are listed, whatever the configuration asks for")
    func binding() throws {
        let folder = Fixtures.path + "/dcae/sana"
        let source = try SafetensorsFile(path: folder + "/diffusion_pytorch_model.safetensors")
        var config = try AutoencoderDCConfig(
            json: JSONFile.read(folder + "/config.json"), file: folder)
        #expect(throws: Never.self) { try AutoencoderDC(config, source: source, label: "sana") }
        config.decoder[1].layers = 1024
        config.decoder[0].width = 1 << 16
        do {
            _ = try AutoencoderDC(config, source: source, label: "sana")
            Issue.record("bound to what is not there")
        } catch let error as BindingError {
            #expect(error.missing.contains { $0.name == "decoder.up_blocks.1.1024.conv2.weight" })
            #expect(error.mismatched.contains { $0.tensor.name == "decoder.norm_out.weight" })
            #expect(error.unexpected.isEmpty)
        }
    }
}
