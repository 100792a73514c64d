/// Which forwards had their threads on other cores than usual: they took more CPU time, and no
/// fault of the model's.
///
/// A hypervisor moves the processors of a guest. On cores that share no cache a line's way is five
/// times as long, on the two threads of one core it is two thirds: both make a small model take 1.6
/// times as much CPU time, and the first canary took 1.1 times as much.
package struct CoreDistances: Sendable, Equatable {
    /// Nanoseconds of the placement that most forwards had; `nil` where no distance is known.
    package private(set) var usual: Double?
    private var known: [Double]
    /// Seconds of forwards that were left out.
    private var wasted = 0.0

    /// Distances of one placement differ by less than this factor in all.
    private static let width = 1.5
    /// By how much one differs from the usual that is of another placement.
    private static let factor = 1.3
    /// Seconds of forwards that are left out before all count as they are.
    private static let patience = 10.0

    /// - Parameter known: distances of forwards before; those of most alike are the usual ones.
    package init(_ known: [Double] = []) {
        self.known = known.sorted()
        usual = Self.usual(self.known)
    }

    package init(ofRuns runs: [GateSamples]) {
        self.init(runs.flatMap { $0.host.compactMap(\.coreDistance) })
    }

    /// The middle of most distances that are alike, of equally many the nearest.
    private static func usual(_ sorted: [Double]) -> Double? {
        var best = 0..<0
        var start = 0
        for end in sorted.indices {
            while sorted[end] > width * sorted[start] { start += 1 }
            if end + 1 - start > best.count { best = start..<end + 1 }
        }
        return best.isEmpty ? nil : Array(sorted[best]).median
    }

    package mutating func note(_ distance: Double?) {
        guard let distance else { return }
        known.insert(distance, at: known.firstIndex { $0 > distance } ?? known.endIndex)
        usual = Self.usual(known)
    }

    /// Whether a forward's threads ran on other cores than usual. Where nothing is known, none did.
    package func isUnusual(_ distance: Double?) -> Bool {
        guard let distance, let usual else { return false }
        return distance > Self.factor * usual || distance < usual / Self.factor
    }

    /// Whether so much more may be left out; then it counts as such.
    package mutating func allowsWaste(seconds: Double) -> Bool {
        guard wasted + seconds <= Self.patience else { return false }
        wasted += seconds
        return true
    }
}
