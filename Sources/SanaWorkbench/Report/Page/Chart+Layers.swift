import Foundation

extension Chart {
    /// A layer of one model: what a verification found of its error, and a profile of its latency.
    struct LayerMeasure {
        let path: String
        /// Relative RMS.
        let error: Double?
        /// Nanoseconds.
        let latency: Double?
        let isWrong: Bool
        let isSlow: Bool
    }

    /// Error and latency of each layer: on a screen to the left and right of the module paths, on a
    /// phone below them.
    ///
    /// - Parameter tolerance: relative RMS that layers were allowed.
    static func layers(_ layers: [LayerMeasure], tolerance: Double? = nil) -> Chart? {
        guard !layers.isEmpty else { return nil }
        let errors = layers.compactMap(\.error).filter { $0 > 0 && $0.isFinite }
        let range = (
            low: (errors.min() ?? 1e-7) / 3,
            high: max(errors.max() ?? 1, errors.isEmpty ? 0 : tolerance ?? 0)
        )
        let longest = layers.compactMap(\.latency).max() ?? 1
        let bound = errors.isEmpty ? nil : tolerance
        return Chart(
            id: "layers", title: "Error and latency of each layer",
            note: "Errors are on a logarithmic scale. Anything that got worse is red."
                + (bound.map { " The dashed line is the tolerance, \(Format.scientific($0))." }
                    ?? ""),
            label: "Error and latency of \(layers.count) layers",
            head: ["Layer", "Relative RMS", "Median", "Worse"],
            rows: layers.map {
                [
                    $0.path.printable, $0.error.map(Format.scientific) ?? "",
                    $0.latency.map(Format.nanoseconds) ?? "",
                    $0.isWrong ? "error" : $0.isSlow ? "latency" : "",
                ]
            }
        ) { size in
            var picture = LayerPicture(size, range, longest, count: layers.count)
            picture.drawAxes(tolerance: bound)
            for (index, layer) in layers.enumerated() { picture.draw(layer, index) }
            return picture.svg
        }
    }
}

/// Where the parts of a chart of layers are.
private struct LayerPicture {
    private(set) var svg: SVG
    private let isWide: Bool
    private let errorRange: (low: Double, high: Double)
    private let longest: Double
    private let bottom: Double
    private let tickCount: Int

    private static let top = 38.0
    private var rowHeight: Double { isWide ? 18 : 34 }
    /// Length of the longest bars.
    private var reach: Double { isWide ? 240 : 160 }
    private var latencyStart: Double { isWide ? 565 : 176 }

    init(
        _ size: Chart.Size, _ errorRange: (low: Double, high: Double), _ longest: Double, count: Int
    ) {
        isWide = size == .screen
        (self.errorRange, self.longest, tickCount) = (errorRange, longest, isWide ? 5 : 3)
        bottom = Self.top + Double(count) * (isWide ? 18 : 34)
        svg = SVG(width: size.width, height: bottom + 18)
    }

    private func errorPlace(_ value: Double) -> Double {
        let scale = Scale(
            low: errorRange.low, high: errorRange.high, start: 0, end: reach, isLogarithmic: true)
        return isWide ? 255 - scale.place(value) : 4 + scale.place(value)
    }

    private func latencyPlace(_ value: Double) -> Double {
        latencyStart + Scale(low: 0, high: longest, start: 0, end: reach).place(value)
    }

    mutating func drawAxes(tolerance: Double?) {
        svg.label(
            "relative RMS error (log)", isWide ? 255 : 4, 14, isWide ? .end : .start, style: "dim")
        if isWide { svg.label("module", 410, 14, .middle, style: "dim") }
        svg.label("median latency", latencyStart, 14, style: "dim")
        for power in Axis.powers(errorRange.low, errorRange.high, count: tickCount) {
            tick(errorPlace(pow(10, Double(power))), "1e\(power)")
        }
        for value in Axis.linear(to: longest, count: tickCount - 1) {
            tick(latencyPlace(value), value == 0 ? "0" : Format.nanoseconds(value))
        }
        guard let tolerance else { return }
        let x = errorPlace(tolerance)
        svg.line([(x, Self.top - 4), (x, bottom)], "limit")
        svg.label("tolerance", x, bottom + 14, isWide ? .middle : .end, style: "bad")
    }

    private mutating func tick(_ x: Double, _ text: String) {
        svg.line([(x, Self.top - 4), (x, bottom)], "axis")
        svg.label(
            text, x, Self.top - 8, x > svg.width - 24 ? .end : .middle, style: "dim")
    }

    mutating func draw(_ layer: Chart.LayerMeasure, _ index: Int) {
        let y = Self.top + Double(index) * rowHeight
        let style = layer.isWrong || layer.isSlow ? "bad" : ""
        svg.label(layer.path, isWide ? 410 : 4, y + 11, isWide ? .middle : .start, style: style)
        let (barTop, height) = isWide ? (y, 13.0) : (y + 16, 11)
        if let value = layer.error, value > 0 {
            let ends = [errorPlace(value), isWide ? 255 : 4].sorted()
            svg.rectangle(
                ends[0], barTop, ends[1] - ends[0], height, layer.isWrong ? "bad" : "a",
                hint: "\(layer.path): \(Format.scientific(value))")
        }
        if let value = layer.latency {
            svg.rectangle(
                latencyStart, barTop, latencyPlace(value) - latencyStart, height,
                layer.isSlow ? "bad" : "b", hint: "\(layer.path): \(Format.nanoseconds(value))")
        }
    }
}
