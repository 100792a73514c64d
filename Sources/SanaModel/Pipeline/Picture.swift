/// A picture of 8 bits and three channels.
public struct Picture: Sendable, Equatable {
    public let width: Int
    public let height: Int
    /// `[height, width, 3]`, red, green and blue.
    public var pixels: [UInt8]

    /// - Parameter pixels: as many as the size calls for.
    public init(width: Int, height: Int, pixels: [UInt8]) {
        precondition(pixels.count == width * height * 3)
        (self.width, self.height, self.pixels) = (width, height, pixels)
    }

    /// What diffusers' `postprocess` makes of image `index` of `[B, 3, H, W]`: −1 is black and 1 is
    /// white; halves are rounded to even.
    public init(_ sample: DenseTensor, index: Int) {
        let (height, width) = (sample.shape[2], sample.shape[3])
        let plane = height * width
        let start = sample.values.pointer + index * 3 * plane
        var pixels = [UInt8](repeating: 0, count: plane * 3)
        for pixel in 0..<plane {
            for channel in 0..<3 {
                let value = start[channel * plane + pixel] * 0.5 + 0.5
                // What is no number is black.
                let level = value.isNaN ? 0 : min(max(value, 0), 1) * 255
                pixels[pixel * 3 + channel] = UInt8(level.rounded(.toNearestOrEven))
            }
        }
        self.init(width: width, height: height, pixels: pixels)
    }

    /// `[1, 3, H, W]`, black −1 and white 1, as diffusers' `preprocess` makes of a picture.
    public var tensor: DenseTensor {
        let result = DenseTensor(shape: [1, 3, height, width])
        let plane = height * width
        for index in pixels.indices {
            result.values.pointer[index % 3 * plane + index / 3] =
                2 * (Float(pixels[index]) / 255) - 1
        }
        return result
    }
}

extension DenseTensor {
    /// diffusers' `resize_and_crop_tensor` of `[B, C, H, W]`: scaled bilinearly until it covers the
    /// size, then cut in the middle. Where its arithmetic comes out a pixel short, so does this.
    public func resizedAndCropped(height: Int, width: Int) -> DenseTensor {
        let (rows, columns) = (shape[2], shape[3])
        guard rows != height || columns != width else { return self }
        let ratio = max(Double(height) / Double(rows), Double(width) / Double(columns))
        let resized = resized(
            height: Int(Double(rows) * ratio), width: Int(Double(columns) * ratio))
        /// Floor division, and a slice as Python takes it: from the end where it begins below zero.
        func range(_ size: Int, _ wanted: Int) -> Range<Int> {
            let start = (size - wanted) >> 1
            let from = start < 0 ? max(size + start, 0) : start
            let end = start + wanted
            return from..<max(from, min(end, size))
        }
        return resized.cut(
            rows: range(resized.shape[2], height), columns: range(resized.shape[3], width))
    }

    /// torch's `interpolate(mode="bilinear", align_corners=False)` to a size.
    private func resized(height: Int, width: Int) -> DenseTensor {
        let (rows, columns) = (shape[2], shape[3])
        let result = DenseTensor(shape: [shape[0], shape[1], height, width])
        let down = Self.sources(from: rows, to: height)
        let across = Self.sources(from: columns, to: width)
        for plane in 0..<shape[0] * shape[1] {
            let source = values.pointer + plane * rows * columns
            var target = result.values.pointer + plane * height * width
            for y in down {
                let (upper, lower) = (source + y.first * columns, source + y.second * columns)
                for x in across {
                    let above = upper[x.first] * (1 - x.weight) + upper[x.second] * x.weight
                    let below = lower[x.first] * (1 - x.weight) + lower[x.second] * x.weight
                    target.pointee = above * (1 - y.weight) + below * y.weight
                    target += 1
                }
            }
        }
        return result
    }

    /// For each place the two that it is between, and the share of the second.
    private static func sources(
        from old: Int, to new: Int
    ) -> [(first: Int, second: Int, weight: Float)] {
        let scale = Float(old) / Float(new)
        return (0..<new).map { place in
            let position = max(scale * (Float(place) + 0.5) - 0.5, 0)
            let first = min(Int(position), old - 1)
            return (first, min(first + 1, old - 1), min(max(position - Float(first), 0), 1))
        }
    }

    private func cut(rows: Range<Int>, columns: Range<Int>) -> DenseTensor {
        let result = DenseTensor(shape: [shape[0], shape[1], rows.count, columns.count])
        for plane in 0..<shape[0] * shape[1] {
            for (row, y) in rows.enumerated() {
                (result.values.pointer + (plane * rows.count + row) * columns.count).update(
                    from: values.pointer + (plane * shape[2] + y) * shape[3] + columns.lowerBound,
                    count: columns.count)
            }
        }
        return result
    }
}
