import Foundation
import SanaModel

/// What GitHub shows on the page of a run: the conclusion, and the results folded below it.
package struct StepSummary {
    /// A result that unfolds.
    package struct Block {
        let title: String
        let isOpen: Bool
        let markdown: String

        package init(title: String, isOpen: Bool, markdown: String) {
            (self.title, self.isOpen, self.markdown) = (title, isOpen, markdown)
        }
    }

    /// GitHub rejects a summary of more bytes.
    static let maximumByteCount = 1 << 20

    let conclusion: String
    let blocks: [Block]

    /// The Markdown, in at most `limit` bytes: what does not fit is counted.
    func text(limit: Int = maximumByteCount) -> String {
        var result = "**\(Markdown.inline(conclusion))**\n"
        // Room for the line that counts the rest.
        let limit = limit - 64
        for (index, block) in blocks.enumerated() {
            let room = limit - result.utf8.count
            guard let text = block.text(limit: room) else {
                result += "\n… and \(Format.counted(blocks.count - index, "more result"))\n"
                break
            }
            result += text
        }
        return result
    }

    /// Appends it to the file that GitHub Actions names; does nothing elsewhere.
    ///
    /// - Throws: `FileError`.
    package func append(environment: [String: String] = ProcessInfo.processInfo.environment) throws
    {
        guard let path = environment["GITHUB_STEP_SUMMARY"], !path.isEmpty else { return }
        let descriptor = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0o644)
        guard descriptor >= 0 else { throw FileError(.open, path, code: errno) }
        let file = FileHandle(fileDescriptor: descriptor, closeOnDealloc: true)
        do {
            let size = try Int(file.seekToEnd())
            let limit = Self.maximumByteCount - size
            guard limit > 0 else { return }
            try file.write(contentsOf: Data(text(limit: limit).utf8.prefix(limit)))
        } catch { throw FileError(.write, path, code: EIO) }
    }
}

extension StepSummary.Block {
    /// The block, cut after a line where it is over `limit` bytes; `nil` where not even its
    /// beginning fits.
    fileprivate func text(limit: Int) -> String? {
        let head =
            "\n<details\(isOpen ? " open" : "")><summary>\(Markup.escaped(title.printable))</summary>\n\n"
        let foot = "\n\n</details>\n"
        let room = limit - head.utf8.count - foot.utf8.count
        guard markdown.utf8.count > room else { return head + markdown + foot }
        let lines = markdown.split(separator: "\n", omittingEmptySubsequences: false)
        let reserve = 64
        var (kept, count) = (0, 0)
        for line in lines {
            guard count + line.utf8.count + 1 <= room - reserve else { break }
            count += line.utf8.count + 1
            kept += 1
        }
        guard kept > 0 else { return nil }
        return head + lines.prefix(kept).joined(separator: "\n")
            + "\n\n… and \(Format.counted(lines.count - kept, "more line"))" + foot
    }
}
