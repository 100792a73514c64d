/// How SDNQ packs numbers of 1 to 15 bits into words of 8 or 16: the first numbers take the low
/// bits of a word each, and what is left of the words makes the others.
///
/// Source: sdnq 0.2.8, `packed_int/unpack.py`.
struct SDNQPacking: Sendable {
    /// Numbers that share some words.
    let values: Int
    /// Those words.
    let words: Int
    /// Bits of a word.
    let wordBits: Int
    /// Of every number the terms that it is joined from.
    private let terms: [Term]
    /// Where those of a number begin, and where the last one's end.
    private let starts: [Int]

    /// Some bits of a word: shifted to the right, or to the left where `shift` is negative, then
    /// masked.
    private struct Term {
        let word: Int
        let shift: Int
        let mask: UInt32
    }

    /// - Parameter bits: of a number.
    init?(bits: Int) {
        guard (1...15).contains(bits), let numbers = Self.numbers(bits) else { return nil }
        (values, wordBits) = (numbers.count, bits < 8 ? 8 : 16)
        words = 1 + (numbers.joined().map(\.word).max() ?? 0)
        terms = Array(numbers.joined())
        starts = numbers.reduce(into: [0]) { $0.append($0[$0.count - 1] + $1.count) }
    }

    /// Number `index` of those that begin at `start`.
    func number(_ index: Int, at start: UnsafePointer<UInt8>) -> UInt32 {
        var number: UInt32 = 0
        for place in starts[index]..<starts[index + 1] {
            let term = terms[place]
            let word =
                wordBits == 8
                ? UInt32(start[term.word])
                : UInt32(start[2 * term.word]) | UInt32(start[2 * term.word + 1]) << 8
            number |= (term.shift < 0 ? word << -term.shift : word >> term.shift) & term.mask
        }
        return number
    }

    // MARK: Layouts

    private static func numbers(_ bits: Int) -> [[Term]]? {
        let mask = UInt32(1) << bits - 1
        /// Numbers in the low bits of as many words.
        func low(_ count: Int) -> [[Term]] {
            (0..<count).map { [Term(word: $0, shift: 0, mask: mask)] }
        }
        switch bits {
        case 1, 2, 4:
            return (0..<8 / bits).map { [Term(word: 0, shift: $0 * bits, mask: mask)] }
        case 6, 7, 12, 14, 15:
            // The left bits of all words make one more number, the highest first.
            let rest = (bits < 8 ? 8 : 16) - bits
            let last = (0..<bits / rest).map { word -> Term in
                let below = mask >> (rest * (word + 1))
                return Term(
                    word: word, shift: rest * (word + 1), mask: mask >> (rest * word) & ~below)
            }
            return low(last.count) + [last]
        case 3: return low(3) + threeBits
        case 5, 10: return low(5) + fiveWords(bits)
        case 9: return low(8) + nineBits
        case 11: return low(8) + elevenBits
        case 13: return low(13) + thirteenBits
        default: return nil
        }
    }

    private static let threeBits: [[Term]] = [
        [Term(word: 0, shift: 3, mask: 7)], [Term(word: 1, shift: 3, mask: 7)],
        [Term(word: 2, shift: 3, mask: 7)],
        [Term(word: 0, shift: 6, mask: 3), Term(word: 2, shift: 4, mask: 4)],
        [Term(word: 1, shift: 6, mask: 3), Term(word: 2, shift: 5, mask: 4)],
    ]

    private static let nineBits: [[Term]] = (0..<8).map { index -> [Term] in
        let high = Term(word: 8, shift: 2 * index - 7, mask: 384)
        return [Term(word: index, shift: 9, mask: 127), high]
    }

    private static let thirteenBits: [[Term]] = (0..<3).map { index -> [Term] in
        let parts = (0..<4).map { part in
            Term(word: 3 * part + index, shift: 13 - 3 * part, mask: 7 << UInt32(3 * part))
        }
        return parts + [Term(word: 12, shift: index + 1, mask: 4096)]
    }

    /// The last three of eight numbers in five words, of 5 bits in 8 or of 10 in 16.
    private static func fiveWords(_ bits: Int) -> [[Term]] {
        let unit = bits / 5
        let rest: UInt32 = 1 << (3 * unit) - 1
        let high: UInt32 = 1 << (5 * unit) - 1 - rest
        let upper = high & high << unit
        let pair = (0..<2).map { index -> [Term] in
            let top = Term(word: 3 + index, shift: 2 * unit, mask: high)
            return [Term(word: index, shift: bits, mask: rest), top]
        }
        return pair + [
            [
                Term(word: 2, shift: bits, mask: rest),
                Term(word: 3, shift: 3 * unit, mask: upper),
                Term(word: 4, shift: 4 * unit, mask: high & ~upper),
            ]
        ]
    }

    private static let elevenBits: [[Term]] = (0..<8).map { index -> [Term] in
        let low = Term(word: index, shift: 11, mask: 31)
        switch index {
        case 0..<3: return [low, Term(word: 8 + index, shift: -5, mask: 2016)]
        case 3..<6: return [low, Term(word: 5 + index, shift: 1, mask: 2016)]
        default:
            return [
                low, Term(word: 2 + index, shift: 7, mask: 480),
                Term(word: 10, shift: index == 6 ? 3 : 5, mask: 1536),
            ]
        }
    }
}

/// A float of SDNQ's own: `float6_e3m2fn`, and without a sign `float6_e3m3fnu`. All codes are
/// finite.
///
/// Source: sdnq 0.2.8, `packed_float.py`.
struct SDNQFloat: Sendable {
    let bits: Int
    /// Whether there is a sign, which takes the highest bit.
    let isSigned: Bool
    private let exponentBits: Int
    private let mantissaBits: Int

    /// Names without exponent and mantissa.
    private static let short = [
        "fp15": "float15_e5m9fn", "fp14": "float14_e5m8fn", "fp13": "float13_e5m7fn",
        "fp12": "float12_e5m6fn", "fp11": "float11_e5m5fn", "fp10": "float10_e5m4fn",
        "fp9": "float9_e4m4fn", "float8_e4m3fn_sdnq": "float8_e4m3fn", "fp7": "float7_e3m3fn",
        "fp6": "float6_e3m2fn", "fp5": "float5_e2m2fn", "fp4": "float4_e2m1fn",
        "fp3": "float3_e1m1fn", "fp2": "float2_e1m0fn", "fp1": "float1_e1m0fnu",
        "ufp16": "float16_e5m11fnu", "ufp15": "float15_e5m10fnu", "ufp14": "float14_e5m9fnu",
        "ufp13": "float13_e5m8fnu", "ufp12": "float12_e5m7fnu", "ufp11": "float11_e5m6fnu",
        "ufp10": "float10_e5m5fnu", "ufp9": "float9_e4m5fnu", "ufp8": "float8_e4m4fnu",
        "ufp7": "float7_e3m4fnu", "ufp6": "float6_e3m3fnu", "ufp5": "float5_e2m3fnu",
        "ufp4": "float4_e2m2fnu", "ufp3": "float3_e1m2fnu", "ufp2": "float2_e1m1fnu",
        "ufp1": "float1_e1m0fnu",
    ]

    /// `nil` for another type.
    init?(_ name: String) {
        let name = Self.short[name] ?? name
        guard let match = name.wholeMatch(of: /float(\d{1,2})_e(\d)m(\d{1,2})fn(u?)/),
            let bits = Int(match.1), let exponent = Int(match.2), let mantissa = Int(match.3)
        else { return nil }
        isSigned = match.4.isEmpty
        guard (1...16).contains(bits), (1...5).contains(exponent),
            bits == exponent + mantissa + (isSigned ? 1 : 0)
        else { return nil }
        (self.bits, exponentBits, mantissaBits) = (bits, exponent, mantissa)
    }

    func value(_ code: UInt32) -> Float {
        let mantissa = code & (1 << mantissaBits - 1)
        let exponent = Int(code >> mantissaBits & (1 << exponentBits - 1))
        let bias = 1 << (exponentBits - 1) - 1
        let sign: UInt32 = code >> (bits - 1) & 1
        let isNegative = isSigned && sign == 1
        guard exponent > 0 else {
            guard mantissa > 0 else { return 0 }
            let value = Float(
                sign: .plus, exponent: 1 - bias - mantissaBits, significand: Float(mantissa))
            return isNegative ? -value : value
        }
        let field = UInt32(exponent - bias + 127) << 23 | mantissa << (23 - mantissaBits)
        return Float(bitPattern: isNegative ? field | 1 << 31 : field)
    }
}
