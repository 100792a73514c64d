import CPNG
import SanaModel

/// An 8-bit image with one channel (grey) or three (RGB), written as PNG.
package struct PNGImage {
    package let width: Int
    package let height: Int
    /// 1 or 3.
    package let channels: Int
    /// `[height, width, channels]`
    package var pixels: [UInt8]
    /// Text next to the pixels, by keyword.
    package var texts: [(keyword: String, text: String)] = []

    /// The version of libpng.
    package static var libraryVersion: String { String(cString: png_get_libpng_ver(nil)) }

    package init(width: Int, height: Int, channels: Int, fill: UInt8 = 255) {
        (self.width, self.height, self.channels) = (width, height, channels)
        pixels = [UInt8](repeating: fill, count: width * height * channels)
    }

    /// The file.
    ///
    /// - Throws: `MemoryError`.
    package func file() throws -> [UInt8] {
        // libpng keeps the address.
        let image = UnsafeMutablePointer<png_image>.allocate(capacity: 1)
        image.initialize(to: cpng_image(UInt32(width), UInt32(height), Int32(channels)))
        defer { image.deallocate() }
        var count = cpng_maximum_size(image.pointee)
        var file = [UInt8](repeating: 0, count: count)
        guard png_image_write_to_memory(image, &file, &count, 0, pixels, 0, nil) != 0 else {
            throw MemoryError("not enough memory to write a PNG of \(width) × \(height) pixels")
        }
        // Neither compressed nor translated, behind the header.
        let texts = self.texts.flatMap { keyword, text in
            Self.chunk("iTXt", Array(keyword.utf8) + [0, 0, 0, 0, 0] + Array(text.utf8))
        }
        return file[..<Self.headerEnd] + texts + file[Self.headerEnd..<count]
    }

    /// Signature and IHDR.
    private static let headerEnd = 33

    private static let signature: [UInt8] = [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]

    /// The text that `file` has under `keyword`; `nil` where `file` is no PNG, or has none that is
    /// stored as this type does.
    package static func text(_ keyword: String, in file: [UInt8]) -> String? {
        guard file.starts(with: signature) else { return nil }
        let head = Array("iTXt".utf8) + Array(keyword.utf8) + [0, 0, 0, 0, 0]
        var rest = file[signature.count...]
        while rest.count >= 12 {
            let length = rest.prefix(4).reduce(0) { $0 << 8 | Int($1) }
            guard length <= rest.count - 12 else { return nil }
            let chunk = rest.dropFirst(4).prefix(4 + length)
            if chunk.starts(with: head) {
                return String(decoding: chunk.dropFirst(head.count), as: UTF8.self)
            }
            rest = rest.dropFirst(12 + length)
        }
        return nil
    }

    private static func bytes(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    private static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
        let content = Array(type.utf8) + data
        var sum = CRC32()
        content.withUnsafeBytes { sum.update($0) }
        return bytes(UInt32(data.count)) + content + bytes(sum.value)
    }
}
