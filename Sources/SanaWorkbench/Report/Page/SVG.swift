import Foundation

/// Inline pictures: shapes take their colours from the page's style, so both themes and paper do.
package struct SVG {
    package let width: Double
    package let height: Double
    private var body = ""

    package init(width: Double, height: Double) { (self.width, self.height) = (width, height) }

    /// The element, with `label` for those who cannot see it.
    package func text(label: String) -> String {
        "<svg viewBox=\"0 0 \(Self.number(width)) \(Self.number(height))\" role=\"img\" "
            + "aria-label=\"\(Markup.escaped(label))\">\(body)</svg>"
    }

    package mutating func rectangle(
        _ x: Double, _ y: Double, _ width: Double, _ height: Double, _ style: String, hint: String
    ) {
        body +=
            "<rect x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" width=\"\(Self.number(width))\" "
            + "height=\"\(Self.number(height))\" class=\"\(style)\"><title>\(Markup.escaped(hint))</title></rect>"
    }

    package mutating func line(_ points: [(x: Double, y: Double)], _ style: String) {
        let path = points.map { "\(Self.number($0.x)),\(Self.number($0.y))" }
        body += "<polyline points=\"\(path.joined(separator: " "))\" class=\"\(style)\"/>"
    }

    package mutating func dot(
        _ x: Double, _ y: Double, _ style: String, hint: String, radius: Double = 4
    ) {
        body +=
            "<circle cx=\"\(Self.number(x))\" cy=\"\(Self.number(y))\" r=\"\(Self.number(radius))\" "
            + "class=\"\(style)\"><title>\(Markup.escaped(hint))</title></circle>"
    }

    package enum Anchor: String { case start, middle, end }

    package mutating func label(
        _ text: String, _ x: Double, _ y: Double, _ anchor: Anchor = .start, style: String = ""
    ) {
        body +=
            "<text x=\"\(Self.number(x))\" y=\"\(Self.number(y))\" text-anchor=\"\(anchor.rawValue)\" "
            + "class=\"\(style)\">\(Markup.escaped(text))</text>"
    }

    private static func number(_ value: Double) -> String {
        value.isFinite ? String(format: "%.1f", value) : "0"
    }
}

/// Values onto pixels.
package struct Scale {
    package let low: Double
    package let high: Double
    package let start: Double
    package let end: Double
    package var isLogarithmic = false

    package func place(_ value: Double) -> Double {
        let convert = { isLogarithmic ? log10(max($0, 1e-300)) : $0 }
        let (a, b) = (convert(low), convert(high))
        guard b > a else { return (start + end) / 2 }
        return start + (end - start) * min(1, max(0, (convert(value) - a) / (b - a)))
    }
}
