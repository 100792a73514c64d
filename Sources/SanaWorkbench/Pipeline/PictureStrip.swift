import SanaModel

/// Pictures of one height side by side.
package struct PictureStrip {
    /// What each picture is called, and the picture.
    private var pictures: [(name: String, picture: Picture)] = []

    package init() {}

    private static let gap = 4
    /// Keyword of the names in the file.
    private static let keyword = "sana-tools strip"
    private static let mostPixels = 1 << 26

    /// Adds a picture at the right.
    ///
    /// - Throws: `BadDataError` for one of another height, or where the strip gets too large.
    package mutating func add(_ name: String, _ picture: Picture) throws {
        if let first = pictures.first?.picture, first.height != picture.height {
            throw BadDataError(
                file: name,
                reason: "is \(picture.height) pixels high, but the strip is \(first.height)",
                remedy: "give images of the same height")
        }
        pictures.append((name, picture))
        guard width <= Self.mostPixels / picture.height else {
            throw BadDataError(
                file: name, reason: "would make the strip larger than \(Self.mostPixels) pixels")
        }
    }

    private var width: Int { pictures.reduce(-Self.gap) { $0 + $1.picture.width + Self.gap } }

    /// The strip, at least one picture being there.
    package var image: PNGImage {
        let height = pictures.first?.picture.height ?? 1
        var image = PNGImage(width: max(width, 1), height: height, channels: 3)
        var left = 0
        for (_, picture) in pictures {
            let row = picture.width * 3
            for y in 0..<height {
                let place = (y * image.width + left) * 3
                image.pixels.replaceSubrange(
                    place..<place + row, with: picture.pixels[y * row..<(y + 1) * row])
            }
            left += picture.width + Self.gap
        }
        let names = pictures.map { JSONValue.string($0.name) }
        image.texts = [(Self.keyword, JSONValue.array(names).text())]
        return image
    }

    /// What the pictures in a file that `image` made are called, from the left; `nil` in others.
    package static func names(inPNG file: [UInt8]) -> [String]? {
        guard let text = PNGImage.text(keyword, in: file) else { return nil }
        return (try? JSONScanner.parse(text))?.array?.prefix(1000).compactMap(\.string)
    }
}
