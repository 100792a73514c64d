/// Which forwards had their threads on distant cores: they took more CPU time, and no fault of the
/// model's.
package struct CoreDistances: Sendable, Equatable {
    /// The least distance known, in nanoseconds; `nil` where none is.
    package private(set) var nearest: Double?
    /// Seconds of forwards that were left out.
    private var wasted = 0.0

    /// How many times the nearest is far: cores that share no cache are five times as far.
    private static let factor = 2.0
    /// Seconds of forwards that are left out before all count as they are.
    private static let patience = 10.0

    package init(nearest: Double? = nil) { self.nearest = nearest }

    /// What earlier runs tell: an odd one among them, which ran on one core's two threads, does not
    /// count.
    package init(ofRuns runs: [GateSamples]) {
        let known = runs.compactMap(\.coreDistance).sorted()
        nearest = known.count > 1 ? known[1] : known.first
    }

    package mutating func note(_ distance: Double?) {
        guard let distance else { return }
        nearest = min(nearest ?? distance, distance)
    }

    /// Where nothing is known, nothing is far.
    package func isFar(_ distance: Double?) -> Bool {
        guard let distance, let nearest else { return false }
        return distance > Self.factor * nearest
    }

    /// Whether so much more may be left out; then it counts as such.
    package mutating func allowsWaste(seconds: Double) -> Bool {
        guard wasted + seconds <= Self.patience else { return false }
        wasted += seconds
        return true
    }
}
