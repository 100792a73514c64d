import SanaModel
import SanaQuant

/// A text file of rules for `convert`, one `REGEX=TYPE` a line; empty lines and lines that begin
/// with `#` say nothing.
package enum RuleFile {
    /// - Throws: `FileError`, `BadDataError` for a line that is no rule or a file over 1 MiB.
    package static func read(_ path: String) throws -> [UserRule] {
        let content = try ByteView(mapping: path)
        guard content.count <= 1 << 20 else {
            throw BadDataError(file: path, reason: "rules file is larger than 1 MiB")
        }
        let text = content.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
        var rules: [UserRule] = []
        for (number, line) in text.split(
            omittingEmptySubsequences: false, whereSeparator: \.isNewline
        ).enumerated() {
            guard !line.allSatisfy(\.isWhitespace), !line.hasPrefix("#") else { continue }
            do throws(RuleError) { rules.append(try UserRule(String(line))) } catch {
                throw BadDataError(
                    file: path, reason: "line \(number + 1): \(error.description)",
                    remedy: error.remedy, page: error.page)
            }
        }
        return rules
    }
}
