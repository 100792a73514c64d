/// Rows and columns of a picture in pixels, written `768x1344`.
struct PictureSize: Equatable {
    let height: Int
    let width: Int

    private static let sides = 1...65536

    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let pair = try NumberPair(
            argument, in: Self.sides,
            expected: "must be HEIGHTxWIDTH in pixels, each in \(Self.sides.lowerBound)..."
                + "\(Self.sides.upperBound), such as 768x1344")
        (height, width) = (pair.first, pair.second)
    }
}
