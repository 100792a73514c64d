import SanaModel

@testable import SanaTools
@testable import SanaWorkbench

/// Breaks files at random, the same way for the same seed.
struct Mutator {
    /// What stands at the start of a file, so that mutations can keep or break it on purpose.
    enum Framing {
        /// Nothing.
        case none
        /// Eight bytes with the length of a JSON header, as in safetensors.
        case safetensors
        /// Entries of a zip file, stored as they are.
        case zip
    }

    private let original: [UInt8]
    private let framing: Framing
    private var random: SplitMix64

    init(_ original: [UInt8], _ framing: Framing, seed: UInt64) {
        (self.original, self.framing, random) = (original, framing, SplitMix64(seed: seed))
    }

    /// The file with one to three defects.
    mutating func next() -> [UInt8] {
        var bytes = original
        for _ in 0..<Int.random(in: 1...3, using: &random) { mutate(&bytes) }
        return bytes
    }

    private mutating func mutate(_ bytes: inout [UInt8]) {
        if framing == .zip, breakZip(&bytes) { return }
        guard !bytes.isEmpty else { return bytes = (0..<9).map { _ in anyByte() } }
        let place = place(in: bytes)
        let count = min(
            Int.random(in: 1...choice(Self.lengths), using: &random),
            bytes.count - place)
        switch Int.random(in: 0..<14, using: &random) {
        case 0: bytes[place] ^= 1 << UInt8.random(in: 0..<8, using: &random)
        case 1: bytes[place] = anyByte()
        case 2: bytes.removeSubrange(place...)
        case 3: bytes.insert(contentsOf: (0..<count).map { _ in anyByte() }, at: place)
        case 4: bytes.insert(contentsOf: Array(bytes[place..<place + count]), at: place)
        case 5: bytes.replaceSubrange(place..<place + count, with: repeatElement(0, count: count))
        case 6: bytes.removeSubrange(place..<place + count)
        case 7, 8, 9: changeNumber(in: &bytes, near: place)
        case 10: writeInteger(&bytes, place)
        case 11, 12: changeText(in: &bytes, near: place)
        default: breakHeader(of: &bytes)
        }
    }

    /// Half of the defects fall where the structure of a file is: its first and last bytes.
    private mutating func place(in bytes: [UInt8]) -> Int {
        let near = min(4096, bytes.count)
        return switch Int.random(in: 0..<8, using: &random) {
        case 0, 1, 2: Int.random(in: 0..<near, using: &random)
        case 3: bytes.count - 1 - Int.random(in: 0..<near, using: &random)
        default: Int.random(in: 0..<bytes.count, using: &random)
        }
    }

    /// A number from 0 to one less than `end`.
    mutating func below(_ end: Int) -> Int { Int.random(in: 0..<end, using: &random) }

    private mutating func choice<Value>(_ values: [Value]) -> Value {
        values[Int.random(in: values.indices, using: &random)]
    }

    private mutating func anyByte() -> UInt8 { UInt8.random(in: 0...255, using: &random) }

    /// Replaces a number written in digits by an awkward one, in text or in a header of text, whose
    /// length then stays right.
    private mutating func changeNumber(in bytes: inout [UInt8], near place: Int) {
        let end =
            framing == .safetensors
            ? min(bytes.count, 8 + Self.headerByteCount(bytes)) : bytes.count
        let start = place < end ? place : Int.random(in: 0..<max(1, end), using: &random)
        guard start < end, let first = bytes[start..<end].firstIndex(where: Self.isDigit) else {
            return
        }
        var last = first
        while last < end, Self.isDigit(bytes[last]) { last += 1 }
        let number = Array(choice(Self.numbers).utf8)
        bytes.replaceSubrange(first..<last, with: number)
        if framing == .safetensors, first >= 8 {
            setHeaderByteCount(
                of: &bytes, Self.headerByteCount(bytes) + number.count - (last - first))
        }
    }

    /// Puts odd text into a text between quotes, or where none is, anywhere.
    private mutating func changeText(in bytes: inout [UInt8], near place: Int) {
        let end =
            framing == .safetensors
            ? min(bytes.count, 8 + Self.headerByteCount(bytes)) : bytes.count
        let start = place < end ? place : Int.random(in: 0..<max(1, end), using: &random)
        let quote = start < end ? bytes[start..<end].firstIndex(of: UInt8(ascii: "\"")) : nil
        let text = oddText()
        bytes.insert(contentsOf: text, at: quote.map { $0 + 1 } ?? min(start, bytes.count))
        if framing == .safetensors, start >= 8 {
            setHeaderByteCount(of: &bytes, Self.headerByteCount(bytes) + text.count)
        }
    }

    private mutating func oddText() -> [UInt8] {
        let length = choice([1, 1, 2, 20, 400])
        switch Int.random(in: 0..<6, using: &random) {
        case 0: return choice(OddText.brokenUTF8)
        case 1: return Array(choice(OddText.escapes).utf8)
        case 2: return Array(String(repeating: choice(OddText.pieces), count: length).utf8)
        default: return Array(choice(OddText.pieces).utf8)
        }
    }

    /// A name of one to four odd pieces.
    mutating func oddName() -> String {
        (0..<Int.random(in: 1...4, using: &random)).map { _ in choice(OddText.pieces) }.joined()
    }

    /// Replaces a little-endian integer by one at the edge of its range.
    mutating func writeInteger(_ bytes: inout [UInt8], _ place: Int) {
        let value = choice(Self.integers)
        let width = choice([2, 4, 8])
        for index in 0..<min(width, bytes.count - place) {
            bytes[place + index] = UInt8(truncatingIfNeeded: value >> (8 * UInt64(index)))
        }
    }

    /// Changes the length of a header; without one, the first bytes of the file.
    private mutating func breakHeader(of bytes: inout [UInt8]) {
        guard framing == .safetensors, bytes.count > 8 else {
            return writeInteger(&bytes, 0)
        }
        let near = Self.headerByteCount(bytes) + Int.random(in: -16...16, using: &random)
        let far = Int(truncatingIfNeeded: choice(Self.integers))
        setHeaderByteCount(of: &bytes, Bool.random(using: &random) ? near : far)
    }

    private func setHeaderByteCount(of bytes: inout [UInt8], _ count: Int) {
        for index in 0..<8 { bytes[index] = UInt8(truncatingIfNeeded: count >> (8 * index)) }
    }

    /// The length that the header claims, no more than the file holds.
    private static func headerByteCount(_ bytes: [UInt8]) -> Int {
        guard bytes.count > 8 else { return 0 }
        let claimed = bytes[..<8].reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) }
        return Int(min(claimed, UInt64(bytes.count - 8)))
    }

    private static func isDigit(_ byte: UInt8) -> Bool { (0x30...0x39).contains(byte) }

    private static let lengths = [1, 8, 64, 2000]
    private static let integers: [UInt64] = [
        0, 1, 0x7F, 0x80, 0xFF, 0xFFFF, 0x7FFF_FFFF, 0x8000_0000, 0xFFFF_FFFF, 1 << 33, 1 << 53,
        .max >> 1, 1 << 63, .max,
    ]
    private static let numbers = [
        "0", "1", "-1", "7", "65", "1000", "65536", "1000003", "2147483647", "4294967295",
        "4294967296", "9007199254740993", "9223372036854775807", "9223372036854775808",
        "18446744073709551616", "99999999999999999999999999", "1e308", "1e999", "-0", "0.5",
        "1e-320",
        "NaN", "-Infinity", "00", "\"x\"", "null", "[]", "{}",
    ]
}
