import SanaWorkbench

extension LatentSize {
    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let pair = try NumberPair(
            argument, in: Self.sides,
            expected: "must be HEIGHTxWIDTH, each in \(Self.sides.lowerBound)..."
                + "\(Self.sides.upperBound), such as 16x24")
        self.init(height: pair.first, width: pair.second)
    }
}
