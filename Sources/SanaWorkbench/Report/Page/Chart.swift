import Foundation
import SanaModel

/// A picture of the report, and the same as a table.
package struct Chart {
    /// What a picture is drawn for.
    enum Size {
        case screen, phone

        /// Units across; of a phone about as many as it has pixels, so that text keeps its size.
        var width: Double { self == .screen ? 820 : 340 }
        /// Where the axis to the left is, with room for the numbers next to it.
        var left: Double { self == .screen ? 90 : 62 }
        var right: Double { width - (self == .screen ? 20 : 8) }
        /// Ticks that have room side by side.
        var tickCount: Int { self == .screen ? 6 : 3 }
    }

    package var id: String
    package var title: String
    package var note: String
    package let svg: String
    let phone: String
    package let head: [String]
    package let rows: [[String]]

    init(
        id: String, title: String, note: String, label: String, head: [String], rows: [[String]],
        draw: (Size) -> SVG
    ) {
        (self.id, self.title, self.note, self.head, self.rows) = (id, title, note, head, rows)
        svg = draw(.screen).text(label: label)
        phone = draw(.phone).text(label: label)
    }

    /// What the template reads.
    package var context: [String: Any] {
        [
            "id": id, "title": title, "note": note, "svg": svg, "phone": phone,
            "table": [
                "title": title, "head": head, "rows": rows.map { ["cells": $0] as [String: Any] },
            ] as [String: Any],
        ]
    }
}

extension Chart {
    /// One value of every run of a series, with the pieces that step detection finds.
    ///
    /// - Parameters:
    ///   - measure: what the value is, the head of its column.
    ///   - tolerance: what the newest run was allowed, in the same unit.
    ///   - format: how it is written.
    package static func history(
        _ name: String, id: String, _ runs: [(label: String, value: Double)],
        measure: String = "Median", tolerance: Double? = nil,
        format: (Double) -> String = Format.nanoseconds
    ) -> Chart? {
        guard runs.count > 1 else { return nil }
        let values = runs.map(\.value)
        let pieces = StepDetection.pieces(values)
        let highest = values.max() ?? 1
        // A line far above would press all values into the bottom.
        let line = tolerance.flatMap { $0 <= highest * 4 ? $0 : nil }
        let top = max(highest, line ?? 0) * 1.1
        let changes = zip(pieces, pieces.dropFirst()).map { before, after in
            (after.range.lowerBound, Format.change(after.level / before.level))
        }
        let steps = changes.map { "\(runs[$0.0].label): \($0.1)" }
        let bound = tolerance.map {
            " Tolerance \(format($0))" + (line == nil ? ", above the chart." : ".")
        }
        return Chart(
            id: id, title: "History of \(name.printable)",
            note: (steps.isEmpty
                ? "No step among \(runs.count) runs."
                : "Steps: " + steps.joined(separator: "; ")) + (bound ?? ""),
            label: "\(measure) of \(runs.count) runs of \(name)", head: ["Run", measure],
            rows: runs.map { [$0.label.printable, format($0.value)] }
        ) { size in
            let x = Scale(
                low: 0, high: Double(runs.count - 1), start: size.left + 6, end: size.right - 6)
            let y = Scale(low: 0, high: top, start: 170, end: 10)
            var svg = SVG(width: size.width, height: 200)
            for tick in Axis.linear(to: top) {
                svg.line([(size.left, y.place(tick)), (size.right, y.place(tick))], "axis")
                svg.label(
                    tick == 0 ? "0" : format(tick), size.left - 6, y.place(tick) + 4, .end,
                    style: "dim")
            }
            if let line {
                svg.line([(size.left, y.place(line)), (size.right, y.place(line))], "limit")
                svg.label("tolerance", size.right, y.place(line) - 4, .end, style: "bad")
            }
            svg.line(values.enumerated().map { (x.place(Double($0)), y.place($1)) }, "la")
            for piece in pieces {
                svg.line(
                    [piece.range.lowerBound, piece.range.upperBound - 1].map {
                        (x.place(Double($0)), y.place(piece.level))
                    }, "lb")
            }
            for (index, change) in changes {
                let place = x.place(Double(index) - 0.5)
                svg.line([(place, 10), (place, 170)], "step")
                svg.label(change, place + 4, 22, style: "bad")
            }
            for (index, run) in runs.enumerated() {
                svg.dot(
                    x.place(Double(index)), y.place(run.value), "a",
                    hint: "\(run.label): \(format(run.value))", radius: 3)
            }
            svg.label(runs[0].label, size.left, 190, style: "dim")
            svg.label(runs[runs.count - 1].label, size.right, 190, .end, style: "dim")
            return svg
        }
    }

    /// What a layer adds to the error, above what came in.
    package static func errors(_ layers: [(path: String, own: Double, inherited: Double?)])
        -> Chart?
    {
        guard !layers.isEmpty else { return nil }
        let values = layers.flatMap { [$0.own, $0.inherited ?? 0] }.filter { $0 > 0 }
        let (lowest, highest) = (values.min() ?? 1e-7, values.max() ?? 1)
        return Chart(
            id: "errors", title: "Own against inherited error",
            note:
                "Own is what a layer adds on the golden's input; inherited is what the error of its input adds.",
            label: "Own and inherited error of \(layers.count) layers",
            head: ["Layer", "Own", "Inherited"],
            rows: layers.map {
                [
                    $0.path.printable, Format.scientific($0.own),
                    $0.inherited.map(Format.scientific) ?? "",
                ]
            }
        ) { size in
            let isWide = size == .screen
            let left = isWide ? 270.0 : 4
            let (rowHeight, barTop) = isWide ? (22.0, 0.0) : (38, 16)
            // From layers of fp32 to those of int8 there are five powers of ten.
            let scale = Scale(
                low: lowest / 3, high: highest, start: 0, end: size.right - left - 10,
                isLogarithmic: true)
            let length = { (value: Double) in value > 0 ? scale.place(value) : 0 }
            var svg = SVG(width: size.width, height: Double(layers.count) * rowHeight + 44)
            svg.label("own (blue), inherited (orange), log", left, 14, style: "dim")
            let bottom = 26 + Double(layers.count) * rowHeight
            for power in Axis.powers(lowest / 3, highest, count: size.tickCount) {
                let x = left + scale.place(pow(10, Double(power)))
                svg.line([(x, 20), (x, bottom)], "axis")
                svg.label("1e\(power)", x, bottom + 14, .middle, style: "dim")
            }
            for (index, layer) in layers.enumerated() {
                let y = 24 + Double(index) * rowHeight
                svg.label(layer.path, isWide ? 262 : left, y + 12, isWide ? .end : .start)
                svg.rectangle(
                    left, y + barTop, length(layer.own), 8, "a",
                    hint: "own \(Format.scientific(layer.own))")
                svg.rectangle(
                    left, y + barTop + 9, length(layer.inherited ?? 0), 8, "b",
                    hint: "inherited \(Format.scientific(layer.inherited ?? 0))")
            }
            return svg
        }
    }
}
