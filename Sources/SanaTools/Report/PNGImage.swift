import SanaModel

/// An 8-bit image with one channel (grey) or three (RGB), written as PNG without compression.
struct PNGImage: Equatable {
    let width: Int
    let height: Int
    /// 1 or 3.
    let channels: Int
    /// `[height, width, channels]`
    var pixels: [UInt8]

    init(width: Int, height: Int, channels: Int, fill: UInt8 = 255) {
        (self.width, self.height, self.channels) = (width, height, channels)
        pixels = [UInt8](repeating: fill, count: width * height * channels)
    }

    /// The file: signature, header, one zlib stream of stored blocks, end.
    var file: [UInt8] {
        var lines: [UInt8] = []
        let stride = width * channels
        for row in 0..<height {
            // Filter type 0: values as they are.
            lines.append(0)
            lines += pixels[row * stride..<(row + 1) * stride]
        }
        let header =
            Self.bytes(UInt32(width)) + Self.bytes(UInt32(height))
            + [8, channels == 1 ? 0 : 2, 0, 0, 0]
        return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
            + Self.chunk("IHDR", header) + Self.chunk("IDAT", Self.stored(lines))
            + Self.chunk("IEND", [])
    }

    private static func bytes(_ value: UInt32) -> [UInt8] {
        [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: value >> $0) }
    }

    private static func chunk(_ type: String, _ data: [UInt8]) -> [UInt8] {
        let content = Array(type.utf8) + data
        return bytes(UInt32(data.count)) + content + bytes(crc32(content))
    }

    /// A zlib stream of blocks that hold up to 65535 bytes as they are.
    private static func stored(_ data: [UInt8]) -> [UInt8] {
        var stream: [UInt8] = [0x78, 0x01]
        var start = 0
        repeat {
            let end = min(start + 65535, data.count)
            let count = UInt16(end - start)
            stream.append(end == data.count ? 1 : 0)
            for value in [count, ~count] {
                stream += [UInt8(truncatingIfNeeded: value), UInt8(value >> 8)]
            }
            stream += data[start..<end]
            start = end
        } while start < data.count
        return stream + bytes(adler32(data))
    }

    /// CRC-32 of ISO 3309, as PNG has it.
    private static func crc32(_ data: [UInt8]) -> UInt32 {
        var crc = ~UInt32(0)
        for byte in data {
            crc ^= UInt32(byte)
            for _ in 0..<8 { crc = crc & 1 == 1 ? crc >> 1 ^ 0xEDB8_8320 : crc >> 1 }
        }
        return ~crc
    }

    private static func adler32(_ data: [UInt8]) -> UInt32 {
        var (a, b) = (UInt32(1), UInt32(0))
        for byte in data {
            a = (a + UInt32(byte)) % 65521
            b = (b + a) % 65521
        }
        return b << 16 | a
    }
}

/// Pictures side by side: a row for each source, a column for each image of its batch.
struct ContactSheet {
    /// What a row shows, such as a model's name.
    private(set) var labels: [String] = []
    private var rows: [DenseTensor] = []
    /// `[C, H, W]` of every picture.
    private let shape: [Int]
    private let columns: Int

    private static let gap = 2
    /// Sheets are made at least about this high a row, by repeating pixels.
    private static let rowHeight = 48

    /// - Parameter latents: pictures `[B, C, H, W]` with 1 or 3 channels; `nil` for others, which
    ///   need a decoder, and for ones too large for a sheet.
    init?(_ label: String, _ latents: DenseTensor) {
        let shape = latents.shape
        guard shape.count == 4, shape[1] == 1 || shape[1] == 3, latents.count <= 1 << 24,
            latents.count > 0
        else { return nil }
        (self.shape, columns) = (Array(shape.dropFirst()), shape[0])
        add(label, latents)
    }

    /// Adds a row of as many pictures of the same size; others are left out.
    mutating func add(_ label: String, _ latents: DenseTensor) {
        guard latents.shape == [columns] + shape else { return }
        labels.append(label)
        rows.append(latents)
    }

    /// The sheet, −1 black and 1 white.
    var image: PNGImage {
        let (channels, height, width) = (shape[0], shape[1], shape[2])
        let zoom = max(1, Self.rowHeight / height)
        let (stepX, stepY) = (width * zoom + Self.gap, height * zoom + Self.gap)
        var sheet = PNGImage(
            width: columns * stepX - Self.gap, height: rows.count * stepY - Self.gap,
            channels: channels)
        for (row, latents) in rows.enumerated() {
            for index in 0..<latents.count {
                let (x, y) = (index % width, index / width % height)
                let channel = index / (width * height) % channels
                let column = index / (width * height * channels)
                let value = latents.values.pointer[index]
                let level = value.isFinite ? min(max((value + 1) * 127.5, 0), 255) : 0
                for dy in 0..<zoom {
                    for dx in 0..<zoom {
                        let line = row * stepY + y * zoom + dy
                        let place = line * sheet.width + column * stepX + x * zoom + dx
                        sheet.pixels[place * channels + channel] = UInt8(level.rounded())
                    }
                }
            }
        }
        return sheet
    }
}
