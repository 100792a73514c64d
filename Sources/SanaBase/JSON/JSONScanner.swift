/// What a JSON text does wrong, and at which byte.
public struct JSONError: Error, Equatable, CustomStringConvertible {
    public let offset: Int
    public let reason: String

    public init(offset: Int, reason: String) { (self.offset, self.reason) = (offset, reason) }

    public var description: String { "invalid JSON at byte \(offset): \(reason)" }
}

/// A strict pull parser over untrusted bytes (RFC 8259), linear in the input, with bounded depth.
///
/// Duplicate keys are refused at every level, which RFC 8259 leaves open and which an attacker uses
/// to make two readers see two files. Python's `NaN` and `Infinity` are read only when asked for.
public struct JSONScanner {
    /// Deepest nesting of arrays and objects.
    public static let maximumDepth = 64
    /// Most values of a tree, which takes many times the memory of its text.
    public static let maximumValueCount = 1 << 19

    private let bytes: UnsafeRawBufferPointer
    private let allowsNonFinite: Bool
    /// Byte that comes next.
    public private(set) var offset = 0
    private var depth = 0
    private var valueCount = 0

    /// - Parameter bytes: UTF-8 text; must outlive the scanner.
    public init(_ bytes: UnsafeRawBufferPointer, allowsNonFinite: Bool = false) {
        self.bytes = bytes
        self.allowsNonFinite = allowsNonFinite
    }

    /// Reads a whole document.
    ///
    /// - Throws: `JSONError`.
    public static func parse(
        _ bytes: UnsafeRawBufferPointer, allowsNonFinite: Bool = false
    ) throws(JSONError) -> JSONValue {
        var scanner = JSONScanner(bytes, allowsNonFinite: allowsNonFinite)
        let value = try scanner.value()
        try scanner.end()
        return value
    }

    /// Reads a whole document.
    public static func parse(_ text: String) throws(JSONError) -> JSONValue {
        var text = text
        let result = text.withUTF8 { utf8 -> Result<JSONValue, JSONError> in
            do throws(JSONError) {
                return .success(try parse(UnsafeRawBufferPointer(utf8)))
            } catch { return .failure(error) }
        }
        return try result.get()
    }

    /// An error at the current byte.
    public func error(_ reason: String) -> JSONError { JSONError(offset: offset, reason: reason) }

    /// Accepts nothing but white space up to the end.
    public mutating func end() throws(JSONError) {
        skipWhitespace()
        guard offset == bytes.count else { throw error("text after the end of the document") }
    }

    /// Reads an object, calling `member` at each value, which it must read.
    public mutating func object(
        _ member: (inout JSONScanner, String) throws(JSONError) -> Void
    ) throws(JSONError) {
        try enter(UInt8(ascii: "{"))
        var seen = Set<String>()
        if take(UInt8(ascii: "}")) { return leave() }
        repeat {
            skipWhitespace()
            let start = offset
            let key = try string()
            guard seen.insert(key).inserted else {
                throw JSONError(offset: start, reason: "duplicate key \"\(key.printable)\"")
            }
            guard take(UInt8(ascii: ":")) else { throw error("expected ':'") }
            try member(&self, key)
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw error("expected ',' or '}'") }
        leave()
    }

    /// Reads an array, calling `element` at each value, which it must read.
    public mutating func array(
        _ element: (inout JSONScanner) throws(JSONError) -> Void
    ) throws(JSONError) {
        try enter(UInt8(ascii: "["))
        if take(UInt8(ascii: "]")) { return leave() }
        repeat { try element(&self) } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "]")) else { throw error("expected ',' or ']'") }
        leave()
    }

    /// Reads any value as a tree.
    public mutating func value() throws(JSONError) -> JSONValue {
        skipWhitespace()
        guard let first = peek else { throw error("the document ends where a value should be") }
        valueCount += 1
        guard valueCount <= Self.maximumValueCount else {
            throw error("more than \(Self.maximumValueCount) values")
        }
        switch first {
        case UInt8(ascii: "{"):
            var members: [JSONValue.Member] = []
            try object { scanner, key throws(JSONError) in
                members.append(.init(key, try scanner.value()))
            }
            return .object(members)
        case UInt8(ascii: "["):
            var items: [JSONValue] = []
            try array { scanner throws(JSONError) in items.append(try scanner.value()) }
            return .array(items)
        case UInt8(ascii: "\""): return .string(try string())
        case UInt8(ascii: "t"): return try literal("true", .bool(true))
        case UInt8(ascii: "f"): return try literal("false", .bool(false))
        case UInt8(ascii: "n"): return try literal("null", .null)
        case UInt8(ascii: "N") where allowsNonFinite: return try literal("NaN", .number("nan"))
        case UInt8(ascii: "I") where allowsNonFinite: return try literal("Infinity", .number("inf"))
        default: return .number(try number())
        }
    }

    /// Reads any value and keeps nothing of it.
    public mutating func skipValue() throws(JSONError) {
        skipWhitespace()
        switch peek {
        case UInt8(ascii: "{"):
            try object { scanner, _ throws(JSONError) in try scanner.skipValue() }
        case UInt8(ascii: "["): try array { scanner throws(JSONError) in try scanner.skipValue() }
        default:
            _ = try value()
            valueCount -= 1
        }
    }

    /// Reads a non-negative whole number that fits an `Int`, written with digits alone.
    public mutating func unsignedInteger() throws(JSONError) -> Int {
        let start = offset
        let digits = try number()
        guard let value = Int(digits), value >= 0, digits.first != "-" else {
            throw JSONError(
                offset: start, reason: "expected a non-negative integer, got \(digits.printable)")
        }
        return value
    }

    /// Reads a string.
    public mutating func string() throws(JSONError) -> String {
        var text: [UInt8] = []
        try string(into: &text)
        return try checked(String(validating: text, as: UTF8.self))
    }

    /// Reads a string and appends its bytes to `text`, which the document may have spelled in any
    /// bytes: whether they are UTF-8 is the caller's to check.
    public mutating func string(into text: inout [UInt8]) throws(JSONError) {
        guard take(UInt8(ascii: "\"")) else { throw error("expected a string") }
        while true {
            let start = offset
            while let byte = peek, byte >= 0x20, byte != UInt8(ascii: "\""),
                byte != UInt8(ascii: "\\")
            {
                offset += 1
            }
            text.append(contentsOf: UnsafeRawBufferPointer(rebasing: bytes[start..<offset]))
            guard let byte = peek else { throw error("the document ends inside a string") }
            guard byte >= 0x20 else { throw error("control character in a string") }
            offset += 1
            if byte == UInt8(ascii: "\"") { return }
            text.append(contentsOf: String(try escape()).utf8)
        }
    }

    /// Reads an object of any number of members, calling `member` at each value, which it must
    /// read, with the bytes of its key. Duplicate keys are the caller's to find.
    public mutating func members(
        _ member: (inout JSONScanner, [UInt8]) throws(JSONError) -> Void
    ) throws(JSONError) {
        try enter(UInt8(ascii: "{"))
        if take(UInt8(ascii: "}")) { return leave() }
        var key: [UInt8] = []
        repeat {
            key.removeAll(keepingCapacity: true)
            try string(into: &key)
            guard take(UInt8(ascii: ":")) else { throw error("expected ':'") }
            try member(&self, key)
        } while take(UInt8(ascii: ","))
        guard take(UInt8(ascii: "}")) else { throw error("expected ',' or '}'") }
        leave()
    }

    /// Reads past any value without keeping it. Duplicate keys in it are not looked for.
    ///
    /// - Returns: the bytes of the value.
    public mutating func skip() throws(JSONError) -> UnsafeRawBufferPointer {
        skipWhitespace()
        let start = offset
        switch peek {
        case UInt8(ascii: "{"):
            try members { scanner, _ throws(JSONError) in _ = try scanner.skip() }
        case UInt8(ascii: "["):
            try array { scanner throws(JSONError) in _ = try scanner.skip() }
        case UInt8(ascii: "\""):
            var text: [UInt8] = []
            try string(into: &text)
        default:
            _ = try value()
            valueCount -= 1
        }
        return UnsafeRawBufferPointer(rebasing: bytes[start..<offset])
    }

    /// Whether the next value, or what ends the list of them, begins with `byte`.
    public mutating func isNext(_ byte: UInt8) -> Bool {
        skipWhitespace()
        return peek == byte
    }

    private func checked(_ text: String?) throws(JSONError) -> String {
        guard let text else { throw error("string is not UTF-8") }
        guard text.isStreamSafe else {
            throw error("more than 30 combining marks on a character, out of order")
        }
        return text
    }

    // MARK: Pieces

    private var peek: UInt8? { offset < bytes.count ? bytes[offset] : nil }

    private mutating func skipWhitespace() {
        while let byte = peek, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 {
            offset += 1
        }
    }

    /// Skips white space, then one `byte` if it comes next.
    private mutating func take(_ byte: UInt8) -> Bool {
        skipWhitespace()
        guard peek == byte else { return false }
        offset += 1
        return true
    }

    private mutating func enter(_ bracket: UInt8) throws(JSONError) {
        guard take(bracket) else {
            throw error("expected '\(Character(Unicode.Scalar(bracket)))'")
        }
        depth += 1
        guard depth <= Self.maximumDepth else {
            throw error("nested deeper than \(Self.maximumDepth)")
        }
    }

    private mutating func leave() { depth -= 1 }

    private mutating func literal(
        _ word: StaticString, _ value: JSONValue
    ) throws(JSONError) -> JSONValue {
        let length = word.utf8CodeUnitCount
        guard bytes.count - offset >= length,
            (0..<length).allSatisfy({ bytes[offset + $0] == word.utf8Start[$0] })
        else { throw error("unknown word") }
        offset += length
        return value
    }

    private mutating func number() throws(JSONError) -> String {
        skipWhitespace()
        let start = offset
        func isDigit(_ byte: UInt8?) -> Bool {
            byte.map { $0 >= UInt8(ascii: "0") && $0 <= UInt8(ascii: "9") } ?? false
        }
        if peek == UInt8(ascii: "-") { offset += 1 }
        if allowsNonFinite, peek == UInt8(ascii: "I") {
            _ = try literal("Infinity", .null)
            return "-inf"
        }
        let integer = offset
        while isDigit(peek) { offset += 1 }
        guard offset > integer else { throw error("expected a value") }
        guard offset - integer == 1 || bytes[integer] != UInt8(ascii: "0") else {
            throw error("number with a leading zero")
        }
        if peek == UInt8(ascii: ".") {
            offset += 1
            guard isDigit(peek) else { throw error("expected a digit after '.'") }
            while isDigit(peek) { offset += 1 }
        }
        if peek == UInt8(ascii: "e") || peek == UInt8(ascii: "E") {
            offset += 1
            if peek == UInt8(ascii: "+") || peek == UInt8(ascii: "-") { offset += 1 }
            guard isDigit(peek) else { throw error("expected a digit in the exponent") }
            while isDigit(peek) { offset += 1 }
        }
        return String(decoding: bytes[start..<offset], as: UTF8.self)
    }

    private mutating func escape() throws(JSONError) -> Unicode.Scalar {
        guard let byte = peek else { throw error("the document ends inside an escape") }
        offset += 1
        switch byte {
        case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): return Unicode.Scalar(byte)
        case UInt8(ascii: "b"): return "\u{8}"
        case UInt8(ascii: "f"): return "\u{C}"
        case UInt8(ascii: "n"): return "\n"
        case UInt8(ascii: "r"): return "\r"
        case UInt8(ascii: "t"): return "\t"
        case UInt8(ascii: "u"):
            let unit = try hexadecimalUnit()
            if let scalar = Unicode.Scalar(unit) { return scalar }
            guard unit < 0xDC00, peek == UInt8(ascii: "\\") else { throw error("lone surrogate") }
            offset += 1
            guard peek == UInt8(ascii: "u") else { throw error("lone surrogate") }
            offset += 1
            let low = try hexadecimalUnit()
            guard (0xDC00..<0xE000).contains(low),
                let scalar = Unicode.Scalar(0x10000 + ((unit - 0xD800) << 10) + (low - 0xDC00))
            else { throw error("lone surrogate") }
            return scalar
        default: throw error("unknown escape")
        }
    }

    private mutating func hexadecimalUnit() throws(JSONError) -> UInt32 {
        var unit: UInt32 = 0
        for _ in 0..<4 {
            guard let byte = peek, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
                throw error("expected four hexadecimal digits")
            }
            unit = unit << 4 | UInt32(digit)
            offset += 1
        }
        return unit
    }
}
