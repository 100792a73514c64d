import ArgumentParser

/// Two numbers with an x between them, as sizes are written: `16x24`.
struct NumberPair {
    let first: Int
    let second: Int

    /// - Throws: `ValidationError` that says what is expected, where it is not two numbers of
    ///   `range`.
    init(_ argument: String, in range: ClosedRange<Int>, expected: String) throws {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let first = parts[0], let second = parts[1],
            range.contains(first), range.contains(second)
        else { throw ValidationError(expected) }
        (self.first, self.second) = (first, second)
    }
}
