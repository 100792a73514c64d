import ArgumentParser

/// Rows and columns of a latent, written `16x24`.
struct LatentSize: Equatable {
    let height: Int
    let width: Int

    private static let sides = 1...4096
    /// Pixels of an image to a position of its latent.
    static let pixels = 32
    /// What a side of an image must be.
    static let sideRule = "a multiple of 32 in 32...16384"

    /// Whether an image may have a side of so many pixels.
    static func isSide(_ pixels: Int) -> Bool {
        (32...16384).contains(pixels) && pixels.isMultiple(of: Self.pixels)
    }

    init(height: Int, width: Int) { (self.height, self.width) = (height, width) }

    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let height = parts[0], let width = parts[1],
            Self.sides.contains(height), Self.sides.contains(width)
        else {
            throw ValidationError(
                "write rows, x and columns, each in \(Self.sides.lowerBound)..."
                    + "\(Self.sides.upperBound), such as 16x24")
        }
        self.init(height: height, width: width)
    }
}
