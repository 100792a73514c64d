import Foundation

extension Chart {
    /// A way to store and run a model.
    package struct Stored {
        package let name: String
        package let bytes: Int
        /// Relative RMS error of the output; `nil` where nobody verified it.
        package let error: Double?
        /// Nanoseconds of a forward.
        package let latency: Double?
    }

    /// Size against error of every stored type, with its latency, and the line of those that no
    /// other beats in both.
    package static func tradeoff(_ points: [Stored]) -> Chart? {
        let placed = points.filter { $0.error?.isFinite == true }.sorted {
            ($0.bytes, $0.error ?? 0) < ($1.bytes, $1.error ?? 0)
        }
        guard placed.count > 1 else { return nil }
        let errors = placed.compactMap(\.error).filter { $0 > 0 }
        let (lowest, highest) = (errors.min() ?? 1e-7, errors.max() ?? 1e-6)
        let frontier = frontier(placed)
        let largest = Double(placed.map(\.bytes).max() ?? 1) * 1.1
        return Chart(
            id: "tradeoff", title: "Size, error and latency of each stored type",
            note: "Left is smaller, lower is more accurate (output relative RMS, log; 0 on axis). "
                + "The line joins the types that no other type beats in both.",
            label: "Size and error of \(placed.count) stored types",
            head: ["Type", "Stored", "Output relative RMS", "Median forward", "On the line"],
            rows: points.map { point in
                [
                    point.name.printable, Format.bytes(point.bytes),
                    point.error.map(Format.scientific) ?? "not verified",
                    point.latency.map(Format.nanoseconds) ?? "",
                    frontier.contains { $0.name == point.name } ? "yes" : "",
                ]
            }
        ) { size in
            let x = Scale(low: 0, high: largest, start: size.left, end: size.right)
            let y = Scale(
                low: lowest / 3, high: highest * 3, start: 215, end: 15, isLogarithmic: true)
            // Zero has no place on a logarithmic axis: it is on the axis itself.
            let height = { (error: Double) in error > 0 ? y.place(error) : 230 }
            var svg = SVG(width: size.width, height: 270)
            svg.line([(size.left, 10), (size.left, 230), (size.right, 230)], "axis")
            for power in Axis.powers(lowest / 3, highest * 3) {
                let place = y.place(pow(10, Double(power)))
                svg.line([(size.left, place), (size.right, place)], "axis")
                svg.label("1e\(power)", size.left - 6, place + 4, .end, style: "dim")
            }
            if errors.count < placed.count {
                svg.label("0", size.left - 6, 234, .end, style: "dim")
            }
            for tick in Axis.linear(to: largest, count: size.tickCount - 1) {
                svg.label(
                    Format.bytes(Int(tick)), x.place(tick), 246, tick == 0 ? .start : .middle,
                    style: "dim")
            }
            svg.line(frontier.map { (x.place(Double($0.bytes)), height($0.error ?? 0)) }, "lb")
            var taken: [Double] = []
            let middle = (size.left + size.right) / 2
            for point in placed {
                let place = (x: x.place(Double(point.bytes)), y: height(point.error ?? 0))
                let latency = point.latency.map { ", " + Format.nanoseconds($0) } ?? ""
                svg.dot(
                    place.x, place.y, "a",
                    hint: "\(point.name): \(Format.bytes(point.bytes)), "
                        + "\(Format.scientific(point.error ?? 0))\(latency)", radius: 6)
                let row = freeRow(near: place.y - 8, taken)
                taken.append(row)
                let text = point.name + latency
                // As wide as letters are about, so that it stays within the axes.
                let length = Double(text.count) * 7.2
                svg.label(
                    text,
                    place.x > middle
                        ? max(place.x - 10, size.left + length)
                        : min(place.x + 10, size.right - length), row,
                    place.x > middle ? .end : .start)
            }
            svg.label("stored bytes", middle, 264, .middle, style: "dim")
            return svg
        }
    }

    /// Of points from small to large, those that are more exact than everything smaller.
    private static func frontier(_ points: [Stored]) -> [Stored] {
        var lowest = Double.infinity
        return points.filter { point in
            guard let error = point.error, error < lowest else { return false }
            lowest = error
            return true
        }
    }

    /// A baseline for text at `y` or as near above or below as no other text is.
    private static func freeRow(near y: Double, _ taken: [Double]) -> Double {
        let candidates = (0..<20).flatMap { step -> [Double] in
            let distance = Double(step) * 15
            return [y + distance, y - distance]
        }
        return candidates.first { row in
            (12...226).contains(row) && taken.allSatisfy { abs($0 - row) >= 14 }
        } ?? y
    }
}
