import Libc

/// The pieces of a vocabulary by id, and their ids by bytes.
///
/// Keys are bytes, never `String`s: those compare by canonical equivalence, and "é" as one scalar
/// and as two are different pieces.
struct PieceTable: Sendable {
    /// All pieces, one after the other, in the order of the file.
    private let bytes: [UInt8]
    /// Where the piece of an id is.
    private let ranges: [Range<UInt32>]
    /// Ids by hash, open addressing; negative where free. Hashes are seeded anew in every process,
    /// so a file cannot be made to collide.
    private let slots: [Int32]

    /// Pieces as a file lists them.
    struct Builder {
        private(set) var bytes: [UInt8] = []
        private var ends: [UInt32] = []
        private var ids: [Int] = []

        mutating func add(_ piece: [UInt8], id: Int) {
            bytes.append(contentsOf: piece)
            ends.append(UInt32(truncatingIfNeeded: bytes.count))
            ids.append(id)
        }

        /// What is wrong with the pieces, or the table of them.
        func build() throws(TokenizerDefect) -> PieceTable {
            var ranges = [Range<UInt32>](repeating: 0..<0, count: ids.count)
            var start: UInt32 = 0
            for (index, id) in ids.enumerated() {
                guard id < ids.count else {
                    throw TokenizerDefect(
                        "vocab has \(ids.count) pieces, and one of them has id \(id)")
                }
                guard ranges[id].isEmpty else {
                    throw TokenizerDefect("vocab has two pieces with id \(id)")
                }
                (ranges[id], start) = (start..<ends[index], ends[index])
            }
            return try PieceTable(bytes: bytes, ranges: ranges)
        }
    }

    private init(bytes: [UInt8], ranges: [Range<UInt32>]) throws(TokenizerDefect) {
        var capacity = 16
        while capacity < 2 * ranges.count { capacity *= 2 }
        var slots = [Int32](repeating: -1, count: capacity)
        var duplicate: Int?
        bytes.withUnsafeBytes { bytes in
            for id in ranges.indices where duplicate == nil {
                let piece = Self.piece(ranges[id], bytes)
                let slot = Self.slot(of: piece, slots, ranges, bytes)
                if slots[slot] >= 0 { duplicate = id } else { slots[slot] = Int32(id) }
            }
        }
        (self.bytes, self.ranges, self.slots) = (bytes, ranges, slots)
        if let duplicate {
            throw TokenizerDefect("vocab lists '\(self[duplicate].printable)' twice")
        }
    }

    var count: Int { ranges.count }

    /// The piece of an id below `count`.
    subscript(id: Int) -> String { String(decoding: bytes[Range(ranges[id])], as: UTF8.self) }

    /// The id of a piece.
    func id(_ piece: UnsafeRawBufferPointer) -> Int? {
        bytes.withUnsafeBytes { bytes in
            let id = slots[Self.slot(of: piece, slots, ranges, bytes)]
            return id < 0 ? nil : Int(id)
        }
    }

    func id(_ piece: [UInt8]) -> Int? { piece.withUnsafeBytes { id($0) } }

    func id(_ piece: String) -> Int? { id(Array(piece.utf8)) }

    private static func piece(
        _ range: Range<UInt32>, _ bytes: UnsafeRawBufferPointer
    ) -> UnsafeRawBufferPointer {
        UnsafeRawBufferPointer(rebasing: bytes[Int(range.lowerBound)..<Int(range.upperBound)])
    }

    /// The slot that holds `piece`, or that it would take.
    private static func slot(
        of piece: UnsafeRawBufferPointer, _ slots: [Int32], _ ranges: [Range<UInt32>],
        _ bytes: UnsafeRawBufferPointer
    ) -> Int {
        var hasher = Hasher()
        hasher.combine(bytes: piece)
        var slot = hasher.finalize() & (slots.count - 1)
        while slots[slot] >= 0 {
            if Self.isEqual(Self.piece(ranges[Int(slots[slot])], bytes), piece) { break }
            slot = (slot + 1) & (slots.count - 1)
        }
        return slot
    }
}

extension PieceTable {
    /// Neither is empty.
    private static func isEqual(
        _ one: UnsafeRawBufferPointer, _ other: UnsafeRawBufferPointer
    ) -> Bool {
        guard one.count == other.count, let a = one.baseAddress, let b = other.baseAddress else {
            return false
        }
        return memcmp(a, b, one.count) == 0
    }
}

extension Range<Int> {
    fileprivate init(_ range: Range<UInt32>) {
        self = Int(range.lowerBound)..<Int(range.upperBound)
    }
}

/// What is wrong with a tokenizer.
struct TokenizerDefect: Error {
    let reason: String
    init(_ reason: String) { self.reason = reason }
}
