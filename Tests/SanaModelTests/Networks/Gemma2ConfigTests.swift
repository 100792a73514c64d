import SanaModel
import Testing

/// `config.json` of transformers 4 and 5.
struct Gemma2ConfigTests {
    private func config(_ text: String) throws -> Gemma2Config {
        try Gemma2Config(json: JSONScanner.parse(text), file: "config.json")
    }

    @Test("defaults are those of gemma-2-2b")
    func defaults() throws {
        #expect(try config("{}") == Gemma2Config())
        #expect(try config("{}").slides.prefix(3) == [true, false, true])
    }

    @Test("both spellings of transformers say the same")
    func spellings() throws {
        let new = try config(
            #"{"model_type":"gemma2","architectures":["Gemma2Model"],"dtype":"bfloat16","#
                + #""rope_parameters":{"rope_type":"default","rope_theta":500.0},"#
                + #""num_hidden_layers":2,"layer_types":["sliding_attention","full_attention"]}"#)
        let old = try config(
            #"{"model_type":"gemma2","architectures":["Gemma2ForCausalLM"],"torch_dtype":"bfloat16","#
                + #""rope_theta":500.0,"rope_scaling":null,"hidden_act":"gelu_pytorch_tanh","#
                + #""hidden_activation":"gelu_pytorch_tanh","num_hidden_layers":2}"#)
        #expect(new == old)
        #expect(new.ropeTheta == 500)
    }

    @Test("null leaves out the window and the cap")
    func nulls() throws {
        let read = try config(#"{"sliding_window":null,"attn_logit_softcapping":null}"#)
        #expect(read.slidingWindow == nil)
        #expect(read.attnLogitSoftcapping == nil)
    }

    @Test(
        "what is not computed is refused by its key",
        arguments: [
            (#"{"model_type":"gemma3"}"#, "model_type"),
            (#"{"architectures":["Gemma2ForSequenceClassification"]}"#, "architectures"),
            (#"{"hidden_activation":"gelu"}"#, "hidden_activation"),
            (#"{"use_bidirectional_attention":true}"#, "use_bidirectional_attention"),
            (#"{"rope_scaling":{"type":"linear","factor":2}}"#, "rope_scaling"),
            (#"{"rope_parameters":{"rope_type":"yarn"}}"#, "rope_parameters"),
            (#"{"rope_parameters":[]}"#, "rope_parameters"),
            (#"{"rope_parameters":{"rope_theta":"x"}}"#, "rope_theta"),
            (#"{"layer_types":["full_attention"]}"#, "layer_types"),
            (#"{"num_hidden_layers":1,"layer_types":["chunked"]}"#, "layer_types"),
            (#"{"num_hidden_layers":1,"layer_types":[3]}"#, "layer_types"),
            (#"{"num_key_value_heads":3}"#, "num_key_value_heads"),
            (#"{"hidden_size":2305}"#, "hidden_size"), (#"{"head_dim":7}"#, "head_dim"),
            (#"{"num_attention_heads":4096,"hidden_size":4096,"head_dim":4096}"#, "head"),
            (#"{"vocab_size":0}"#, "vocab_size"), (#"{"vocab_size":1e30}"#, "vocab_size"),
            (#"{"sliding_window":0}"#, "sliding_window"),
            (#"{"attn_logit_softcapping":0}"#, "attn_logit_softcapping"),
            (#"{"query_pre_attn_scalar":-1}"#, "query_pre_attn_scalar"), ("[]", "object"),
        ])
    func refused(_ text: String, _ noun: String) {
        #expect {
            try config(text)
        } throws: {
            ($0 as? BadDataError)?.reason.contains(noun) == true
        }
    }
}
