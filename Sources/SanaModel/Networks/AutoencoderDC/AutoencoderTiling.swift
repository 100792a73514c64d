/// Tiles as diffusers' `enable_tiling` cuts, computes and blends them, to the same picture: each
/// tile attends to itself alone, so it is not that of the whole.
///
/// Blending is in place and in order: a tile fades in from what its neighbours above and to the
/// left have become, not from what was computed for them.
public struct AutoencoderTiling: Sendable, Equatable {
    /// Height and width of a tile, and from one tile to the next, in pixels of the picture.
    public let sampleMin: (height: Int, width: Int)
    public let sampleStride: (height: Int, width: Int)

    /// diffusers' defaults.
    ///
    /// - Throws: `InputError` when a latent of `config` stands for more pixels than a tile has.
    public init(for config: AutoencoderDCConfig) throws(InputError) {
        try self.init(sampleMin: (512, 512), sampleStride: (448, 448), for: config)
    }

    /// - Throws: `InputError` when tiles of `config` would be empty or not advance.
    public init(
        sampleMin: (height: Int, width: Int), sampleStride: (height: Int, width: Int),
        for config: AutoencoderDCConfig
    ) throws(InputError) {
        let ratio = config.spatialCompressionRatio
        let sizes = [sampleMin.height, sampleMin.width, sampleStride.height, sampleStride.width]
        guard sizes.allSatisfy({ $0 >= ratio && $0 <= 1 << 20 }),
            sampleStride.height <= sampleMin.height, sampleStride.width <= sampleMin.width
        else {
            throw InputError(
                "tiling", sizes,
                "tiles of at least \(ratio) pixels, and strides from there to the tile's size")
        }
        (self.sampleMin, self.sampleStride) = (sampleMin, sampleStride)
    }

    /// The tiles that a golden was computed in; `nil` where it was computed as a whole.
    ///
    /// - Throws: `BadDataError` for tiles that cannot be.
    init?(
        contract: JSONValue, file: String, for config: AutoencoderDCConfig
    ) throws(BadDataError) {
        guard let tiling = contract["tiling"], tiling != .null else { return nil }
        var pairs: [(height: Int, width: Int)] = []
        for key in ["sample_min", "sample_stride"] {
            let values = tiling[key]?.array?.map(\.int) ?? []
            guard values.count == 2, let height = values[0], let width = values[1] else {
                throw BadDataError(
                    file: file, reason: "contract: tiling has no \(key) of two numbers")
            }
            pairs.append((height, width))
        }
        do throws(InputError) {
            try self.init(sampleMin: pairs[0], sampleStride: pairs[1], for: config)
        } catch {
            throw BadDataError(file: file, reason: "contract: \(error.description)")
        }
    }

    public static func == (a: AutoencoderTiling, b: AutoencoderTiling) -> Bool {
        a.sampleMin == b.sampleMin && a.sampleStride == b.sampleStride
    }

    /// Whether a picture is larger than a tile.
    func splits(_ sample: DenseTensor) -> Bool {
        sample.shape[2] > sampleMin.height || sample.shape[3] > sampleMin.width
    }

    /// Whether a latent is.
    func splits(latent: DenseTensor, ratio: Int) -> Bool {
        latent.shape[2] > sampleMin.height / ratio || latent.shape[3] > sampleMin.width / ratio
    }

    /// diffusers' `tiled_decode`.
    func decode(_ latent: DenseTensor, ratio: Int, _ tile: (DenseTensor) -> DenseTensor)
        -> DenseTensor
    {
        let tiles = cut(
            latent, (sampleMin.height / ratio, sampleMin.width / ratio),
            (sampleStride.height / ratio, sampleStride.width / ratio)
        ).map { $0.map(tile) }
        return Self.join(
            tiles, sampleStride,
            blend: (sampleMin.height - sampleStride.height, sampleMin.width - sampleStride.width))
    }

    /// diffusers' `tiled_encode`: tiles are padded with zeros to whole latents, and what is too
    /// much is cut off at the end.
    func encode(_ sample: DenseTensor, ratio: Int, _ tile: (DenseTensor) -> DenseTensor)
        -> DenseTensor
    {
        let tiles = cut(sample, sampleMin, sampleStride).map { row in
            row.map { tile($0.padded(toMultiplesOf: ratio)) }
        }
        let stride = (height: sampleStride.height / ratio, width: sampleStride.width / ratio)
        let all = Self.join(
            tiles, stride,
            blend: (
                sampleMin.height / ratio - stride.height, sampleMin.width / ratio - stride.width
            ))
        return all.window(
            0, 0, min(sample.shape[2] / ratio, all.shape[2]),
            min(sample.shape[3] / ratio, all.shape[3]))
    }

    private func cut(
        _ tensor: DenseTensor, _ size: (height: Int, width: Int),
        _ step: (height: Int, width: Int)
    ) -> [[DenseTensor]] {
        let (height, width) = (tensor.shape[2], tensor.shape[3])
        // A step is at least one, whatever model the tiles were made for.
        return stride(from: 0, to: height, by: max(step.height, 1)).map { y in
            stride(from: 0, to: width, by: max(step.width, 1)).map { x in
                tensor.window(y, x, min(size.height, height - y), min(size.width, width - x))
            }
        }
    }

    private static func join(
        _ tiles: [[DenseTensor]], _ kept: (height: Int, width: Int),
        blend: (height: Int, width: Int)
    ) -> DenseTensor {
        for (i, row) in tiles.enumerated() {
            for (j, tile) in row.enumerated() {
                if i > 0 { tile.blend(from: tiles[i - 1][j], axis: 2, extent: blend.height) }
                if j > 0 { tile.blend(from: row[j - 1], axis: 3, extent: blend.width) }
            }
        }
        let parts = tiles.map { row in
            row.map {
                $0.window(0, 0, min(kept.height, $0.shape[2]), min(kept.width, $0.shape[3]))
            }
        }
        let (height, width) = (
            parts.reduce(0) { $0 + $1[0].shape[2] }, parts[0].reduce(0) { $0 + $1.shape[3] }
        )
        let whole = DenseTensor(shape: [tiles[0][0].shape[0], tiles[0][0].shape[1], height, width])
        var y = 0
        for row in parts {
            var x = 0
            for part in row {
                whole.place(part, y, x)
                x += part.shape[3]
            }
            y += row[0].shape[2]
        }
        return whole
    }
}

extension DenseTensor {
    /// Calls `body` with the first element of every row of an image's planes.
    private func forEachRow(_ height: Int, _ body: (_ plane: Int, _ row: Int) -> Void) {
        for plane in 0..<shape[0] * shape[1] {
            for row in 0..<height { body(plane, row) }
        }
    }

    private func element(_ plane: Int, _ row: Int, _ column: Int) -> UnsafeMutablePointer<Float> {
        values.pointer + (plane * shape[2] + row) * shape[3] + column
    }

    /// A copy of a part of the images.
    fileprivate func window(_ y: Int, _ x: Int, _ height: Int, _ width: Int) -> DenseTensor {
        let part = DenseTensor(shape: [shape[0], shape[1], height, width])
        forEachRow(height) { plane, row in
            part.element(plane, row, 0).update(from: element(plane, y + row, x), count: width)
        }
        return part
    }

    fileprivate func place(_ part: DenseTensor, _ y: Int, _ x: Int) {
        forEachRow(part.shape[2]) { plane, row in
            element(plane, y + row, x).update(
                from: part.element(plane, row, 0), count: part.shape[3])
        }
    }

    fileprivate func padded(toMultiplesOf ratio: Int) -> DenseTensor {
        let sizes = shape[2...].map { ($0 + ratio - 1) / ratio * ratio }
        if sizes == Array(shape[2...]) { return self }
        let whole = DenseTensor(shape: [shape[0], shape[1]] + sizes)
        whole.place(self, 0, 0)
        return whole
    }

    /// Fades from the end of `other` into the start of this one along an axis, in place.
    fileprivate func blend(from other: DenseTensor, axis: Int, extent: Int) {
        let extent = min(other.shape[axis], shape[axis], extent)
        let start = other.shape[axis] - extent
        func mix(
            _ index: Int, _ old: UnsafeMutablePointer<Float>, _ new: UnsafeMutablePointer<Float>
        ) {
            // As torch multiplies by a number of Python.
            let share = Double(index) / Double(extent)
            new.pointee = old.pointee * Float(1 - share) + new.pointee * Float(share)
        }
        if axis == 2 {
            forEachRow(extent) { plane, row in
                for column in 0..<shape[3] {
                    mix(row, other.element(plane, start + row, column), element(plane, row, column))
                }
            }
        } else {
            forEachRow(shape[2]) { plane, row in
                for column in 0..<extent {
                    mix(
                        column, other.element(plane, row, start + column),
                        element(plane, row, column))
                }
            }
        }
    }
}
