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

    /// The tokens to keep.
    public let asked: [Int]
    /// Those of them that it has, fewer where the text that filled it began with fewer.
    private var ids: [Int]
    private(set) var layers: [Layer] = []
    /// Hidden states after the last norm, by position, of tokens whose states a text was asked for.
    private var states: [Int: FloatBuffer] = [:]
    private var isFilled = false
    private var capsScores = true

    /// - Parameter ids: tokens that texts will begin with.
    public init(ids: [Int]) { (asked, self.ids) = (ids, ids) }

    /// Tokens whose keys and values it has.
    public var count: Int { isFilled ? ids.count : 0 }

    /// Tokens at the beginning of a text that need not be computed; its last one is not among them.
    ///
    /// - Parameter asked: positions whose states it must have, ascending.
    func knownCount(of text: [Int], asking asked: [Int], capsScores: Bool) -> Int {
        guard isFilled, capsScores == self.capsScores else { return 0 }
        let shared = shared(with: text.dropLast())
        return asked.first { $0 < shared && states[$0] == nil } ?? shared
    }

    /// The hidden state of the token at `position`, after the last norm.
    func state(_ position: Int) -> UnsafePointer<Float>? {
        states[position].map { UnsafePointer($0.pointer) }
    }

    /// Tokens that a text begins with and that it has or is to keep.
    func shared(with text: some Sequence<Int>) -> Int {
        zip(ids, text).prefix { $0 == $1 }.count
    }

    /// Keeps keys and values of a layer while the first text is computed.
    func fill(_ text: [Int], layer: Int, keys: Matrix, values: Matrix) {
        guard !isFilled else { return }
        if layer == 0 { (layers, states) = ([], [:]) }
        let count = shared(with: text)
        layers.append(
            Layer(keys: keys.copied(rows: count), values: values.copied(rows: count)))
    }

    /// Keeps the states of tokens that it has, from the row `row` on.
    func keep(_ text: [Int], _ positions: Range<Int>, _ rows: Matrix, from row: Int) {
        guard !isFilled else { return }
        for position in positions.clamped(to: 0..<shared(with: text)) {
            let state = FloatBuffer(count: rows.columns)
            state.pointer.update(
                from: rows.row(row + position - positions.lowerBound), count: rows.columns)
            states[position] = state
        }
    }

    func finish(_ text: [Int], capsScores: Bool) {
        guard !isFilled else { return }
        let count = shared(with: text)
        // A text that begins otherwise leaves the cache to the next one.
        guard count > 0 else { return }
        ids = Array(ids.prefix(count))
        (isFilled, self.capsScores) = (true, capsScores)
    }
}

// MARK: Kept elsewhere

extension Gemma2Cache {
    /// What it holds by name; empty until it is filled.
    public var contents: [(name: String, values: Matrix)] {
        guard isFilled else { return [] }
        return layers.enumerated().flatMap { index, layer in
            [("layers.\(index).keys", layer.keys), ("layers.\(index).values", layer.values)]
        }
            + states.sorted { $0.key < $1.key }.map { position, state in
                ("states.\(position)", Matrix(state, rows: 1, columns: state.count))
            }
    }

    /// Positions whose hidden states it has, ascending.
    public var positions: [Int] { states.keys.sorted() }

    /// Takes what an equal one held, of the first `count` tokens that were asked for.
    ///
    /// - Parameters:
    ///   - positions: of the states among them, each below `count`.
    ///   - capsScores: whether scores were capped.
    ///   - read: the values of that name, so many rows and columns.
    /// - Throws: what `read` throws.
    public func fill(
        _ count: Int, positions: [Int], capsScores: Bool, for config: Gemma2Config,
        _ read: (_ name: String, _ rows: Int, _ columns: Int) throws -> Matrix
    ) rethrows {
        precondition(count > 0 && count <= asked.count)
        let width = config.numKeyValueHeads * config.headDim
        layers = try (0..<config.numHiddenLayers).map { index in
            Layer(
                keys: try read("layers.\(index).keys", count, width),
                values: try read("layers.\(index).values", count, width))
        }
        states = [:]
        for position in positions {
            states[position] = try read("states.\(position)", 1, config.hiddenSize).buffer
        }
        (ids, isFilled, self.capsScores) = (Array(asked.prefix(count)), true, capsScores)
    }
}

/// Cache of a text encoder's output for an instruction, kept between runs.
public protocol InstructionStore: AnyObject {
    /// Fills a cache with what was kept of an equal one; leaves it as it is where there is nothing.
    ///
    /// - Throws: where what was kept is not whole, or of something else.
    func fill(_ cache: Gemma2Cache, of model: Gemma2Model, _ context: ForwardContext) throws

    /// Keeps what a cache holds.
    ///
    /// - Throws: where it cannot be written.
    func keep(_ cache: Gemma2Cache, of model: Gemma2Model, _ context: ForwardContext) throws
}

extension Matrix {
    /// The first rows in memory of their own.
    fileprivate func copied(rows count: Int) -> Matrix {
        let copy = Matrix(rows: count, columns: columns)
        copy.pointer.update(from: pointer, count: copy.count)
        return copy
    }
}
