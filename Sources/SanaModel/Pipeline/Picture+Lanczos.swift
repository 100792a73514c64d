import Libc

extension Picture {
    /// Pillow's `resize(size, Image.LANCZOS)`, to the bit: across, then down, with levels rounded
    /// in between.
    public func resized(width newWidth: Int, height newHeight: Int) -> Picture {
        var picture = self
        if newWidth != width {
            let taps = LanczosTaps(from: width, to: newWidth)
            var pixels = [UInt8](repeating: 0, count: newWidth * height * 3)
            for y in 0..<height {
                for x in 0..<newWidth {
                    for channel in 0..<3 {
                        pixels[(y * newWidth + x) * 3 + channel] = taps.level(x) {
                            picture.pixels[(y * width + $0) * 3 + channel]
                        }
                    }
                }
            }
            picture = Picture(width: newWidth, height: height, pixels: pixels)
        }
        if newHeight != height {
            let taps = LanczosTaps(from: height, to: newHeight)
            var pixels = [UInt8](repeating: 0, count: newWidth * newHeight * 3)
            for y in 0..<newHeight {
                for place in 0..<newWidth * 3 {
                    pixels[y * newWidth * 3 + place] = taps.level(y) {
                        picture.pixels[$0 * newWidth * 3 + place]
                    }
                }
            }
            picture = Picture(width: newWidth, height: newHeight, pixels: pixels)
        }
        return picture
    }
}

/// Pillow's fixed-point weights of the pixels that each new pixel is made of.
private struct LanczosTaps {
    private static let bits = 22
    private static let support = 3.0
    private var starts: [Int] = []
    private var weights: [[Int]] = []

    init(from old: Int, to new: Int) {
        let scale = Double(old) / Double(new)
        let stretch = max(scale, 1)
        let support = Self.support * stretch
        for place in 0..<new {
            let center = (Double(place) + 0.5) * scale
            let first = max(Int(center - support + 0.5), 0)
            let end = min(Int(center + support + 0.5), old)
            let raw = (first..<end).map {
                Self.lanczos((Double($0) - center + 0.5) * (1 / stretch))
            }
            let sum = raw.reduce(0, +)
            starts.append(first)
            weights.append(
                raw.map {
                    let scaled = (sum == 0 ? $0 : $0 / sum) * Double(1 << Self.bits)
                    return Int(scaled < 0 ? scaled - 0.5 : scaled + 0.5)
                })
        }
    }

    func level(_ place: Int, of value: (Int) -> UInt8) -> UInt8 {
        var sum = 1 << (Self.bits - 1)
        for (offset, weight) in weights[place].enumerated() {
            sum += weight * Int(value(starts[place] + offset))
        }
        return UInt8(clamping: sum >> Self.bits)
    }

    private static func lanczos(_ x: Double) -> Double {
        func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }
        return -support <= x && x < support ? sinc(x) * sinc(x / support) : 0
    }
}
