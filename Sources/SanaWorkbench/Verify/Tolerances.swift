import SanaModel

/// What every layer of a comparison may differ by.
package struct Tolerances: Sendable, Equatable {
    /// The tolerance of layers that nothing else speaks about.
    package var base = 1e-3
    /// Rules of the user; the first that matches decides.
    package var rules: [LayerTolerance] = []
    /// Tolerances of single layers, from a calibration.
    package var calibrated: Calibration?

    package init(
        base: Double = 1e-3, rules: [LayerTolerance] = [], calibrated: Calibration? = nil
    ) {
        (self.base, self.rules, self.calibrated) = (base, rules, calibrated)
    }

    /// The tolerance of the layer at `path`, in the units of the metric.
    package func tolerance(of path: String) -> Double {
        rules.first { $0.matches(path) }?.tolerance ?? calibrated?.layers[path] ?? base
    }

    /// Whether a rule or the calibration speaks about the layer at `path`.
    package func isOwn(_ path: String) -> Bool {
        rules.contains { $0.matches(path) } || calibrated?.layers[path] != nil
    }

    /// The error that a healthy layer has, in parts of its tolerance, as far as a calibration knows
    /// it.
    package func healthyShare(of path: String) -> Double? {
        guard let calibrated, calibrated.layers[path] != nil,
            !rules.contains(where: { $0.matches(path) })
        else { return nil }
        return 1 / calibrated.margin
    }

    /// The relative RMS error that the layer at `path` may add by itself, as far as a calibration
    /// knows it and no rule says otherwise.
    package func ownLimit(of path: String) -> Double? {
        rules.contains { $0.matches(path) } ? nil : calibrated?.own[path]
    }

    /// Rules that speak about none of `paths`.
    package func unused(_ paths: Set<String>) -> [LayerTolerance] {
        rules.filter { rule in !paths.contains(where: rule.matches) }
    }
}

/// A tolerance of the layers whose whole path a pattern matches, written `GLOB=T`.
///
/// `*` stands for any characters, dots included, `?` for one.
package struct LayerTolerance: Sendable, Equatable {
    /// As written.
    package let text: String
    package let tolerance: Double
    private let pattern: [UInt8]

    package static let remedy =
        "write a pattern, = and a number, such as 'transformer_blocks.*.attn1=2e-3'"

    /// `nil` unless `text` is a pattern, `=` and a non-negative number.
    package init?(_ text: String) {
        guard let separator = text.lastIndex(of: "="), separator > text.startIndex,
            let tolerance = Double(text[text.index(after: separator)...]), tolerance >= 0,
            tolerance.isFinite, text.utf8.count <= 1000
        else { return nil }
        self.text = text
        self.tolerance = tolerance
        pattern = Array(text[..<separator].utf8)
    }

    /// Whether the pattern matches all of `path`.
    package func matches(_ path: String) -> Bool {
        let path = Array(path.utf8)
        var (place, next) = (0, 0)
        // Where to go on with one more character under the last star.
        var star: (place: Int, next: Int)?
        while place < path.count {
            if next < pattern.count, pattern[next] == UInt8(ascii: "*") {
                star = (place, next)
                next += 1
            } else if next < pattern.count,
                pattern[next] == path[place] || pattern[next] == UInt8(ascii: "?")
            {
                (place, next) = (place + 1, next + 1)
            } else if let last = star {
                star = (last.place + 1, last.next)
                (place, next) = (last.place + 1, last.next + 1)
            } else {
                return false
            }
        }
        return pattern[next...].allSatisfy { $0 == UInt8(ascii: "*") }
    }
}
