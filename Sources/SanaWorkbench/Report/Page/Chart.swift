import Foundation
import SanaModel

/// A picture of the report, and the same as a table.
package struct Chart {
    package var id: String
    package var title: String
    package var note: String
    package let svg: String
    package let head: [String]
    package let rows: [[String]]

    /// What the template reads.
    package var context: [String: Any] {
        [
            "id": id, "title": title, "note": note, "svg": svg,
            "table": [
                "title": title, "head": head, "rows": rows.map { ["cells": $0] as [String: Any] },
            ] as [String: Any],
        ]
    }
}

extension Chart {
    /// Error to the left and latency to the right of one axis of module paths.
    package static func layers(
        _ layers: [(path: String, error: Double?, latency: Double?, isWrong: Bool, isSlow: Bool)]
    ) -> Chart? {
        guard !layers.isEmpty else { return nil }
        let errors = layers.compactMap(\.error).filter { $0 > 0 }
        let longest = layers.compactMap(\.latency).max() ?? 1
        let error = Scale(
            low: (errors.min() ?? 1e-7) / 3, high: errors.max() ?? 1, start: 0, end: 240,
            isLogarithmic: true)
        let latency = Scale(low: 0, high: longest, start: 0, end: 240)
        var svg = SVG(width: 820, height: Double(layers.count) * 18 + 30)
        svg.label("relative RMS error (log)", 255, 14, .end, style: "dim")
        svg.label("module", 410, 14, .middle, style: "dim")
        svg.label("median latency", 565, 14, .start, style: "dim")
        for (index, layer) in layers.enumerated() {
            let y = 24 + Double(index) * 18
            svg.label(
                layer.path, 410, y + 11, .middle, style: layer.isWrong || layer.isSlow ? "bad" : "")
            if let value = layer.error, value > 0 {
                let length = error.place(value)
                svg.rectangle(
                    255 - length, y, length, 13, layer.isWrong ? "bad" : "a",
                    hint: "\(layer.path): \(Format.scientific(value))")
            }
            if let value = layer.latency {
                svg.rectangle(
                    565, y, latency.place(value), 13, layer.isSlow ? "bad" : "b",
                    hint: "\(layer.path): \(Format.nanoseconds(value))")
            }
        }
        return Chart(
            id: "layers", title: "Error and latency of each layer",
            note:
                "Bars to the left are errors on a logarithmic scale, bars to the right latencies. "
                + "What got worse is red.",
            svg: svg.text(label: "Error and latency of \(layers.count) layers"),
            head: ["Layer", "Relative RMS", "Median", "Worse"],
            rows: layers.map {
                [
                    $0.path.printable, $0.error.map(Format.scientific) ?? "",
                    $0.latency.map(Format.nanoseconds) ?? "",
                    $0.isWrong ? "error" : $0.isSlow ? "latency" : "",
                ]
            })
    }

    /// One value of every run of a series, with the pieces that step detection finds.
    ///
    /// - Parameters:
    ///   - measure: what the value is, the head of its column.
    ///   - format: how it is written.
    package static func history(
        _ name: String, id: String, _ runs: [(label: String, value: Double)],
        measure: String = "Median", format: (Double) -> String = Format.nanoseconds
    ) -> Chart? {
        guard runs.count > 1 else { return nil }
        let values = runs.map(\.value)
        let pieces = StepDetection.pieces(values)
        let x = Scale(low: 0, high: Double(runs.count - 1), start: 70, end: 800)
        let y = Scale(low: 0, high: (values.max() ?? 1) * 1.1, start: 170, end: 10)
        var svg = SVG(width: 820, height: 200)
        svg.line([(70, 10), (70, 170), (800, 170)], "axis")
        svg.label("0", 64, 174, .end, style: "dim")
        svg.label(format(values.max() ?? 0), 64, y.place(values.max() ?? 0) + 4, .end)
        svg.line(values.enumerated().map { (x.place(Double($0)), y.place($1)) }, "la")
        for (index, run) in runs.enumerated() {
            svg.dot(
                x.place(Double(index)), y.place(run.value), "a",
                hint: "\(run.label): \(format(run.value))", radius: 3)
        }
        for piece in pieces {
            svg.line(
                [
                    (x.place(Double(piece.range.lowerBound)), y.place(piece.level)),
                    (x.place(Double(piece.range.upperBound - 1)), y.place(piece.level)),
                ], "lb")
        }
        for (before, after) in zip(pieces, pieces.dropFirst()) {
            let place = x.place(Double(after.range.lowerBound) - 0.5)
            svg.line([(place, 10), (place, 170)], "step")
            svg.label(Format.change(after.level / before.level), place + 4, 22, style: "bad")
        }
        svg.label(runs[0].label, 70, 190, style: "dim")
        svg.label(runs[runs.count - 1].label, 800, 190, .end, style: "dim")
        let steps = zip(pieces, pieces.dropFirst()).map { before, after in
            "\(runs[after.range.lowerBound].label): \(Format.change(after.level / before.level))"
        }
        return Chart(
            id: id, title: "History of \(name.printable)",
            note: steps.isEmpty
                ? "No step among \(runs.count) runs."
                : "Steps: " + steps.joined(separator: "; "),
            svg: svg.text(label: "\(measure) of \(runs.count) runs of \(name)"),
            head: ["Run", measure],
            rows: runs.map { [$0.label.printable, format($0.value)] })
    }

    /// What a layer adds to the error, above what came in.
    package static func errors(_ layers: [(path: String, own: Double, inherited: Double?)])
        -> Chart?
    {
        guard !layers.isEmpty else { return nil }
        let values = layers.flatMap { [$0.own, $0.inherited ?? 0] }.filter { $0 > 0 }
        let (lowest, highest) = (values.min() ?? 1e-7, values.max() ?? 1)
        // From layers of fp32 to those of int8 there are five powers of ten.
        let scale = Scale(low: lowest / 3, high: highest, start: 0, end: 520, isLogarithmic: true)
        let length = { (value: Double) in value > 0 ? scale.place(value) : 0 }
        var svg = SVG(width: 820, height: Double(layers.count) * 22 + 44)
        svg.label("own (blue), inherited (orange), log", 270, 14, style: "dim")
        let bottom = 26 + Double(layers.count) * 22
        let powers = (Int(log10(lowest / 3).rounded(.up)), Int(log10(highest).rounded(.down)))
        for power in powers.0...max(powers.0, powers.1) {
            let x = 270 + scale.place(pow(10, Double(power)))
            svg.line([(x, 20), (x, bottom)], "axis")
            svg.label("1e\(power)", x, bottom + 14, .middle, style: "dim")
        }
        for (index, layer) in layers.enumerated() {
            let y = 24 + Double(index) * 22
            svg.label(layer.path, 262, y + 12, .end)
            svg.rectangle(
                270, y, length(layer.own), 8, "a", hint: "own \(Format.scientific(layer.own))")
            svg.rectangle(
                270, y + 9, length(layer.inherited ?? 0), 8, "b",
                hint: "inherited \(Format.scientific(layer.inherited ?? 0))")
        }
        return Chart(
            id: "errors", title: "Own against inherited error",
            note:
                "Own is what a layer adds on the golden's input; inherited what the error of its input changes.",
            svg: svg.text(label: "Own and inherited error of \(layers.count) layers"),
            head: ["Layer", "Own", "Inherited"],
            rows: layers.map {
                [
                    $0.path.printable, Format.scientific($0.own),
                    $0.inherited.map(Format.scientific) ?? "",
                ]
            })
    }
}
