import SanaWorkbench

extension TileSize {
    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let pair = try NumberPair(
            argument, in: 1...65536,
            expected: "must be SIZExSTRIDE in pixels, the side of a tile and the distance between "
                + "tiles, such as 512x448")
        self.init(side: pair.first, step: pair.second)
    }
}
