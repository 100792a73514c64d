import ArgumentParser
import SanaWorkbench

extension TileSize {
    private static let sides = 1...65536

    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let side = parts[0], let step = parts[1],
            Self.sides.contains(side), Self.sides.contains(step)
        else {
            throw ValidationError(
                "must be SIZExSTRIDE in pixels, the side of a tile and the distance between tiles, such as "
                    + "512x448")
        }
        self.init(side: side, step: step)
    }
}
