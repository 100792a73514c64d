import Foundation
import SanaModel

/// A picture of the report, and the same as a table.
struct Chart {
    let id: String
    let title: String
    let note: String
    let svg: String
    let head: [String]
    let rows: [[String]]

    /// What the template reads.
    var context: [String: Any] {
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
    static func layers(
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
    static func history(_ name: String, id: String, _ runs: [(label: String, value: Double)])
        -> Chart?
    {
        guard runs.count > 1 else { return nil }
        let values = runs.map(\.value)
        let pieces = StepDetection.pieces(values)
        let x = Scale(low: 0, high: Double(runs.count - 1), start: 70, end: 800)
        let y = Scale(low: 0, high: (values.max() ?? 1) * 1.1, start: 170, end: 10)
        var svg = SVG(width: 820, height: 200)
        svg.line([(70, 10), (70, 170), (800, 170)], "axis")
        svg.label("0", 64, 174, .end, style: "dim")
        svg.label(Format.nanoseconds(values.max() ?? 0), 64, y.place(values.max() ?? 0) + 4, .end)
        svg.line(values.enumerated().map { (x.place(Double($0)), y.place($1)) }, "la")
        for (index, run) in runs.enumerated() {
            svg.dot(
                x.place(Double(index)), y.place(run.value), "a",
                hint: "\(run.label): \(Format.nanoseconds(run.value))", radius: 3)
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
            svg: svg.text(label: "Latency of \(runs.count) runs of \(name)"),
            head: ["Run", "Median"],
            rows: runs.map { [$0.label.printable, Format.nanoseconds($0.value)] })
    }

    /// Rate against arithmetic intensity, below what memory and arithmetic allow.
    static func roofline(
        _ points: [(path: String, intensity: Double, rate: Double)], peak: Double, bandwidth: Double
    ) -> Chart? {
        guard !points.isEmpty, peak > 0, bandwidth > 0 else { return nil }
        let intensities = points.map(\.intensity)
        let (low, high) = ((intensities.min() ?? 1) / 2, (intensities.max() ?? 1) * 2)
        let rates = points.map(\.rate)
        let x = Scale(low: low, high: high, start: 70, end: 800, isLogarithmic: true)
        let y = Scale(
            low: (rates.min() ?? 1) / 2, high: max(peak, rates.max() ?? 1) * 1.3, start: 270,
            end: 10, isLogarithmic: true)
        var svg = SVG(width: 820, height: 310)
        svg.line([(70, 10), (70, 270), (800, 270)], "axis")
        let ridge = min(max(peak / bandwidth, low), high)
        svg.line(
            [
                (x.place(low), y.place(min(peak, low * bandwidth))),
                (x.place(ridge), y.place(peak)),
                (x.place(high), y.place(peak)),
            ], "lb")
        svg.label("\(Format.decimal(peak, digits: 0)) GFLOP/s", 800, y.place(peak) - 5, .end)
        svg.label(
            "\(Format.decimal(bandwidth, digits: 1)) GB/s", x.place(low) + 4, 24, style: "dim")
        for point in points {
            svg.dot(
                x.place(point.intensity), y.place(point.rate), "a",
                hint: "\(point.path): \(Format.decimal(point.rate, digits: 1)) GFLOP/s at "
                    + "\(Format.decimal(point.intensity, digits: 1)) operations a byte")
        }
        svg.label("\(Format.decimal(low, digits: 1))", 70, 288, style: "dim")
        svg.label("operations a byte (log)", 435, 288, .middle, style: "dim")
        svg.label("\(Format.decimal(high, digits: 0))", 800, 288, .end, style: "dim")
        return Chart(
            id: "roofline", title: "Roofline",
            note:
                "A dot is a layer: GFLOP/s over operations a byte, below what the measured peaks of this "
                + "machine allow.",
            svg: svg.text(label: "Roofline of \(points.count) layers"),
            head: ["Layer", "Operations a byte", "GFLOP/s"],
            rows: points.map {
                [
                    $0.path.printable, Format.decimal($0.intensity, digits: 1),
                    Format.decimal($0.rate, digits: 1),
                ]
            })
    }

    /// Size against error of every stored type, with its latency.
    static func tradeoff(
        _ points: [(name: String, bytes: Int, error: Double?, latency: Double?)]
    ) -> Chart? {
        let placed = points.filter { ($0.error ?? 0) > 0 }
        guard placed.count > 1 else { return nil }
        let errors = placed.compactMap(\.error)
        let x = Scale(
            low: 0, high: Double(points.map(\.bytes).max() ?? 1) * 1.15, start: 90, end: 760)
        let y = Scale(
            low: (errors.min() ?? 1) / 3, high: (errors.max() ?? 1) * 3, start: 230, end: 15,
            isLogarithmic: true)
        var svg = SVG(width: 820, height: 270)
        svg.line([(90, 10), (90, 230), (800, 230)], "axis")
        for point in placed {
            let place = (x.place(Double(point.bytes)), y.place(point.error ?? 0))
            let latency = point.latency.map { ", " + Format.nanoseconds($0) } ?? ""
            svg.dot(place.0, place.1, "a", hint: point.name, radius: 6)
            svg.label(
                point.name + latency, place.0 + (place.0 > 500 ? -10 : 10), place.1 + 4,
                place.0 > 500 ? .end : .start)
        }
        svg.label(Format.scientific(errors.max() ?? 0), 84, y.place(errors.max() ?? 0) + 4, .end)
        svg.label("stored bytes", 435, 252, .middle, style: "dim")
        return Chart(
            id: "tradeoff", title: "Size, error and latency of each stored type",
            note: "Left is smaller, lower is more exact (output relative RMS, log).",
            svg: svg.text(label: "Size and error of \(placed.count) stored types"),
            head: ["Type", "Stored", "Output relative RMS", "Median forward"],
            rows: points.map {
                [
                    $0.name.printable, Format.bytes($0.bytes),
                    $0.error.map(Format.scientific) ?? "", $0.latency.map(Format.nanoseconds) ?? "",
                ]
            })
    }

    /// What a layer adds to the error, above what came in.
    static func errors(_ layers: [(path: String, own: Double, inherited: Double?)]) -> Chart? {
        guard !layers.isEmpty else { return nil }
        let highest = layers.map { max($0.own, $0.inherited ?? 0) }.max() ?? 1
        let scale = Scale(low: 0, high: highest, start: 0, end: 520)
        var svg = SVG(width: 820, height: Double(layers.count) * 22 + 24)
        svg.label(
            "own (blue), inherited (orange), up to \(Format.scientific(highest))", 270, 14,
            style: "dim")
        for (index, layer) in layers.enumerated() {
            let y = 24 + Double(index) * 22
            svg.label(layer.path, 262, y + 12, .end)
            svg.rectangle(
                270, y, scale.place(layer.own), 8, "a",
                hint: "own \(Format.scientific(layer.own))")
            svg.rectangle(
                270, y + 9, scale.place(layer.inherited ?? 0), 8, "b",
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
