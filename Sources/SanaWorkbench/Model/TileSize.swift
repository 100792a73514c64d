import SanaModel

/// Tiles of an autoencoder in pixels of its picture, written `512x448`: the side of a tile, and how
/// far apart they begin.
package struct TileSize: Equatable, Sendable {
    package let side: Int
    package let step: Int

    package init(side: Int, step: Int) { (self.side, self.step) = (side, step) }

    package var pixels: (height: Int, width: Int) { (side, side) }
    package var stride: (height: Int, width: Int) { (step, step) }
    package var text: String { "\(side)x\(step)" }
}

extension LoadedModel {
    /// The model computed in tiles, whatever a golden says; the same where there are none.
    ///
    /// - Throws: `UsageError` where it has no tiles, or they cannot be of that size.
    package func tiled(_ tile: TileSize?) throws -> LoadedModel {
        guard let tile else { return self }
        guard let half = network as? any AutoencoderDCHalf else {
            throw UsageError(
                "\(label.printable) is a \(networkClass.noun), which does not support tiles",
                remedy: "leave out --tile")
        }
        var tiled = half
        do throws(InputError) {
            tiled.tiling = try AutoencoderTiling(
                sampleMin: tile.pixels, sampleStride: tile.stride, for: half.config)
        } catch {
            throw UsageError("--tile \(tile.text): \(error.description)")
        }
        return with(tiled, called: "tiles \(tile.text)")
    }
}
