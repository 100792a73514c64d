/// A JSON document that keeps what JSON keeps: key order and the digits of every number.
///
/// Foundation's decoders merge duplicate keys and round numbers; a checkpoint's headers need the
/// former refused and `config.json` needs both preserved, hence this type.
public enum JSONValue: Sendable, Equatable {
    case null
    case bool(Bool)
    /// The number as written.
    case number(String)
    case string(String)
    case array([JSONValue])
    case object([Member])

    /// One `"key": value` of an object.
    public struct Member: Sendable, Equatable {
        public let key: String
        public let value: JSONValue
        public init(_ key: String, _ value: JSONValue) {
            self.key = key
            self.value = value
        }
    }

    /// The value under `key` of an object; `nil` for other kinds and absent keys.
    public subscript(key: String) -> JSONValue? {
        guard case .object(let members) = self else { return nil }
        return members.first { $0.key == key }?.value
    }

    public var string: String? { if case .string(let text) = self { text } else { nil } }
    public var bool: Bool? { if case .bool(let flag) = self { flag } else { nil } }
    public var array: [JSONValue]? { if case .array(let items) = self { items } else { nil } }
    public var members: [Member]? { if case .object(let members) = self { members } else { nil } }
    public var double: Double? {
        if case .number(let digits) = self { Double(digits) } else { nil }
    }
    /// The number when it is a whole one that fits, `1.0` and `1e3` included.
    public var int: Int? {
        guard case .number(let digits) = self else { return nil }
        return Int(digits) ?? Double(digits).flatMap { Int(exactly: $0) }
    }

    /// An integer as a JSON number.
    public static func int(_ value: Int) -> JSONValue { .number(String(value)) }

    /// A number in the shortest digits that read back as the same, or `null` where JSON has none.
    public static func double(_ value: Double?) -> JSONValue {
        guard let value, value.isFinite else { return .null }
        return .number("\(value)")
    }

    /// The object with `key` set to `value`: replaced in place, or appended.
    public func setting(_ key: String, to value: JSONValue) -> JSONValue {
        guard case .object(var members) = self else { return self }
        if let index = members.firstIndex(where: { $0.key == key }) {
            members[index] = Member(key, value)
        } else {
            members.append(Member(key, value))
        }
        return .object(members)
    }

    /// The object without `key`.
    public func removing(_ key: String) -> JSONValue {
        guard case .object(let members) = self else { return self }
        return .object(members.filter { $0.key != key })
    }

    /// The text of the document, hidden scalars in strings escaped; see `Unicode.Scalar.isHidden`.
    ///
    /// - Parameters:
    ///   - sortedKeys: order the keys of every object bytewise (the archive's manifest).
    ///   - indent: spaces per level; `nil` writes no white space at all.
    public func text(sortedKeys: Bool = false, indent: Int? = nil) -> String {
        var output = ""
        write(to: &output, sortedKeys: sortedKeys, indent: indent, level: 0)
        return output
    }

    private func write(to output: inout String, sortedKeys: Bool, indent: Int?, level: Int) {
        func lineBreak(_ level: Int) {
            guard let indent else { return }
            output += "\n" + String(repeating: " ", count: indent * level)
        }
        let isEscaped = sortedKeys ? JSONValue.isControl : \.isHidden
        switch self {
        case .null: output += "null"
        case .bool(let flag): output += flag ? "true" : "false"
        case .number(let digits): output += digits
        case .string(let text): output += JSONValue.quoted(text, isEscaped)
        case .array(let items):
            output += "["
            for (index, item) in items.enumerated() {
                if index > 0 { output += "," }
                lineBreak(level + 1)
                item.write(to: &output, sortedKeys: sortedKeys, indent: indent, level: level + 1)
            }
            if !items.isEmpty { lineBreak(level) }
            output += "]"
        case .object(let members):
            let ordered =
                sortedKeys
                ? members.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) } : members
            output += "{"
            for (index, member) in ordered.enumerated() {
                if index > 0 { output += "," }
                lineBreak(level + 1)
                output += JSONValue.quoted(member.key, isEscaped) + (indent == nil ? ":" : ": ")
                member.value.write(
                    to: &output, sortedKeys: sortedKeys, indent: indent, level: level + 1)
            }
            if !members.isEmpty { lineBreak(level) }
            output += "}"
        }
    }

    /// Of the hidden scalars that JSON allows bare those that a manifest's one spelling escapes:
    /// DEL, C1 and bidirectional controls.
    private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
        switch scalar.value {
        case 0x7F...0x9F, 0x200E, 0x200F, 0x202A...0x202E, 0x2066...0x2069: true
        default: scalar.value < 0x20
        }
    }

    private static func quoted(_ text: String, _ isEscaped: (Unicode.Scalar) -> Bool) -> String {
        var output = "\""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "\"": output += "\\\""
            case "\\": output += "\\\\"
            case "\n": output += "\\n"
            case "\r": output += "\\r"
            case "\t": output += "\\t"
            case _ where isEscaped(scalar):
                for unit in UTF16.encode(scalar) ?? .init() {
                    let digits = String(unit, radix: 16)
                    output += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
                }
            default: output.unicodeScalars.append(scalar)
            }
        }
        return output + "\""
    }
}
