/// A product up · down that is part of a weight; sums are made in double precision.
struct LowRankTerm: Sendable {
    private let up: FloatBuffer
    private let down: FloatBuffer
    private let rank: Int
    /// Whether they are stored as `[rank, rows]` and `[columns, rank]`.
    private let isTransposed: Bool

    /// - Parameters:
    ///   - up: `[rows, rank]`
    ///   - down: `[rank, columns]`
    init(up: FloatBuffer, down: FloatBuffer, rank: Int, isTransposed: Bool = false) {
        (self.up, self.down, self.rank) = (up, down, rank)
        self.isTransposed = isTransposed
    }

    /// Adds row `row` of the product to `count` values.
    func add(_ row: Int, to output: UnsafeMutablePointer<Float>, count: Int) {
        let rows = up.count / max(rank, 1)
        withUnsafeTemporaryAllocation(of: Double.self, capacity: count) { sums in
            for column in 0..<count { sums[column] = Double(output[column]) }
            for index in 0..<rank {
                let factor = Double(
                    up.pointer[isTransposed ? index * rows + row : row * rank + index])
                if isTransposed {
                    for column in 0..<count {
                        sums[column] += factor * Double(down.pointer[column * rank + index])
                    }
                } else {
                    let values = down.pointer + index * count
                    for column in 0..<count { sums[column] += factor * Double(values[column]) }
                }
            }
            for column in 0..<count { output[column] = Float(sums[column]) }
        }
    }
}
