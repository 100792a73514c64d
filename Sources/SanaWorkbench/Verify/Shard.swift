/// The part of a list that one machine of a fleet works on, written `2/5`.
package struct Shard: Equatable {
    /// From 1 on.
    package let number: Int
    package let count: Int

    package init?(argument: String) {
        let parts = argument.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let number = parts[0], let count = parts[1],
            (1...1_000_000).contains(count), (1...count).contains(number)
        else { return nil }
        (self.number, self.count) = (number, count)
    }

    /// Whether the item at `index` is one of this part: every item is in one part.
    package func contains(_ index: Int) -> Bool { index % count == number - 1 }
}
