import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// A Hugging Face cache in a temporary folder, as huggingface_hub lays it out.
struct TinyCache {
    let folder: TemporaryFolder
    static let commit = "0123456789abcdef0123456789abcdef01234567"

    /// - Parameter usesLinks: whether files of the snapshot are links to blobs, as where links
    ///   work.
    init(usesLinks: Bool) throws {
        folder = try TemporaryFolder()
        let manager = FileManager.default
        let model = "hub/models--org--tiny.model"
        for name in ["refs/refs/pr", "blobs", "snapshots/\(Self.commit)"] {
            try manager.createDirectory(
                atPath: folder("\(model)/\(name)"), withIntermediateDirectories: true)
        }
        try folder.write("\(model)/refs/main", Array(Self.commit.utf8))
        try folder.write("\(model)/refs/refs/pr/1", Array(Self.commit.utf8))
        let source = Fixtures.digits + "/transformer"
        for (index, name) in try source.folderEntries().enumerated() {
            let file = "\(model)/snapshots/\(Self.commit)/\(name)"
            if usesLinks {
                let blob = "blob\(index)"
                try manager.copyItem(
                    atPath: "\(source)/\(name)", toPath: folder("\(model)/blobs/\(blob)"))
                try manager.createSymbolicLink(
                    atPath: folder(file), withDestinationPath: "../../blobs/\(blob)")
            } else {
                try manager.copyItem(atPath: "\(source)/\(name)", toPath: folder(file))
            }
        }
    }

    var model: String { folder("hub/models--org--tiny.model") }
    var cache: HubCache { HubCache(environment: ["HF_HUB_CACHE": folder("hub")]) }
}

@Suite(.tags(.process)) struct HubCacheTests {
    @Test(arguments: [true, false])
    func modelsAreFoundByNameRevisionAndCommit(_ usesLinks: Bool) throws {
        let tiny = try TinyCache(usesLinks: usesLinks)
        let snapshot = tiny.model + "/snapshots/" + TinyCache.commit
        for name in [
            "org/tiny.model", "org/tiny.model@main", "org/tiny.model@refs/pr/1",
            "org/tiny.model@" + TinyCache.commit,
        ] {
            #expect(try ModelPath.resolve(name, cache: tiny.cache) == snapshot)
        }
        let model = try OpenedModel.open(
            ModelPath.resolve("org/tiny.model", cache: tiny.cache))
        #expect(try sana(model.config).numLayers == 4)
    }

    @Test func foldersAreThoseOfHuggingFaceHub() {
        func path(_ environment: [String: String]) -> String {
            HubCache(environment: environment.merging(["HOME": "/h"]) { first, _ in first }).path
        }
        #expect(path([:]) == "/h/.cache/huggingface/hub")
        #expect(path(["XDG_CACHE_HOME": "/x"]) == "/x/huggingface/hub")
        #expect(path(["XDG_CACHE_HOME": "/x", "HF_HOME": "/f"]) == "/f/hub")
        #expect(path(["HF_HOME": "~/f"]) == "/h/f/hub")
        #expect(path(["HF_HOME": ""]) == path([:]))
        #expect(path(["HF_HOME": "/f", "HF_HUB_CACHE": "$DATA/${SUB}/c"]) == "$DATA/${SUB}/c")
        #expect(path(["HF_HUB_CACHE": "$DATA/${SUB}/c", "DATA": "/d", "SUB": "s"]) == "/d/s/c")
        #expect(path(["HUGGINGFACE_HUB_CACHE": "/old"]) == "/old")
    }

    @Test func absentModelsSayWhatWouldFetchThem() throws {
        let tiny = try TinyCache(usesLinks: false)
        for (name, command) in [
            ("org/none", "hf download org/none"),
            ("org/tiny.model@v1", "hf download org/tiny.model --revision v1"),
            // An abbreviated commit is no revision that the cache knows.
            ("org/tiny.model@0123456", "hf download org/tiny.model --revision 0123456"),
            ("org/tiny.model@refs", "hf download org/tiny.model --revision refs"),
        ] {
            let error = #expect(throws: ModelAbsentError.self) {
                try ModelPath.resolve(name, cache: tiny.cache)
            }
            #expect(error?.category.exitCode == 66)
            #expect(error?.remedy?.hasSuffix("'\(command)'") == true, "\(name)")
        }
        try FileManager.default.removeItem(
            atPath: tiny.model + "/snapshots/" + TinyCache.commit)
        #expect(throws: ModelAbsentError.self) {
            try ModelPath.resolve("org/tiny.model", cache: tiny.cache)
        }
    }

    @Test(arguments: [
        "../../../etc", "/etc/passwd", "a/../b", "a//b", ".hidden", "a\nb", "a b", "", "-x",
        "a;b", "$(id)", "a\\b", String(repeating: "a", count: 300),
    ])
    func hostileRevisionsAreRefused(_ revision: String) throws {
        let tiny = try TinyCache(usesLinks: false)
        let error = #expect(throws: BadDataError.self) {
            try ModelPath.resolve("org/tiny.model@" + revision, cache: tiny.cache)
        }
        #expect(error?.category.exitCode == 65)
    }

    @Test(arguments: [
        "../../../etc", TinyCache.commit + "\n", "\n" + TinyCache.commit, "0123", "",
        String(repeating: "a", count: 5000), TinyCache.commit.uppercased(),
    ])
    func hostileReferencesAreRefused(_ content: String) throws {
        let tiny = try TinyCache(usesLinks: false)
        try tiny.folder.write("hub/models--org--tiny.model/refs/main", Array(content.utf8))
        let error = #expect(throws: BadDataError.self) {
            try ModelPath.resolve("org/tiny.model", cache: tiny.cache)
        }
        #expect(error?.category.exitCode == 65)
    }

    @Test func otherTextIsAPath() throws {
        let tiny = try TinyCache(usesLinks: false)
        for text in [
            "tiny.model", "a/b/c", "./org/tiny", "../org", "/org/tiny", "org/", "org/x.safetensors",
            "org/..", "a--b/c", "org/tiny model", "org/-x", "ö/x",
        ] {
            #expect(try ModelPath.resolve(text, cache: tiny.cache) == text)
            #expect(ModelPath.stem(text) == text)
        }
        #expect(ModelPath.stem("org/tiny") == "tiny")
        #expect(ModelPath.stem("org/tiny@refs/pr/1") == "tiny@refs-pr-1")
    }

    @Test(arguments: [true, false])
    func everyCommandTakesACachedModel(_ usesLinks: Bool) throws {
        let tiny = try TinyCache(usesLinks: usesLinks)
        let program = try BuiltProgram()
        let name = "org/tiny.model@main"
        func run(_ arguments: String...) throws -> BuiltProgram.Outcome {
            try program.run(limits: "export HF_HOME='\(tiny.folder.path)'", arguments)
        }
        let inspected = try run("inspect", name, "--format", "json")
        #expect(inspected.code == 0)
        #expect(inspected.json?["model"]?.string == name)
        let converted = try run("convert", "org/tiny.model", "--dtype", "int8")
        #expect(converted.code == 0, "\(converted.talk)")
        #expect(program.folder.entries.contains("tiny.model-int8.safetensors.zst"))
        let golden = "fixtures/goldens/sana-digits-b1-t1.safetensors"
        let verified = try run(
            "verify", name, "--reference", golden, "--no-record", "--format", "json")
        #expect(verified.code == 0, "\(verified.talk)")
        #expect(verified.json?["model"]?.string == name, "\(verified.talk)")
        #expect(
            try run("profile", name, "--latent", "4x4", "--repeat", "1", "--no-record").code == 0)
        #expect(try run("diff", name, "fixtures/sana-digits").code == 0)
        #expect(try run("digest", name).code == 0)
        let capture = try run(
            "capture", name, "--output", "g.safetensors", "--python", "/bin/true")
        #expect(capture.code == 70, "\(capture.talk)")
        // A path of the same name wins.
        try FileManager.default.createDirectory(
            atPath: program.folder("org"), withIntermediateDirectories: true)
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/tiny/plain", toPath: program.folder("org/tiny.model"))
        let local = try run("inspect", "org/tiny.model", "--format", "json")
        #expect((local.json?["parameters"]?.int ?? 0) < 100_000)
        let absent = try run("verify", "org/none", "--reference", golden)
        #expect(absent.code == 66)
        #expect(absent.talk.contains("run 'hf download org/none'"))
        #expect(try run("inspect", "org/none@../x").code == 65)
    }

    @Test func projectFileMayNameACachedModel() throws {
        let tiny = try TinyCache(usesLinks: true)
        let program = try BuiltProgram()
        try program.folder.write("sana-tools.yaml", Array("model: org/tiny.model\n".utf8))
        let outcome = try program.run(
            limits: "export HF_HOME='\(tiny.folder.path)'", ["inspect", "--format", "json"])
        #expect(outcome.code == 0)
        #expect(outcome.json?["model"]?.string == "org/tiny.model")
    }
}
