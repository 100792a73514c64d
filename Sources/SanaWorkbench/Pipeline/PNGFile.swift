import CPNG
import SanaModel

/// Reading PNG files, which libpng does.
package enum PNGFile {
    /// Pixels that a file may have.
    private static let mostPixels = 1 << 26
    /// Red, green, blue and alpha.
    private static let channels: Int32 = 4

    /// The picture in a file of any kind of PNG; what it has of transparency is dropped, as
    /// Pillow's `convert("RGB")` does.
    ///
    /// - Throws: `FileError`; `BadDataError` for what is not a PNG, is damaged or too large.
    package static func read(_ path: String) throws -> Picture {
        let content = try ByteView(mapping: path)
        // libpng keeps the address.
        let image = UnsafeMutablePointer<png_image>.allocate(capacity: 1)
        image.initialize(to: cpng_image(0, 0, channels))
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
            guard width > 0, height > 0, width <= mostPixels / height else {
                throw BadDataError(
                    file: path,
                    reason: "has \(width) × \(height) pixels; at most \(mostPixels) are supported")
            }
            image.pointee.format = cpng_image(0, 0, channels).format
            var pixels = [UInt8](repeating: 0, count: width * height * Int(channels))
            guard png_image_finish_read(image, nil, &pixels, 0, nil) != 0 else {
                throw BadDataError(
                    file: path, reason: "is a damaged PNG", remedy: "save the image again")
            }
            let colours = pixels.indices.filter { $0 % 4 != 3 }.map { pixels[$0] }
            return Picture(width: width, height: height, pixels: colours)
        }
    }
}

extension PNGImage {
    package init(_ picture: Picture) {
        self.init(width: picture.width, height: picture.height, channels: 3)
        pixels = picture.pixels
    }
}
