import SanaModel
import Yams

/// The text of sana-tools.yaml, for errors that show the line they are about.
package struct ProjectSource {
    package let path: String
    package let text: String

    /// The document; `nil` where the file says nothing.
    ///
    /// - Throws: `BadDataError` for text that is not YAML.
    package func root() throws(BadDataError) -> Node? {
        do { return try Yams.compose(yaml: text) } catch let error as YamlError {
            throw bad(error)
        } catch { throw whole("invalid YAML") }
    }

    /// An error about a node of the document.
    package func bad(_ node: Node, _ reason: String, _ remedy: String? = nil) -> BadDataError {
        guard let mark = node.mark else {
            return whole(reason, remedy)
        }
        return bad(Place(mark), reason, remedy)
    }

    /// Line and column, counted from 1.
    private struct Place {
        var line = 1
        var column = 1

        init() {}

        init(_ mark: Mark) { (line, column) = (mark.line, mark.column) }
    }

    private func bad(_ error: YamlError) -> BadDataError {
        switch error {
        case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _),
            .composer(_, let problem, let mark, _):
            bad(Place(mark), "invalid YAML: \(problem.printable)")
        case .duplicatedKeysInMapping(let keys, let context):
            bad(
                repetition(of: keys[0], after: context.mark) ?? Place(context.mark),
                "key '\(keys[0].printable)' is given twice")
        case .reader(let problem, _, _, _):
            bad(unreadable, "invalid YAML: \(problem.printable)")
        default: whole("invalid YAML")
        }
    }

    /// Where a key is given again below the line of `first`, in the same column.
    private func repetition(of key: String, after first: Mark) -> Place? {
        for (index, line) in lines.enumerated().dropFirst(first.line) {
            let rest = line.dropFirst(first.column - 1)
            guard rest.hasPrefix(key), line.prefix(first.column - 1).allSatisfy(\.isWhitespace),
                rest.dropFirst(key.count).first(where: { !$0.isWhitespace }) == ":"
            else { continue }
            var place = Place(first)
            place.line = index + 1
            return place
        }
        return nil
    }

    private var lines: [Substring] {
        text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline)
    }

    /// The first character that YAML does not allow, as an escape code of a terminal.
    private var unreadable: Place {
        var place = Place()
        for scalar in text.unicodeScalars {
            switch scalar.value {
            case 0x0A: (place.line, place.column) = (place.line + 1, 0)
            case 0x09, 0x0D, 0x20...0x7E, 0x85, 0xA0...0xFFFD, 0x1_0000...: break
            default: return place
            }
            place.column += 1
        }
        return place
    }

    private func bad(_ place: Place, _ reason: String, _ remedy: String? = nil) -> BadDataError {
        BadDataError(
            file: "\(path):\(place.line):\(place.column)", reason: reason + snippet(place),
            remedy: remedy, page: .projectFile)
    }

    /// An error about the file as a whole.
    private func whole(_ reason: String, _ remedy: String? = nil) -> BadDataError {
        BadDataError(file: path, reason: reason, remedy: remedy, page: .projectFile)
    }

    /// The line, and a caret below the column, as compilers show them; nothing of very long lines.
    private func snippet(_ place: Place) -> String {
        let lines = lines
        guard lines.indices.contains(place.line - 1) else { return "" }
        let line = String(lines[place.line - 1])
        guard line.count <= 200, place.column <= line.count + 1 else { return "" }
        let number = "\(place.line)"
        let margin = String(repeating: " ", count: number.count)
        let spaces = String(
            repeating: " ", count: String(line.prefix(place.column - 1)).printable.count)
        return "\n  \(number) | \(line.printable)\n  \(margin) | \(spaces)^"
    }
}

/// The value of one key of sana-tools.yaml.
package struct ProjectValue {
    package typealias Failure = (_ reason: String, _ remedy: String?) -> BadDataError

    package let key: String
    package let node: Node
    package let source: ProjectSource

    /// An error about the value.
    package func bad(_ reason: String) -> BadDataError { source.bad(node, "\(key) \(reason)") }

    /// - Parameter type: what a value that is none is said not to be.
    package func string(_ type: String) throws(BadDataError) -> String {
        guard let text = node.string else { throw bad("is not \(type)") }
        return text
    }

    package func number() throws(BadDataError) -> Double {
        guard let number = node.float else { throw bad("is not a number") }
        return number
    }

    package func integer(_ type: String) throws(BadDataError) -> Int {
        guard let number = node.int else { throw bad("is not \(type)") }
        return number
    }

    /// One string or a list of them, each turned into something by `transform`, which makes errors
    /// about it with its second argument.
    package func strings<Item>(_ transform: (String, Failure) throws -> Item) throws -> [Item] {
        let nodes = node.sequence.map(Array.init) ?? [node]
        return try nodes.map { item in
            guard let text = item.string else {
                throw source.bad(item, "\(key) is not a string or a list of strings")
            }
            return try transform(text) { source.bad(item, "\(key): \($0)", $1) }
        }
    }
}
