import Foundation

/// Steps in a long history: the piecewise constant line that fits it best.
///
/// As asv does it: the sum of absolute deviations from each piece's median, which outliers hardly
/// move, with the number of pieces by Schwarz's criterion (Friedrich et al. 2008, Yao 1988); every
/// number of pieces is solved exactly by dynamic programming.
package enum StepDetection {
    /// A run of values with one level.
    package struct Piece: Sendable, Equatable {
        package let range: Range<Int>
        package let level: Double
    }

    /// A piece is no shorter, so one odd night is no step.
    package static let shortestPiece = 3
    /// Points looked at, counted from the end.
    package static let longestHistory = 300
    private static let mostPieces = 12

    /// The pieces of `values` in order; none for no values.
    package static func pieces(_ values: [Double]) -> [Piece] {
        let offset = max(0, values.count - longestHistory)
        let values = Array(values[offset...])
        let count = values.count
        guard count > 0 else { return [] }
        let most = max(1, min(mostPieces, count / shortestPiece))
        let cost = deviations(values)
        // best[k][j]: cost of the first j values in k + 1 pieces; from[k][j]: where the last
        // begins.
        var best: [[Double]] = [[.infinity] + cost[0].prefix(count)]
        var from = [Array(repeating: 0, count: count + 1)]
        for _ in 1..<max(most, 1) {
            var (row, starts) = (
                Array(repeating: Double.infinity, count: count + 1),
                Array(repeating: 0, count: count + 1)
            )
            for end in stride(from: shortestPiece, through: count, by: 1) {
                for start in shortestPiece..<max(shortestPiece, end - shortestPiece + 1) {
                    let sum = best[best.count - 1][start] + cost[start][end - 1 - start]
                    if sum < row[end] { (row[end], starts[end]) = (sum, start) }
                }
            }
            best.append(row)
            from.append(starts)
        }
        let chosen = number(best.map { $0[count] }, values)
        var (pieces, end) = ([Piece](), count)
        for level in stride(from: chosen, through: 0, by: -1) {
            let start = level == 0 ? 0 : from[level][end]
            pieces.append(
                Piece(
                    range: start + offset..<end + offset, level: Array(values[start..<end]).median))
            end = start
        }
        return pieces.reversed()
    }

    /// The index of the number of pieces that Schwarz's criterion likes best.
    private static func number(_ costs: [Double], _ values: [Double]) -> Int {
        let count = Double(values.count)
        // Values that repeat to the bit would make any piece infinitely good.
        let floor = max(values.map(abs).median * 1e-3, .leastNormalMagnitude)
        let scores = costs.enumerated().map { index, cost in
            log(floor + cost / count) + 4 * Double(index) * log(count) / count
        }
        return scores.indices.min { scores[$0] < scores[$1] } ?? 0
    }

    /// cost[i][l]: sum of absolute deviations of values i...i + l from their median.
    private static func deviations(_ values: [Double]) -> [[Double]] {
        values.indices.map { start in
            var sorted: [Double] = []
            return values[start...].map { value in
                let place = sorted.firstIndex { $0 > value } ?? sorted.count
                sorted.insert(value, at: place)
                let middle = sorted[sorted.count / 2]
                return sorted.reduce(0) { $0 + abs($1 - middle) }
            }
        }
    }
}
