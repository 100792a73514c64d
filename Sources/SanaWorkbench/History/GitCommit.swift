import Foundation
import SanaModel

/// The commit that is checked out where a command runs.
package enum GitCommit {
    /// From the variables that CI systems set, else from the nearest `.git`; `nil` outside a
    /// repository.
    package static var current: String? {
        let environment = ProcessInfo.processInfo.environment
        for variable in ["GITHUB_SHA", "CI_COMMIT_SHA"] {
            if let commit = environment[variable], !commit.isEmpty { return commit }
        }
        return checkedOut(from: FileManager.default.currentDirectoryPath)
    }

    /// The commit of the repository that holds `folder`.
    package static func checkedOut(from folder: String) -> String? {
        var folder = folder
        while !folder.appendingPath(".git").pathExists {
            guard folder.parentFolder != folder, !folder.isEmpty else { return nil }
            folder = folder.parentFolder
        }
        var git = folder.appendingPath(".git")
        // In worktrees and submodules `.git` is a file that names the folder.
        if !git.isFolder {
            guard let target = firstLine(git), target.hasPrefix("gitdir: ") else { return nil }
            git = resolved(String(target.dropFirst("gitdir: ".count)), from: folder)
        }
        guard let head = firstLine(git.appendingPath("HEAD")) else { return nil }
        guard head.hasPrefix("ref: ") else { return hash(head) }
        let reference = String(head.dropFirst("ref: ".count))
        // A stranger's repository must not have other files read.
        guard reference.hasPrefix("refs/"), !reference.split(separator: "/").contains("..") else {
            return nil
        }
        let common =
            firstLine(git.appendingPath("commondir")).map { resolved($0, from: git) } ?? git
        return (firstLine(common.appendingPath(reference)) ?? packed(reference, in: common))
            .flatMap(hash)
    }

    /// The text, if it is a hash.
    private static func hash(_ text: String) -> String? {
        let isHash =
            [40, 64].contains(text.utf8.count)
            && text.utf8.allSatisfy {
                (0x30...0x39).contains($0) || (0x61...0x66).contains($0)
            }
        return isHash ? text : nil
    }

    private static func packed(_ reference: String, in git: String) -> String? {
        text(git.appendingPath("packed-refs"))?.split(separator: "\n")
            .first { $0.hasSuffix(" " + reference) }
            .flatMap { $0.split(separator: " ").first.map(String.init) }
    }

    private static func resolved(_ path: String, from folder: String) -> String {
        path.hasPrefix("/") ? path : folder.appendingPath(path)
    }

    private static func firstLine(_ path: String) -> String? {
        text(path)?.split(separator: "\n").first.map(String.init)
    }

    /// A small regular file; no pipe is waited for.
    private static func text(_ path: String) -> String? {
        guard let content = try? ByteView(mapping: path), content.count <= 16 << 20 else {
            return nil
        }
        return content.withUnsafeBytes { String(validating: $0, as: UTF8.self) }
    }
}
