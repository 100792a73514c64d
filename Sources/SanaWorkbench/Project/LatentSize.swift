/// Rows and columns of a latent, written `16x24`.
package struct LatentSize: Equatable {
    package let height: Int
    package let width: Int

    /// Rows or columns that a latent may have.
    package static let sides = 1...4096
    /// Pixels of an image to a position of its latent.
    package static let pixels = 32
    /// What a side of an image must be.
    package static let sideRule = "a multiple of 32 in 32...16384"

    /// Whether an image may have a side of so many pixels.
    package static func isSide(_ pixels: Int) -> Bool {
        (32...16384).contains(pixels) && pixels.isMultiple(of: Self.pixels)
    }

    package init(height: Int, width: Int) { (self.height, self.width) = (height, width) }
}
