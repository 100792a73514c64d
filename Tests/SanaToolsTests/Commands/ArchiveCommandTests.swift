import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

/// Archives that are not what they say, given to the built binary.
@Suite(.tags(.process)) struct ArchiveCommandTests {
    private let program: BuiltProgram
    private var folder: TemporaryFolder { program.folder }
    private let honest: [UInt8]
    private let manifest: Archive.Manifest
    private let manifestStart: Int

    init() throws {
        program = try BuiltProgram()
        let outcome = try program.run(
            "convert", "fixtures/tiny/plain", "--dtype", "int8", "--output", "a.safetensors.zst")
        #expect(outcome.code == 0, "\(outcome.talk)")
        honest = try fileBytes(program.folder("a.safetensors.zst"))
        manifest = try #require(Archive(path: program.folder("a.safetensors.zst")).manifest)
        let text = Data(manifest.text.utf8)
        manifestStart = try #require(Data(honest).firstRange(of: text)?.lowerBound)
    }

    @Test func valuesThatTheManifestDoesNotKnowAreRefusedByVerify() throws {
        var other = manifest
        let index = try #require(other.tensors.firstIndex { $0.frameCount > 0 })
        let tensor = other.tensors[index]
        other.tensors[index] = .init(
            name: tensor.name, firstFrame: tensor.firstFrame, frameCount: tensor.frameCount,
            sha256: String(repeating: "0", count: 64))
        let text = Array(other.text.utf8)
        #expect(text.count == manifest.text.utf8.count)
        var bytes = honest
        bytes.replaceSubrange(manifestStart..<manifestStart + text.count, with: text)
        try folder.write("lie.safetensors.zst", bytes)
        let golden = ["--reference", "fixtures/goldens/tiny-plain.safetensors", "--no-record"]
        let good = try program.run(["verify", "a.safetensors.zst", "--tolerance", "1"] + golden)
        #expect(good.code == 0, "\(good.output)\(good.talk)")
        let bad = try program.run(["verify", "lie.safetensors.zst", "--tolerance", "1"] + golden)
        #expect(bad.code == 65)
        #expect(bad.talk.contains("SHA-256 of tensor '\(tensor.name)'"))
        #expect(try program.run("digest", "lie.safetensors.zst").code == 1)
    }

    @Test func archiveThatWasCutOffIsNotUnpacked() throws {
        // Behind the manifest; and before it, where it is like a file that zstd made.
        let end = manifestStart + manifest.text.utf8.count
        try folder.write("cut.safetensors.zst", Array(honest[..<end]))
        for output in ["cut", "cut.safetensors"] {
            let cut = try program.run("unpack", "cut.safetensors.zst", "--output", output)
            #expect(cut.code == 65, "\(cut.talk)")
            #expect(cut.talk.contains("truncated"), "\(cut.talk)")
            #expect(!FileManager.default.fileExists(atPath: folder(output)))
        }
        try folder.write("plain.safetensors.zst", Array(honest[..<(manifestStart - 16)]))
        let plain = try program.run(
            "unpack", "plain.safetensors.zst", "--output", "plain.safetensors")
        #expect(plain.code == 0, "\(plain.talk)")
        #expect(plain.talk.contains("has no manifest"), "\(plain.talk)")
        let whole = try program.run("unpack", "a.safetensors.zst", "--output", "a.safetensors")
        #expect(whole.code == 0, "\(whole.talk)")
        #expect(whole.talk.isEmpty, "\(whole.talk)")
        #expect(
            try fileBytes(folder("plain.safetensors")) == fileBytes(folder("a.safetensors")))
    }
}
