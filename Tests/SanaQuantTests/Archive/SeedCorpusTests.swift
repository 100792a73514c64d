import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaQuant

/// The seeds of `make fuzz`, whose names say whether a reader must take them. Archives and zip
/// files among them were written by other programs.
@Suite struct SeedCorpusTests {
    private func seeds(_ name: String) throws -> [(name: String, content: ByteView)] {
        let folder = Fixtures.path + "/fuzz/" + name
        return try FileManager.default.contentsOfDirectory(atPath: folder).sorted().map {
            ($0, ByteView(try fileBytes(folder + "/" + $0)))
        }
    }

    private func check(_ name: String, _ read: (ByteView) throws -> Void) throws {
        let all = try seeds(name)
        #expect(all.count { $0.name.hasPrefix("valid") } >= 5)
        #expect(all.count { $0.name.hasPrefix("bad") } >= 5)
        for seed in all {
            do {
                try read(seed.content)
                #expect(seed.name.hasPrefix("valid"), "\(seed.name) was taken")
            } catch let error as any DiagnosticError {
                #expect(seed.name.hasPrefix("bad"), "\(seed.name): \(error)")
                #expect(error.category == .badData)
            }
        }
    }

    @Test func safetensorsSeedsAreTakenAndRefusedAsNamed() throws {
        try check("safetensors") { content in
            let file = try SafetensorsFile(content: content, path: "seed")
            for tensor in file.tensors { _ = try file.bytes(of: tensor) }
        }
    }

    @Test func zipSeedsAreTakenAndRefusedAsNamed() throws {
        try check("zip") { content in
            let weights = try Checkpoint.weights(content: content, path: "seed.pth")
            for tensor in weights.tensors { _ = try weights.bytes(of: tensor) }
        }
    }

    @Test func tokenizerSeedsAreTakenAndRefusedAsNamed() throws {
        try check("tokenizer") { content in
            _ = try Tokenizer(content: content, path: "seed.json").encode("ab a\u{301} <unk>")
        }
    }

    @Test func configurationSeedsAreTakenAndRefusedAsNamed() throws {
        try check("configurations") { content in
            let json = try JSONFile.parse(content, path: "seed.json")
            let config = try NetworkClass.configuration(json, file: "seed.json")
            #expect(!config.expectedTensors.all.isEmpty)
        }
    }

    @Test func archiveSeedsAreTakenAndRefusedAsNamed() throws {
        try check("archive") { content in
            _ = try readEverything(try Archive(content: content, path: "seed.zst"))
        }
    }
}
