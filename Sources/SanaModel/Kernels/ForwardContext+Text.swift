import CSanaKernels
import Libc

/// Tokens of one text among the rows of matrices.
struct TokenSequence {
    /// Row of the first token that is computed.
    let row: Int
    /// Row of the text's first token among keys and values.
    let keyRow: Int
    /// Tokens before those that are computed.
    let known: Int
    /// Tokens that are computed.
    let count: Int

    /// Queries of a text that one task of attention takes, counted from its first token. Sums over
    /// keys run to the end of such a block, so they are the same however many tokens follow.
    static let block = 64

    /// Rows that keys and values take: whole blocks.
    var keyRows: Int { (known + count + Self.block - 1) / Self.block * Self.block }
}

/// Cosines and sines of rotary positions, a row for each position.
struct Rotation {
    let cosines: Matrix
    let sines: Matrix
}

/// Passes of a text encoder. Rows are the tokens of all texts, one after the other.
extension ForwardContext {
    /// y = scale · the rows `ids` of a stored matrix, which is not read otherwise and whose memory
    /// is given back: a row brings along the pages around it.
    func lookUp(_ ids: [Int], in weight: Weight, scale factor: Float, into y: Matrix) {
        if records([], into: y) { return }
        for (row, id) in ids.enumerated() { weight.copyRow(id, to: y.row(row)) }
        weight.releasePages()
        scale(y, by: factor)
    }

    /// Angles are products in fp32, as in transformers.
    func rotation(_ frequencies: [Float], positions: Int) -> Rotation {
        let rotation = Rotation(
            cosines: matrix(.cosines, rows: positions, columns: frequencies.count),
            sines: matrix(.sines, rows: positions, columns: frequencies.count))
        fill(rotation.cosines) {
            for position in 0..<positions {
                for (index, frequency) in frequencies.enumerated() {
                    let angle = Double(Float(position) * frequency)
                    rotation.cosines.row(position)[index] = Float(cos(angle))
                    rotation.sines.row(position)[index] = Float(sin(angle))
                }
            }
        }
        return rotation
    }

    /// Turns the pairs of channels of every head, channel i with channel i + dim / 2.
    func rotate(_ x: Matrix, _ rotation: Rotation, positions: [Int]) {
        if records([x, rotation.cosines], into: x) { return }
        let pairs = rotation.cosines.columns
        forEachRow(x.rows) { row in
            let position = positions[row]
            for head in 0..<x.columns / (2 * pairs) {
                Kernels.best.rotate(
                    x.row(row) + head * 2 * pairs, rotation.cosines.row(position),
                    rotation.sines.row(position), pairs)
            }
        }
    }

    /// The rows `places` of a matrix.
    func pick(_ places: [Int], of x: Matrix, into y: Matrix) {
        if records([x], into: y) { return }
        for (row, place) in places.enumerated() {
            y.row(row).update(from: x.row(place), count: x.columns)
        }
    }

    /// y = y · x
    func multiply(_ y: Matrix, by x: Matrix) {
        if records([y, x], into: y) { return }
        forEachRow(y.rows) { Kernels.best.multiply(y.row($0), x.row($0), y.columns) }
    }

    /// y = GELU(gate) in the tanh approximation · x
    func gatedGelu(_ x: Matrix, gate: Matrix, into y: Matrix) {
        if records([x, gate], into: y) { return }
        forEachRow(y.rows) {
            Kernels.best.gated_gelu(x.row($0), gate.row($0), y.row($0), y.columns)
        }
    }

    /// Rows of each text, those before first, then zeros up to whole blocks.
    func gather(
        _ x: Matrix, after known: Matrix?, _ sequences: [TokenSequence], into y: Matrix
    ) {
        if records([x], into: y) { return }
        for sequence in sequences {
            let (first, count) = (sequence.known, sequence.count)
            if let known, first > 0 {
                y.row(sequence.keyRow).update(from: known.pointer, count: first * y.columns)
            }
            y.row(sequence.keyRow + first).update(
                from: x.row(sequence.row), count: count * y.columns)
            y.row(sequence.keyRow + first + count).update(
                repeating: 0, count: (sequence.keyRows - first - count) * y.columns)
        }
    }

    /// The rows of each text at the beginning of `padded` positions of `y` `[texts, padded,
    /// channels]`.
    func scatter(
        _ x: Matrix, _ sequences: [TokenSequence], padded: Int, into y: DenseTensor
    ) {
        if records([x], into: Matrix(y.values, rows: 1, columns: y.count)) { return }
        for (text, sequence) in sequences.enumerated() {
            (y.values.pointer + text * padded * x.columns).update(
                from: x.row(sequence.row), count: sequence.count * x.columns)
        }
    }
}

extension Scratch {
    fileprivate static let cosines = Scratch()
    fileprivate static let sines = Scratch()
}
