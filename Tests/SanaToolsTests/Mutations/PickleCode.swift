/// Where the opcodes of a pickle lie, so that one can be broken without its neighbours.
///
/// Source: CPython's `Lib/pickletools.py`; those that torch.save writes, all others taken for one
/// byte.
enum PickleCode {
    /// An opcode and its argument.
    struct Step: Equatable {
        let start: Int
        let count: Int
    }

    static func steps(_ bytes: ArraySlice<UInt8>) -> [Step] {
        var (steps, place): ([Step], Int) = ([], bytes.startIndex)
        while place < bytes.endIndex {
            let count = min(1 + argument(bytes, after: place), bytes.endIndex - place)
            steps.append(Step(start: place, count: count))
            place += count
        }
        return steps
    }

    private static func argument(_ bytes: ArraySlice<UInt8>, after place: Int) -> Int {
        func number(_ width: Int) -> Int {
            let end = min(place + 1 + width, bytes.endIndex)
            return bytes[(place + 1)..<end].reversed().reduce(0) { $0 << 8 | Int($1) }
        }
        switch bytes[place] {
        case 0x4B, 0x68, 0x71, 0x80: return 1  // BININT1, BINGET, BINPUT, PROTO
        case 0x4D: return 2  // BININT2
        case 0x4A, 0x6A, 0x72: return 4  // BININT, LONG_BINGET, LONG_BINPUT
        case 0x47: return 8  // BINFLOAT
        case 0x55, 0x8A, 0x8C: return 1 + number(1)  // SHORT_BINSTRING, LONG1, SHORT_BINUNICODE
        case 0x58: return 4 + number(4)  // BINUNICODE
        case 0x63:  // GLOBAL: two lines
            var rest = bytes[(place + 1)...]
            for _ in 0..<2 {
                guard let end = rest.firstIndex(of: 10) else { return bytes.endIndex - place - 1 }
                rest = rest[(end + 1)...]
            }
            return rest.startIndex - place - 1
        default: return 0
        }
    }

    /// Opcodes to put in the place of others: all that `Unpickler` knows, and some that it refuses.
    static let opcodes: [UInt8] =
        Array("N.KMJGXBC(012)tl]aed}suqrhjcQRbioP".utf8) + [
            0x80, 0x81, 0x82, 0x85, 0x86, 0x87, 0x88, 0x89, 0x8A, 0x8B, 0x8C, 0x8D, 0x8E, 0x8F,
            0x92,
            0x93, 0x94, 0x95, 0x96,
        ]
}
