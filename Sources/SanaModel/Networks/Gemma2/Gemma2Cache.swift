/// Keys, values and results of the tokens that many texts begin with, such as an instruction before
/// every prompt: they are computed once.
///
/// The first text that begins so fills it. One forward at a time, always of the same model.
public final class Gemma2Cache {
    /// Of one layer, a row for each token.
    struct Layer {
        let keys: Matrix
        let values: Matrix
    }

    /// The tokens to keep, fewer where the text that filled it began with fewer of them.
    private var ids: [Int]
    private(set) var layers: [Layer] = []
    /// Hidden states after the last norm; `nil` until filled.
    private(set) var states: Matrix?
    private var capsScores = true

    /// - Parameter ids: tokens that texts will begin with.
    public init(ids: [Int]) { self.ids = ids }

    /// Tokens whose keys and values it has.
    public var count: Int { states == nil ? 0 : ids.count }

    /// Tokens at the beginning of a text that need not be computed; its last one is not among them.
    func knownCount(of text: [Int], capsScores: Bool) -> Int {
        guard states != nil, capsScores == self.capsScores else { return 0 }
        return shared(with: text.dropLast())
    }

    private func shared(with text: some Sequence<Int>) -> Int {
        zip(ids, text).prefix { $0 == $1 }.count
    }

    /// Keeps keys and values of a layer while the first text is computed.
    func fill(_ text: [Int], layer: Int, keys: Matrix, values: Matrix) {
        guard states == nil else { return }
        if layer == 0 { layers = [] }
        let count = shared(with: text)
        layers.append(
            Layer(keys: keys.copied(rows: count), values: values.copied(rows: count)))
    }

    func finish(_ text: [Int], states: Matrix, capsScores: Bool) {
        guard self.states == nil else { return }
        let count = shared(with: text)
        // A text that begins otherwise leaves the cache to the next one.
        guard count > 0 else { return }
        ids = Array(ids.prefix(count))
        (self.states, self.capsScores) = (states.copied(rows: count), capsScores)
    }
}

extension Matrix {
    /// The first rows in memory of their own.
    fileprivate func copied(rows count: Int) -> Matrix {
        let copy = Matrix(rows: count, columns: columns)
        copy.pointer.update(from: pointer, count: copy.count)
        return copy
    }
}
