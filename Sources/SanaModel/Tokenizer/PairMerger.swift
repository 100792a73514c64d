/// Byte-pair merges: neighbours become one piece, the pair of the lowest rank first and of equal
/// ones the leftmost, until no pair is left that may merge.
struct PairMerger: Sendable {
    /// Rank of a pair of ids, the left one in the upper half of the key.
    private var ranks: [UInt64: UInt32] = [:]
    /// The piece that the merge of a rank makes.
    private var results: [Int32] = []

    var count: Int { results.count }

    mutating func reserve(_ count: Int) {
        ranks.reserveCapacity(count)
        results.reserveCapacity(count)
    }

    /// Adds the merge of the next rank. A pair that is listed again takes the later rank, as in
    /// Hugging Face's table.
    mutating func add(_ left: Int, _ right: Int, result: Int) {
        ranks[Self.key(Int32(left), Int32(right))] = UInt32(results.count)
        results.append(Int32(result))
    }

    /// Merges `symbols`, a text of fewer than 2³² pieces, in time n log n.
    ///
    /// Source: `Word::merge_all` of Hugging Face's tokenizers, whose queue tells an outdated entry
    /// by the piece that it makes, not by its rank.
    func merge(_ symbols: inout [Int32]) {
        let count = symbols.count
        guard count > 1 else { return }
        // A symbol that became part of its left neighbour is negative.
        var next = (0..<count).map { Int32($0 + 1) }
        var previous = (0..<count).map { Int32($0 - 1) }
        var queue = MergeQueue()
        for position in 0..<count - 1 {
            if let rank = rank(symbols[position], symbols[position + 1]) {
                queue.push(rank, position)
            }
        }
        while let (rank, position) = queue.pop() {
            let right = Int(next[position])
            guard symbols[position] >= 0, right < count,
                let current = self.rank(symbols[position], symbols[right]),
                results[Int(current)] == results[Int(rank)]
            else { continue }
            symbols[position] = results[Int(rank)]
            symbols[right] = -1
            let after = Int(next[right])
            next[position] = Int32(after)
            if after < count { previous[after] = Int32(position) }
            let before = Int(previous[position])
            if before >= 0, let rank = self.rank(symbols[before], symbols[position]) {
                queue.push(rank, before)
            }
            if after < count, let rank = self.rank(symbols[position], symbols[after]) {
                queue.push(rank, position)
            }
        }
        symbols.removeAll { $0 < 0 }
    }

    private func rank(_ left: Int32, _ right: Int32) -> UInt32? { ranks[Self.key(left, right)] }

    private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
        UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
    }
}

/// Merges that may be done, the lowest rank first, then the lowest position: a binary heap.
private struct MergeQueue {
    /// Rank in the upper half, position in the lower.
    private var entries: [UInt64] = []

    mutating func push(_ rank: UInt32, _ position: Int) {
        let entry = UInt64(rank) << 32 | UInt64(position)
        var index = entries.count
        entries.append(entry)
        while index > 0 {
            let parent = (index - 1) / 2
            guard entry < entries[parent] else { break }
            entries[index] = entries[parent]
            index = parent
        }
        entries[index] = entry
    }

    mutating func pop() -> (rank: UInt32, position: Int)? {
        guard let first = entries.first, let last = entries.popLast() else { return nil }
        var index = 0
        while true {
            var child = 2 * index + 1
            guard child < entries.count else { break }
            if child + 1 < entries.count, entries[child + 1] < entries[child] { child += 1 }
            guard entries[child] < last else { break }
            entries[index] = entries[child]
            index = child
        }
        if !entries.isEmpty { entries[index] = last }
        return (UInt32(first >> 32), Int(first & 0xFFFF_FFFF))
    }
}
