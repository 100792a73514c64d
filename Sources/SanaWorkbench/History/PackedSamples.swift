import Foundation
import GRDB

/// Nanoseconds of one layer's repetitions as the database keeps them.
///
/// The first value, then what each one adds to the one before it: zigzag numbers (0, -1, 1, -2 … as
/// 0, 1, 2, 3 …) of seven bits a byte, lowest first, the top bit set in all but the last byte.
package enum PackedSamples {
    /// - Throws: `DatabaseError` for a negative value.
    package static func encode(_ values: [Int]) throws -> Data {
        var bytes: [UInt8] = []
        bytes.reserveCapacity(values.count * 3 + 2)
        var last = 0
        for value in values {
            guard isLatency(value) else { throw damaged("a sample is not a latency") }
            let difference = value - last
            last = value
            var rest = UInt(bitPattern: (difference << 1) ^ (difference >> (Int.bitWidth - 1)))
            while rest > 0x7F {
                bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
                rest >>= 7
            }
            bytes.append(UInt8(rest))
        }
        return Data(bytes)
    }

    /// - Throws: `DatabaseError` where `data` is not just `count` values, none of them negative.
    package static func decode(_ data: Data, count: Int) throws -> [Int] {
        // A value has at least a byte.
        guard count >= 0, count <= data.count else { throw damaged("samples are missing") }
        var values: [Int] = []
        values.reserveCapacity(count)
        var (last, number, shift) = (0, UInt(0), 0)
        for byte in data {
            guard shift < 63 else { throw damaged("a sample is too large") }
            number |= UInt(byte & 0x7F) << UInt(shift)
            shift += 7
            if byte & 0x80 != 0 { continue }
            let difference = Int(number >> 1) ^ -Int(number & 1)
            let (value, overflows) = last.addingReportingOverflow(difference)
            guard !overflows, isLatency(value) else { throw damaged("a sample is not a latency") }
            values.append(value)
            (last, number, shift) = (value, 0, 0)
        }
        guard shift == 0, values.count == count else {
            throw damaged("samples and their count differ")
        }
        return values
    }

    /// Statistics take samples as `Double`.
    private static func isLatency(_ value: Int) -> Bool { value >= 0 && value <= 1 << 53 }

    private static func damaged(_ message: String) -> DatabaseError {
        DatabaseError(resultCode: .SQLITE_CONSTRAINT, message: message)
    }
}
