import COpenBLAS
import CSanaKernels

/// Queries of one head that one task of softmax attention takes.
private let queryBlock = 256

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
        let dim = query.columns / heads
        let tokens = query.rows / batch
        let width = Int32(query.columns)
        let (size, length) = (Int32(dim), Int32(tokens))
        let scratch = scratch(floatsPerWorker: dim * dim + dim + tokens)
        let ones = matrix("attention.ones", rows: 1, columns: tokens)
        ones.pointer.update(repeating: 1, count: tokens)
        workers.run(batch * heads) { task, worker in
            let offset = task / heads * tokens * query.columns + task % heads * dim
            let (q, k) = (query.pointer + offset, key.pointer + offset)
            let (v, out) = (value.pointer + offset, output.pointer + offset)
            let scores = scratch[worker]
            let keySum = scores + dim * dim
            let denominator = keySum + dim
            // scores[i, j] = Σ over tokens of v[n, i] · k[n, j]; keySum[j] the same for the row of
            // ones.
            cblas_sgemm(
                CblasRowMajor, CblasTrans, CblasNoTrans, size, size, length, 1, v, width, k, width,
                0,
                scores, size)
            cblas_sgemv(
                CblasRowMajor, CblasTrans, length, size, 1, k, width, ones.pointer, 1, 0, keySum, 1)
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, length, size, size, 1, q, width, scores,
                size, 0, out, width)
            cblas_sgemv(
                CblasRowMajor, CblasNoTrans, length, size, 1, q, width, keySum, 1, 0, denominator, 1
            )
            for token in 0..<tokens {
                Kernels.best.divide(
                    out + token * output.columns, denominator[token] + 1e-15, dim)
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
        let dim = query.columns / heads
        let (tokens, keys) = (query.rows / batch, key.rows / batch)
        let width = Int32(query.columns)
        let blocks = (tokens + queryBlock - 1) / queryBlock
        let scale = Float(1 / Double(dim).squareRoot())
        let scratch = scratch(floatsPerWorker: queryBlock * keys)
        workers.run(batch * heads * blocks) { task, worker in
            let (image, head) = (task / blocks / heads, task / blocks % heads)
            let start = task % blocks * queryBlock
            let count = min(queryBlock, tokens - start)
            let offset = (image * tokens + start) * query.columns + head * dim
            let keyOffset = image * keys * key.columns + head * dim
            let scores = scratch[worker]
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasTrans, Int32(count), Int32(keys), Int32(dim), 1,
                query.pointer + offset, width, key.pointer + keyOffset, width, 0, scores,
                Int32(keys))
            for row in 0..<count {
                Kernels.best.softmax(
                    scores + row * keys, bias.map { UnsafePointer($0.row(image)) }, scale, keys)
            }
            cblas_sgemm(
                CblasRowMajor, CblasNoTrans, CblasNoTrans, Int32(count), Int32(dim), Int32(keys), 1,
                scores, Int32(keys), value.pointer + keyOffset, width, 0, output.pointer + offset,
                width)
        }
    }
}
