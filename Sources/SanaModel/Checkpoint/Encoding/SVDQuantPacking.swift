/// Where nunchaku's tensor core kernels look for the values of a weight `[rows, columns]`, both
/// padded to whole tiles of 128.
///
/// Source: `NunchakuWeightPacker` of deepcompressor-toolkit 0.1.0 (`backend/nunchaku/utils.py`).
enum SVDQuantPacking {
    /// Rows and columns are whole multiples of this.
    static let tile = 128

    static func padded(_ count: Int, to multiple: Int = tile) -> Int {
        (count + multiple - 1) / multiple * multiple
    }

    /// Writes the values that the numbers of 4 bits of a row stand for, by their `levels`.
    ///
    /// - Parameters:
    ///   - columns: padded.
    ///   - count: values that are written, from the first column on.
    static func unpack(
        row: Int, columns: Int, count: Int, _ start: UnsafePointer<UInt8>, levels: [Float],
        to output: UnsafeMutablePointer<Float>
    ) {
        // A tile of rows is 8 packs of 2 × 8 lanes, one of columns 2 packs of 4 lanes of 8 values.
        let (pack, half, lane) = (row % 128 / 16, row % 16 / 8, row % 8)
        levels.withUnsafeBufferPointer { levels in
            for first in stride(from: 0, to: count, by: 8) {
                let tile = row / 128 * (columns / 64) + first / 64
                let (side, column) = (first % 64 / 32, first % 32 / 8)
                let word = (((tile * 8 + pack) * 8 + lane) * 4 + column) * 4 + half * 2 + side
                for index in 0..<min(8, count - first) {
                    let byte = start[word * 4 + index / 2]
                    output[first + index] = levels[Int(index % 2 == 0 ? byte & 15 : byte >> 4)]
                }
            }
        }
    }

    /// Where the value of a row and a group stands, in 16-bit scales, biases and smooth factors.
    ///
    /// - Parameter groups: of columns, 1 for vectors.
    static func scaleIndex(row: Int, group: Int = 0, of groups: Int = 1) -> Int {
        let (a, b, c, d) = (row % 128 / 16, row % 16 / 8, row % 8 / 2, row % 2)
        return ((((row / 128 * groups + group) * 8 + a) * 4 + c) * 2 + b) * 2 + d
    }

    /// The same in scales of 8 bits, four groups of which stand together.
    static func microScaleIndex(row: Int, group: Int, of groups: Int) -> Int {
        let (a, b, c) = (row % 128 / 32, row % 32 / 8, row % 8)
        let block = row / 128 * (groups / 4) + group / 4
        return (((block * 8 + c) * 4 + b) * 4 + a) * 4 + group % 4
    }

    /// Where a value of the low-rank matrices stands, which are packed in blocks of 16 × 16.
    ///
    /// - Parameters:
    ///   - outer: column of `down`, row of `up`.
    ///   - isDown: whether the ranks are the rows of a block.
    static func lowRankIndex(outer: Int, rank: Int, of ranks: Int, isDown: Bool) -> Int {
        let block = outer / 16 * (ranks / 16) + rank / 16
        let (n, k) = isDown ? (rank % 16, outer % 16) : (outer % 16, rank % 16)
        let (lane, column) = (n % 8, k % 8 / 2)
        return ((((block * 8 + lane) * 4 + column) * 2 + n / 8) * 2 + k / 8) * 2 + k % 2
    }
}
