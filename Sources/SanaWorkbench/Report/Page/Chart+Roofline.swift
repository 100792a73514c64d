import Foundation

extension Chart {
    /// A product and how fast it ran.
    package struct RooflinePoint {
        package let path: String
        /// Operations for a byte.
        package let intensity: Double
        /// GFLOP/s.
        package let rate: Double
    }

    /// What a machine allows.
    package struct Roof {
        /// GFLOP/s.
        package let peak: Double
        /// GB/s.
        package let bandwidth: Double

        package func allows(_ intensity: Double) -> Double { min(peak, intensity * bandwidth) }
    }

    /// Rate against arithmetic intensity, below what memory and arithmetic allow.
    ///
    /// Nothing runs faster than the machine allows: a dot above the roof shows that the peaks were
    /// measured while others used it, so such a roof is withheld, with the reason.
    package static func roofline(_ points: [RooflinePoint], _ roof: Roof) -> Chart? {
        guard !points.isEmpty, roof.peak > 0, roof.bandwidth > 0 else { return nil }
        let above = points.filter { $0.rate > roof.allows($0.intensity) * 1.02 }
        let intensities = points.map(\.intensity)
        let (low, high) = ((intensities.min() ?? 1) / 2, (intensities.max() ?? 1) * 2)
        let rates = points.map(\.rate)
        let warning =
            above.isEmpty
            ? ""
            : " The roofline is not shown: \(above.count) of \(points.count) layers ran faster than the measured "
                + "peaks allow, so the peaks were measured on a busy machine."
        return Chart(
            id: "roofline", title: "Roofline",
            note:
                "A dot is a layer: GFLOP/s over operations per byte"
                + (above.isEmpty ? ", below the best peaks that this machine has shown." : ".")
                + warning,
            label: "Roofline of \(points.count) layers",
            head: ["Layer", "Operations per byte", "GFLOP/s", "Roof"],
            rows: points.map {
                [
                    $0.path.printable, Format.decimal($0.intensity, digits: 1),
                    Format.decimal($0.rate, digits: 1),
                    above.isEmpty ? Format.decimal(roof.allows($0.intensity), digits: 1) : "",
                ]
            }
        ) { size in
            let x = Scale(
                low: low, high: high, start: size.left, end: size.right, isLogarithmic: true)
            let y = Scale(
                low: min(rates.min() ?? 1, roof.allows(low)) / 2,
                high: max(roof.peak, rates.max() ?? 1) * 1.3, start: 270, end: 20,
                isLogarithmic: true)
            var svg = SVG(width: size.width, height: 310)
            svg.grid(x, y, size)
            let ridge = min(max(roof.peak / roof.bandwidth, low), high)
            if above.isEmpty {
                svg.line([low, ridge, high].map { (x.place($0), y.place(roof.allows($0))) }, "lb")
                svg.label(
                    "\(Format.decimal(roof.peak, digits: 0)) GFLOP/s", size.right,
                    y.place(roof.allows(high)) - 6, .end)
                svg.label(
                    "\(Format.decimal(roof.bandwidth, digits: 1)) GB/s",
                    max(size.left + 70, x.place(ridge) - 14),
                    y.place(roof.allows(ridge)) + 2, .end, style: "dim")
            }
            for point in points {
                let isAbove = above.contains { $0.path == point.path }
                svg.dot(
                    x.place(point.intensity), y.place(point.rate), isAbove ? "bad" : "a",
                    hint: "\(point.path): \(Format.decimal(point.rate, digits: 1)) GFLOP/s at "
                        + "\(Format.decimal(point.intensity, digits: 1)) operations per byte")
            }
            svg.label("GFLOP/s (log)", size.left, 12, style: "dim")
            svg.label(
                "operations per byte (log)", (size.left + size.right) / 2, 304, .middle,
                style: "dim")
            return svg
        }
    }
}

extension SVG {
    /// Lines and numbers at the powers of ten of two logarithmic axes.
    fileprivate mutating func grid(_ x: Scale, _ y: Scale, _ size: Chart.Size) {
        line([(size.left, y.end), (size.left, y.start), (size.right, y.start)], "axis")
        for power in Axis.powers(y.low, y.high) {
            let place = y.place(pow(10, Double(power)))
            line([(size.left, place), (size.right, place)], "axis")
            label(
                Format.decimal(pow(10, Double(power)), digits: max(0, -power)), size.left - 6,
                place + 4, .end, style: "dim")
        }
        for power in Axis.powers(x.low, x.high, count: size.tickCount) {
            let place = x.place(pow(10, Double(power)))
            line([(place, y.end), (place, y.start)], "axis")
            label(
                Format.decimal(pow(10, Double(power)), digits: max(0, -power)), place, 286,
                .middle, style: "dim")
        }
    }
}
