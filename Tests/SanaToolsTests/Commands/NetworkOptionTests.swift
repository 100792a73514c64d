import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools

/// Options of the autoencoder and the text encoder, and configurations of theirs that ask for too
/// much.
@Suite(.tags(.process)) struct NetworkOptionTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    private func verify(_ model: String, _ golden: String, _ more: String...) throws
        -> BuiltProgram.Outcome
    {
        try program.run(
            ["verify", "fixtures/" + model, "--reference", "fixtures/\(golden).safetensors"]
                + ["--tolerance", "2e-6", "--no-record", "--format", "json"] + more)
    }

    @Test("--tile computes in these tiles, whatever the golden says")
    func tiles() throws {
        for entry in ["decode", "encode"] {
            let golden = "dcae/tiled/" + entry
            #expect(try verify("dcae/tiled", golden, "--tile", "16x12").code == 0)
            let other = try verify("dcae/tiled", golden, "--tile", "16x16")
            #expect(other.code == 1)
            #expect(other.json?["problems"]?.array?.isEmpty == true)
        }
        // A golden of the whole has layers, which tiles are not compared with.
        let whole = "dcae/sana/decode"
        let cut = try verify("dcae/sana", whole, "--tile", "8x8")
        #expect(cut.code == 1)
        #expect(cut.json?["problems"]?.array?.isEmpty == true)
        #expect(cut.json?["layers"]?.array?.isEmpty == true)
        #expect(try verify("dcae/sana", whole, "--tile", "512x448").code == 0)
        let foreign = try verify("gemma/plain", "gemma/plain/golden", "--tile", "512x448")
        #expect(foreign.code == 64)
        #expect(foreign.talk.contains("does not support tiles"))
        for size in ["512", "512x", "0x8", "8x-1", "1x1", "8x16", "70000x8"] {
            let outcome = try verify("dcae/sana", whole, "--tile", size)
            #expect(outcome.code == 64, "\(size): \(outcome.talk)")
        }
    }

    @Test("a profile in tiles is a series of its own")
    func tiledProfile() throws {
        for tile in [[], ["--tile", "16x12"], ["--tile", "16x8"]] {
            let outcome = try program.run(
                ["profile", "fixtures/dcae/tiled", "--latent", "6x9", "--repeat", "1"]
                    + ["--db", "h.sqlite", "--format", "json"] + tile)
            #expect(outcome.code == 0, "\(outcome.talk)")
        }
        let list = try program.run("history", "list", "--db", "h.sqlite", "--format", "json")
        #expect(list.json?.array?.count == 3)
    }

    @Test("the soft cap is what the golden says, or none")
    func softCap() throws {
        #expect(try verify("gemma/cap-off", "gemma/cap-off/golden").code == 0)
        let numerics = ["--numerics", "no-soft-cap"]
        #expect(
            try verify("gemma/cap-off", "gemma/cap-off/golden", numerics[0], numerics[1]).code == 0)
        let capped = try verify(
            "gemma/plain", "gemma/plain/golden", numerics[0], numerics[1])
        #expect(capped.code == 1)
        let problems = capped.json?["problems"]?.array?.compactMap { $0["message"]?.string }
        #expect(problems?.contains { $0.contains("this run has no-soft-cap") } == true)
        let output = try #require(capped.json?["output"]?["relative_rms"]?.double)
        #expect(output > 1e-5)
    }

    /// Values that cannot be, or that ask for more than any machine has, by fixture.
    private static let hostile: [(model: String, key: String, value: String)] =
        [
            ("in_channels", "0"), ("latent_channels", "-4"), ("latent_channels", "1e400"),
            ("attention_head_dim", "0"), ("attention_head_dim", "9223372036854775807"),
            ("encoder_block_out_channels", "[0, 8, 8]"),
            ("decoder_block_out_channels", "[4, 8, 1000000000000]"),
            ("decoder_block_out_channels", "[65536, 65536, 65536]"),
            ("encoder_layers_per_block", "[1, 2, 1000000000]"),
            ("decoder_layers_per_block", "[1024, 1024, 1024]"),
            ("decoder_layers_per_block", "[0, 0, 0]"),
            ("decoder_qkv_multiscales", "[[], [], [1000000001]]"),
            ("encoder_qkv_multiscales", "[[], [], [4]]"),
            (
                "encoder_qkv_multiscales",
                "[[], [], [\((0..<1000).map { _ in "3" }.joined(separator: ","))]]"
            ),
            ("scaling_factor", "0"), ("decoder_norm_types", "layer_norm"),
        ].map { ("dcae/sana", $0, $1) }
        + [
            ("vocab_size", "0"), ("vocab_size", "1000000000000"), ("hidden_size", "0"),
            ("hidden_size", "1048576"), ("intermediate_size", "-1"),
            ("num_hidden_layers", "1000000000"), ("num_hidden_layers", "1024"),
            ("num_attention_heads", "0"), ("num_key_value_heads", "3"), ("head_dim", "3"),
            ("head_dim", "4096"), ("rms_norm_eps", "-1"), ("query_pre_attn_scalar", "0"),
            ("sliding_window", "0"), ("attn_logit_softcapping", "0"), ("rope_theta", "0"),
            ("layer_types", "[]"),
        ].map { ("gemma/plain", $0, $1) }

    @Test(
        "a configuration that asks for what cannot be is refused before memory is taken",
        arguments: hostile)
    func configuration(_ item: (model: String, key: String, value: String)) throws {
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/" + item.model, toPath: program.folder("m"))
        let file = program.folder("m/config.json")
        let value =
            (try? JSONScanner.parse(item.value)) ?? JSONValue.string(item.value)
        try program.folder.write(
            "m/config.json", Array(JSONFile.read(file).setting(item.key, to: value).text().utf8))
        let golden = item.model == "gemma/plain" ? "golden" : "decode"
        for command in [
            [
                "verify", "m", "--reference", "fixtures/\(item.model)/\(golden).safetensors",
                "--allow-stale", "--no-record",
            ],
            ["profile", "m", "--repeat", "1", "--no-record"],
            ["convert", "m", "--dtype", "int8", "--dry-run"],
        ] {
            let limits = "ulimit -c 0; ulimit -v 1000000"
            let process = try program.launch(
                [
                    "-c", "\(limits); exec timeout -s KILL 60 \"$0\" \"$@\"", program.binary.path,
                ] + command, program: "/bin/bash")
            let outcome = try program.finish(process)
            // A plan is made of the tensors that are there: it may well take less than is asked
            // for.
            let isPlan = command[0] == "convert" && outcome.code == 0
            #expect(
                outcome.code == 65 || isPlan, "\(command[0]): \(outcome.code) \(outcome.talk)")
            #expect(isPlan || outcome.talk.contains("error: "))
        }
        let inspected = try program.run("inspect", "m")
        #expect(inspected.code == 1, "\(inspected.output)")
    }
}
