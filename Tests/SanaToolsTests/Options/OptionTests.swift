import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

@Suite(.tags(.process)) struct OptionTests {
    @Test func referencesExpandFoldersAndPatterns() throws {
        let folder = try TemporaryFolder()
        for name in ["b.safetensors", "a.safetensors", "c.safetensors.zst", "notes.txt"] {
            try folder.write(name, [])
        }
        let all = ["a.safetensors", "b.safetensors", "c.safetensors.zst"].map { folder($0) }
        #expect(try Reference.expand([folder.path]) == all)
        #expect(try Reference.expand([folder("*.zst")]) == [all[2]])
        #expect(try Reference.expand([all[1], all[0]]) == [all[1], all[0]])
        #expect(throws: FileError.self) { try Reference.expand([folder("d*")]) }
        #expect(throws: FileError.self) { try Reference.expand([folder("d")]) }
    }

    @Test func latentSizesAreReadStrictly() {
        #expect((try? LatentSize(checking: "16x24")) == LatentSize(height: 16, width: 24))
        for text in ["16", "0x3", "3x", "x3", "1x2x3", "5000x1", "-1x2", "ax2"] {
            #expect((try? LatentSize(checking: text)) == nil, "\(text)")
        }
    }

    @Test func commitIsFoundWhereverGitKeepsIt() throws {
        let folder = try TemporaryFolder()
        let (a, b) = (String(repeating: "a", count: 40), String(repeating: "b", count: 40))
        let (c, d) = (String(repeating: "c", count: 40), String(repeating: "d", count: 64))
        func write(_ path: String, _ text: String) throws {
            try FileManager.default.createFolder(folder(path).parentFolder)
            try folder.write(path, Array(text.utf8))
        }
        try write("repo/.git/HEAD", "ref: refs/heads/main\n")
        #expect(GitCommit.checkedOut(from: folder("repo/deep")) == nil)
        try write("repo/.git/packed-refs", "# pack-refs\n\(a) refs/heads/main\n\(b) refs/heads/x\n")
        #expect(GitCommit.checkedOut(from: folder("repo/deep")) == a)
        try write("repo/.git/refs/heads/main", "\(c)\n")
        #expect(GitCommit.checkedOut(from: folder("repo")) == c)
        // A worktree: its own HEAD, the references of the main one.
        try write("tree/.git", "gitdir: ../repo/.git/worktrees/tree\n")
        try write("repo/.git/worktrees/tree/HEAD", "ref: refs/heads/main\n")
        try write("repo/.git/worktrees/tree/commondir", "../..\n")
        #expect(GitCommit.checkedOut(from: folder("tree/src")) == c)
        try write("repo/.git/HEAD", "\(d)\n")
        #expect(GitCommit.checkedOut(from: folder("repo")) == d)
    }

    @Test func oldSpellingsAreReadAndShownByNoHelp() throws {
        #expect(
            OldSpellings.replaced(in: ["verify", "m", "--tolerances", "t.json", "--tolerance", "1"])
                == ["verify", "m", "--tolerance-file", "t.json", "--tolerance", "1"])
        #expect(
            OldSpellings.replaced(in: [
                "convert", "--components=copy", "--rules", "r", "--", "--rules",
            ])
                == ["convert", "--other-components=copy", "--rule-file", "r", "--", "--rules"])
        #expect(OldSpellings.replaced(in: ["profile", "--rules"]) == ["profile", "--rules"])
        let program = try BuiltProgram()
        for (command, options) in OldSpellings.options {
            let help = try program.run(command, "--help").output
            for (old, new) in options {
                #expect(!help.contains(old + " "), "\(command) \(old)")
                #expect(help.contains(new + " "), "\(command) \(new)")
                let outcome = try program.run(command, "absent", old, "absent")
                #expect(!outcome.talk.contains("Unknown option"), "\(outcome.talk)")
            }
        }
    }
}
