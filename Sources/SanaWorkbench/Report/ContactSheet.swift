import SanaModel

/// Pictures side by side: a row for each source, a column for each image of its batch.
package struct ContactSheet {
    /// What a row shows.
    package struct Label: Equatable {
        /// `diffusers`, or the model that sampled.
        package let source: String
        package let trajectory: String
        /// Types of the stored weights, and how they met activations; `nil` for diffusers.
        package var dtypes: String?
        package var compute: String?
    }

    package private(set) var labels: [Label] = []
    private var rows: [DenseTensor] = []

    private static let gap = 2
    /// Rows are made at least about this high, by repeating pixels.
    private static let rowHeight = 48
    /// Pixels that a row may have before it is enlarged, and a sheet in all.
    private static let (largestRow, largestSheet) = (1 << 24, 1 << 26)
    /// Keyword of the labels in the file.
    private static let keyword = "sana-tools rows"

    package var isEmpty: Bool { rows.isEmpty }

    /// Adds a row of pictures `[B, C, H, W]` with 1 or 3 channels; others, which need a decoder,
    /// and what is too large for a sheet are left out.
    package mutating func add(_ label: Label, _ latents: DenseTensor) {
        let shape = latents.shape
        guard shape.count == 4, shape[1] == 1 || shape[1] == 3, latents.count > 0,
            latents.count <= Self.largestRow
        else { return }
        rows.append(latents)
        guard height <= Self.largestSheet / width else {
            rows.removeLast()
            return
        }
        labels.append(label)
    }

    /// How many pixels of the sheet stand for one of a row's, along each side.
    private static func zoom(_ shape: [Int]) -> Int {
        let zoom = max(1, rowHeight / shape[2])
        return shape.reduce(1, *) <= largestRow / (zoom * zoom) ? zoom : 1
    }

    private static func step(_ shape: [Int]) -> (x: Int, y: Int) {
        (shape[3] * zoom(shape) + gap, shape[2] * zoom(shape) + gap)
    }

    private var width: Int {
        (rows.map { $0.shape[0] * Self.step($0.shape).x }.max() ?? Self.gap) - Self.gap
    }

    private var height: Int { rows.reduce(-Self.gap) { $0 + Self.step($1.shape).y } }

    /// The sheet, −1 black and 1 white, with its labels.
    package var image: PNGImage {
        let channels = rows.map { $0.shape[1] }.max() ?? 1
        var sheet = PNGImage(width: width, height: height, channels: channels)
        var top = 0
        for latents in rows {
            Self.draw(latents, top, &sheet)
            top += Self.step(latents.shape).y
        }
        sheet.texts = [(Self.keyword, JSONValue.array(labels.map(\.json)).text())]
        return sheet
    }

    private static func draw(_ latents: DenseTensor, _ top: Int, _ sheet: inout PNGImage) {
        let (channels, height, width) = (latents.shape[1], latents.shape[2], latents.shape[3])
        let (zoom, step) = (zoom(latents.shape), step(latents.shape))
        for index in 0..<latents.count {
            let (x, y) = (index % width, index / width % height)
            let channel = index / (width * height) % channels
            let column = index / (width * height * channels)
            let value = latents.values.pointer[index]
            let level = value.isFinite ? min(max((value + 1) * 127.5, 0), 255) : 0
            // Grey pictures on a sheet with coloured ones have all three channels alike.
            let targets = channels == sheet.channels ? channel..<channel + 1 : 0..<sheet.channels
            for dy in 0..<zoom {
                for dx in 0..<zoom {
                    let line = top + y * zoom + dy
                    let place = line * sheet.width + column * step.x + x * zoom + dx
                    for target in targets {
                        sheet.pixels[place * sheet.channels + target] = UInt8(level.rounded())
                    }
                }
            }
        }
    }

    /// What each row shows, from the top.
    package var captions: [String] { Self.captions(labels) }

    /// The captions in a file that `image` made; `nil` in others.
    package static func captions(inPNG file: [UInt8]) -> [String]? {
        guard let text = PNGImage.text(keyword, in: file),
            let rows = (try? JSONScanner.parse(text))?.array
        else { return nil }
        return captions(rows.prefix(1000).compactMap(Label.init(json:)))
    }

    /// The trajectory is named if there are several.
    private static func captions(_ labels: [Label]) -> [String] {
        let isOne = Set(labels.map(\.trajectory)).count <= 1
        return labels.map { label in
            let details = [label.dtypes, label.compute.map(ComputeMode.label(ofRecord:))]
                .compactMap(\.self)
            return label.source + (details.isEmpty ? "" : " (\(details.joined(separator: ", ")))")
                + (isOne ? "" : " along \(label.trajectory)")
        }
    }
}

extension ContactSheet.Label {
    fileprivate var json: JSONValue {
        .fields([
            "source": .string(source), "trajectory": .string(trajectory),
            "dtypes": .text(dtypes), "compute": .text(compute),
        ])
    }

    fileprivate init?(json: JSONValue) {
        guard let source = json["source"]?.string, let trajectory = json["trajectory"]?.string
        else { return nil }
        self.init(
            source: source, trajectory: trajectory, dtypes: json["dtypes"]?.string,
            compute: json["compute"]?.string)
    }
}
