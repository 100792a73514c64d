import CSanaKernels

/// How scores of queries and keys become weights.
struct CausalScores {
    let heads: Int
    /// Heads of keys and values, each of which serves as many query heads in a row.
    let keyHeads: Int
    let scale: Float
    /// Bound of the scaled scores, by tanh.
    let softCap: Float?
    /// Keys that a query attends to, its own the last; `nil`: all up to its own.
    let window: Int?

    /// Keys that the query at `position` attends to.
    func keys(_ position: Int) -> Range<Int> {
        max(0, position + 1 - (window ?? position + 1))..<position + 1
    }

    /// Makes weights of the scores of the query at `position` with `count` keys.
    func weigh(_ scores: UnsafeMutablePointer<Float>, position: Int, count: Int) {
        let keys = keys(position)
        let first = scores + keys.lowerBound
        if let softCap { Kernels.best.soft_cap(first, scale, softCap, keys.count) }
        Kernels.best.softmax(first, nil, softCap == nil ? scale : 1, keys.count)
        scores.update(repeating: 0, count: keys.lowerBound)
        (scores + keys.upperBound).update(repeating: 0, count: count - keys.upperBound)
    }
}

extension ForwardContext {
    /// Softmax attention in which a token attends to its text up to itself.
    ///
    /// - Parameters:
    ///   - query: `[tokens, heads · dim]`.
    ///   - keys, values: `[whole blocks of each text, keyHeads · dim]`, see `gather`.
    func causalAttention(
        query: Matrix, keys: Matrix, values: Matrix, _ sequences: [TokenSequence],
        _ scores: CausalScores, into output: Matrix
    ) {
        let (dim, group) = (query.columns / scores.heads, scores.heads / scores.keyHeads)
        if records(
            [query, keys, values], into: output,
            work(of: query, keys, sequences, scores))
        {
            return
        }
        let tasks = sequences.flatMap { sequence in
            (sequence.known / TokenSequence.block..<sequence.keyRows / TokenSequence.block)
                .flatMap { block in
                    (0..<scores.keyHeads).map { (sequence: sequence, block: block, head: $0) }
                }
        }
        let most = sequences.map(\.keyRows).max() ?? 0
        let panelFloats = [
            PanelProduct.fp32.floats(rows: most, columns: dim),
            PanelProduct.fp32.floats(rows: dim, columns: most),
        ]
        let scratch = scratch(
            floatsPerWorker: panelFloats.reduce(0, +) + TokenSequence.block * most)
        workers.run(tasks.count) { task, worker in
            let (sequence, block, head) = tasks[task]
            let end = (block + 1) * TokenSequence.block
            let keyPanel = scratch[worker]
            let valuePanel = keyPanel + panelFloats[0]
            let weights = valuePanel + panelFloats[1]
            PanelProduct.fp32.pack(
                keys.row(sequence.keyRow) + head * dim, rows: end, columns: dim,
                stride: keys.columns, into: keyPanel)
            PanelProduct.fp32.packColumns(
                values.row(sequence.keyRow) + head * dim, rows: dim, columns: end,
                stride: values.columns, into: valuePanel)
            let first = max(sequence.known, block * TokenSequence.block)
            let count = min(sequence.known + sequence.count, end) - first
            let row = sequence.row + first - sequence.known
            for member in 0..<group {
                let channel = (head * group + member) * dim
                PanelProduct.multiply(
                    query.row(row) + channel, stride: query.columns, tokens: count,
                    columns: dim, panel: keyPanel, rows: end, into: weights, stride: end)
                for index in 0..<count {
                    scores.weigh(weights + index * end, position: first + index, count: end)
                }
                PanelProduct.multiply(
                    weights, stride: end, tokens: count, columns: end, panel: valuePanel,
                    rows: dim, into: output.row(row) + channel, stride: output.columns)
            }
        }
    }

    /// Products of queries with the keys that they attend to, and of weights with their values.
    private func work(
        of query: Matrix, _ keys: Matrix, _ sequences: [TokenSequence], _ scores: CausalScores
    ) -> ModuleGraph.Work {
        let pairs = sequences.reduce(0) { sum, sequence in
            (sequence.known..<sequence.known + sequence.count).reduce(sum) {
                $0 + scores.keys($1).count
            }
        }
        let tokens = sequences.reduce(0) { $0 + $1.known + $1.count }
        return ModuleGraph.Work(
            operations: 4 * query.columns * pairs,
            floats: 2 * (query.count + tokens * keys.columns))
    }
}
