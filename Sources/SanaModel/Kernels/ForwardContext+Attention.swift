import CSanaKernels

/// Queries of one head that one task of softmax attention takes.
private let queryBlock = 1024
/// Queries whose scores are in memory at a time.
private let queryRows = 56

/// Attention over heads that lie side by side in the channels: `[batch · tokens, heads · dim]`.
extension ForwardContext {
    /// Linear attention, in place of softmax: out = (V̂ᵀ K) Q, with a row of ones in V̂ that gives
    /// the denominator.
    ///
    /// `query` and `key` have been through ReLU. Source: Sana (arXiv 2410.10629), diffusers'
    /// `SanaLinearAttnProcessor2_0`.
    func linearAttention(
        query: Matrix, key: Matrix, value: Matrix, heads: Int, batch: Int, into output: Matrix
    ) {
        let products = floatProduct
        let dim = query.columns / heads
        let work = ModuleGraph.Work(
            operations: 4 * query.count * dim + 4 * query.count, floats: 4 * query.count)
        if records([query, key, value], into: output, work) { return }
        let tokens = query.rows / batch
        let width = query.columns
        let sums = dim + 1
        // Rows a power of two apart would share a few lines of the cache.
        let length = tokens + 16
        let sizes = [
            sums * length, products.floats(rows: dim, columns: tokens), sums * dim,
            products.floats(rows: sums, columns: dim),
            max(
                products.tokenFloats(sums, columns: tokens),
                products.tokenFloats(tokens, columns: dim)),
        ]
        let scratch = scratch(floatsPerWorker: sizes.reduce(0, +))
        workers.run(batch * heads) { task, worker in
            let offset = task / heads * tokens * width + task % heads * dim
            let (q, k) = (query.pointer + offset, key.pointer + offset)
            let (v, out) = (value.pointer + offset, output.pointer + offset)
            let values = scratch[worker]
            let keyPanel = values + sizes[0]
            let scores = keyPanel + sizes[1]
            let scorePanel = scores + sizes[2]
            let rounded = scorePanel + sizes[3]
            // values = V̂: v transposed, and a row of ones.
            Kernels.best.transpose(v, tokens, dim, width, values, length)
            (values + dim * length).update(repeating: 1, count: tokens)
            // scores[i, j] = Σ over tokens of V̂[i, n] · k[n, j].
            products.packColumns(k, rows: dim, columns: tokens, stride: width, into: keyPanel)
            products.multiply(
                products.tokens(values, stride: length, count: sums, columns: tokens, in: rounded),
                tokens: sums, columns: tokens, panel: keyPanel, rows: dim, into: scores,
                stride: dim)
            // outputs[n, i] = Σ over channels of q[n, j] · scores[i, j], where V̂ was.
            let outputs = values
            products.pack(scores, rows: sums, columns: dim, stride: dim, into: scorePanel)
            products.multiply(
                products.tokens(q, stride: width, count: tokens, columns: dim, in: rounded),
                tokens: tokens, columns: dim, panel: scorePanel, rows: sums, into: outputs,
                stride: sums)
            for token in 0..<tokens {
                let product = outputs + token * sums
                let target = out + token * output.columns
                target.update(from: product, count: dim)
                Kernels.best.divide(target, product[dim] + 1e-15, dim)
            }
        }
    }

    /// Softmax attention of `query` over `key` and `value`, scores scaled by 1/√dim.
    ///
    /// - Parameter bias: added to the scores, one row of keys for each image of the batch.
    func softmaxAttention(
        query: Matrix, key: Matrix, value: Matrix, bias: Matrix?, heads: Int, batch: Int,
        into output: Matrix
    ) {
        let products = floatProduct
        let dim = query.columns / heads
        let (tokens, keys) = (query.rows / batch, key.rows / batch)
        let width = query.columns
        let work = ModuleGraph.Work(
            operations: 4 * query.count * keys, floats: 2 * (query.count + key.count))
        if records([query, key, value] + [bias].compactMap { $0 }, into: output, work) { return }
        let blocks = (tokens + queryBlock - 1) / queryBlock
        let scale = Float(1 / Double(dim).squareRoot())
        let keyFloats = products.floats(rows: keys, columns: dim)
        let valueFloats = products.floats(rows: dim, columns: keys)
        let rounded = products.tokenFloats(queryRows, columns: max(keys, dim))
        let scratch = scratch(
            floatsPerWorker: keyFloats + valueFloats + queryRows * keys + rounded)
        workers.run(batch * heads * blocks) { task, worker in
            let (image, head) = (task / blocks / heads, task / blocks % heads)
            let first = task % blocks * queryBlock
            let keyOffset = image * keys * key.columns + head * dim
            let keyPanel = scratch[worker]
            let valuePanel = keyPanel + keyFloats
            let scores = valuePanel + valueFloats
            let rounded = scores + queryRows * keys
            products.pack(
                key.pointer + keyOffset, rows: keys, columns: dim, stride: width, into: keyPanel)
            products.packColumns(
                value.pointer + keyOffset, rows: dim, columns: keys, stride: width,
                into: valuePanel)
            let end = min(first + queryBlock, tokens)
            for start in stride(from: first, to: end, by: queryRows) {
                let count = min(queryRows, end - start)
                let offset = (image * tokens + start) * width + head * dim
                products.multiply(
                    products.tokens(
                        query.pointer + offset, stride: width, count: count, columns: dim,
                        in: rounded),
                    tokens: count, columns: dim, panel: keyPanel, rows: keys, into: scores,
                    stride: keys)
                for row in 0..<count {
                    Kernels.best.softmax(
                        scores + row * keys, bias.map { UnsafePointer($0.row(image)) }, scale, keys)
                }
                products.multiply(
                    products.tokens(
                        scores, stride: keys, count: count, columns: keys, in: rounded),
                    tokens: count, columns: keys, panel: valuePanel, rows: dim,
                    into: output.pointer + offset, stride: width)
            }
        }
    }
}
