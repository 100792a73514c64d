import CPNG
import SanaModel

/// Reading PNG files, which libpng does.
package enum PNGFile {
    /// Pixels that a file may have.
    private static let mostPixels = 1 << 26
    /// Red, green, blue and alpha.
    private static let channels = 4

    /// Pixels that `stored` bytes may have: few bytes of an even colour become any number of them.
    private static func mostPixels(stored: Int) -> Int {
        min(mostPixels, (10 * stored + (64 << 20)) / channels)
    }

    /// The picture in a file of any kind of PNG; what it has of transparency is dropped, as
    /// Pillow's `convert("RGB")` does.
    ///
    /// - Throws: `FileError`; `BadDataError` for what is not a PNG, is damaged or too large.
    package static func read(_ path: String) throws -> Picture {
        let content = try ByteView(mapping: path)
        // libpng keeps the address.
        let image = UnsafeMutablePointer<png_image>.allocate(capacity: 1)
        image.initialize(to: cpng_image(0, 0, Int32(channels)))
        defer {
            png_image_free(image)
            image.deallocate()
        }
        return try content.withUnsafeBytes { bytes in
            guard let start = bytes.baseAddress,
                png_image_begin_read_from_memory(image, start, bytes.count) != 0
            else {
                throw BadDataError(
                    file: path, reason: "is not a PNG, or is damaged",
                    remedy: "convert the image to PNG")
            }
            let (width, height) = (Int(image.pointee.width), Int(image.pointee.height))
            let most = mostPixels(stored: bytes.count)
            guard width > 0, height > 0, width <= most / height else {
                throw BadDataError(
                    file: path,
                    reason: "has \(width) × \(height) pixels; at most \(most) are supported in "
                        + "\(bytes.count) bytes", remedy: "make the image smaller")
            }
            image.pointee.format = cpng_image(0, 0, Int32(channels)).format
            var pixels = [UInt8](repeating: 0, count: width * height * channels)
            guard png_image_finish_read(image, nil, &pixels, 0, nil) != 0 else {
                throw BadDataError(
                    file: path, reason: "is a damaged PNG", remedy: "save the image again")
            }
            dropAlpha(&pixels)
            return Picture(width: width, height: height, pixels: pixels)
        }
    }

    /// Leaves red, green and blue, in place: a picture may take most of the memory there is.
    private static func dropAlpha(_ pixels: inout [UInt8]) {
        let count = pixels.count / channels
        pixels.withUnsafeMutableBytes { bytes in
            for pixel in 0..<count {
                for colour in 0..<3 { bytes[3 * pixel + colour] = bytes[4 * pixel + colour] }
            }
        }
        pixels.removeLast(count)
    }
}

extension PNGImage {
    package init(_ picture: Picture) {
        self.init(width: picture.width, height: picture.height, channels: 3)
        pixels = picture.pixels
    }
}
