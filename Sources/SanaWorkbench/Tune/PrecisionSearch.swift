import SanaModel

/// What a search for precision rounds, and how it tells what that costs.
package protocol PrecisionSubject {
    /// The model as it was given, and the goldens.
    var label: String { get }
    var references: [String] { get }
    var measure: PrecisionMeasure { get }
    /// Bytes of all values as they are.
    var bytesBefore: Int { get }
    /// What becomes int8 together, a weight or all those of a module.
    var items: [PrecisionItem] { get }
    /// What people do without a search.
    var baselines: [(name: String, names: Set<String>)] { get }
    /// Rules that every choice needs.
    var standingRules: [String] { get }

    /// The error with `names` rounded, for each reference.
    ///
    /// - Throws: what running the model, or reading a reference, throws.
    func errors(_ names: Set<String>) throws -> [Double]
}

/// Something that a search may round to int8.
package struct PrecisionItem: Sendable {
    let name: String
    /// Scales counted.
    let bytesSaved: Int
    /// Whether `convert --dtype int8` would take it.
    let isBuiltIn: Bool
    /// A regular expression for the names of its weights, the component before it where rules need
    /// one.
    let pattern: String
}

/// The search for the weights that int8 costs least: error against bytes saved.
package struct PrecisionSearch {
    /// A weight that may become int8.
    package struct Candidate: Sendable {
        package let name: String
        /// Scales counted.
        package let bytesSaved: Int
        /// Whether `convert --dtype int8` would take it.
        package let isBuiltIn: Bool
        /// What rounding this weight alone adds to the output's error.
        package let error: Double

        package var errorPerByte: Double { error / Double(bytesSaved) }
    }

    /// A choice of weights, and what it comes to.
    package struct Choice: Sendable, Equatable {
        package let names: Set<String>
        /// Bytes of all values, before compression.
        package let bytes: Int
        /// Measured with all of them rounded.
        package let error: Double
    }

    package let subject: any PrecisionSubject
    package let compute: ComputeMode
    /// Choices that are measured in exchanges and what they leave room for.
    package var exchanges = 64
    /// Called with the forwards so far and about how many there will be.
    package var progress: (Int, Int) -> Void = { _, _ in }

    package init(
        subject: any PrecisionSubject, compute: ComputeMode,
        progress: @escaping (Int, Int) -> Void = { _, _ in }
    ) {
        (self.subject, self.compute, self.progress) = (subject, compute, progress)
    }

    /// Points of the front that are measured.
    private static let frontPoints = 64

    private var bytesBefore: Int { subject.bytesBefore }

    // MARK: Ranking

    /// Every weight that int8 makes smaller, the cheapest in error per byte first.
    ///
    /// - Throws: what running the model throws.
    package func rank() throws -> [Candidate] {
        let base = try subject.errors([])
        let items = subject.items
        var candidates: [Candidate] = []
        for (index, item) in items.enumerated() {
            progress(index, items.count + Self.frontPoints)
            let errors = try subject.errors([item.name])
            candidates.append(
                Candidate(
                    name: item.name, bytesSaved: item.bytesSaved, isBuiltIn: item.isBuiltIn,
                    error: zip(errors, base).map { max($0 - $1, 0) }.max() ?? 0))
        }
        return candidates.sorted { ($0.errorPerByte, $0.name) < ($1.errorPerByte, $1.name) }
    }

    /// Measures the model with `names` rounded.
    package func measure(_ names: Set<String>, _ candidates: [Candidate]) throws -> Choice {
        let saved = candidates.reduce(0) { $0 + (names.contains($1.name) ? $1.bytesSaved : 0) }
        return Choice(
            names: names, bytes: bytesBefore - saved, error: try subject.errors(names).max() ?? 0)
    }

    // MARK: Choices

    /// The front between nothing and everything rounded: the cheapest weights first, measured at up
    /// to 64 points; choices that another beats in size and error are left out.
    package func front(_ candidates: [Candidate]) throws -> [Choice] {
        let points = min(candidates.count, Self.frontPoints)
        var choices: [Choice] = []
        for point in 0...max(points, 1) {
            progress(candidates.count + point, candidates.count + points)
            let count = candidates.count * point / max(points, 1)
            choices.append(
                try measure(Set(candidates.prefix(count).map(\.name)), candidates))
        }
        return choices.filter { choice in
            !choices.contains {
                ($0.bytes < choice.bytes && $0.error <= choice.error)
                    || ($0.bytes <= choice.bytes && $0.error < choice.error)
            }
        }
    }

    /// The smallest choice found that keeps `tolerance`; `nil` when not even the model as it is
    /// does.
    ///
    /// Starts from the front's smallest, adds weights as long as the measured error allows, and
    /// then exchanges weights for larger ones. Errors of single weights only say what is worth
    /// measuring: together they may cost more than their sum, or less.
    package func smallest(
        within tolerance: Double, _ candidates: [Candidate], _ front: [Choice]
    ) throws -> Choice? {
        guard var best = front.filter({ $0.error <= tolerance }).min(by: { $0.bytes < $1.bytes })
        else { return nil }
        var (once, trials) = (candidates.count, exchanges)
        best = try fill(best, within: tolerance, candidates, &once)
        while let smaller = try exchange(best, within: tolerance, candidates, &trials) {
            // What was taken out may leave room for another.
            best = try fill(smaller, within: tolerance, candidates, &trials)
        }
        return best
    }

    /// `choice` and every further weight with which it still keeps `tolerance`, the cheapest first,
    /// as far as `trials` reach.
    private func fill(
        _ choice: Choice, within tolerance: Double, _ candidates: [Candidate], _ trials: inout Int
    ) throws -> Choice {
        var filled = choice
        let left = candidates.filter { !choice.names.contains($0.name) }
        for (index, candidate) in left.prefix(trials).enumerated() {
            trials -= 1
            progress(candidates.count + index, candidates.count + left.count)
            let larger = try measure(filled.names.union([candidate.name]), candidates)
            if larger.error <= tolerance { filled = larger }
        }
        return filled
    }

    /// A choice with one weight, or two, in place of one, that is smaller and keeps `tolerance`;
    /// `nil` when none of the likeliest does.
    private func exchange(
        _ choice: Choice, within tolerance: Double, _ candidates: [Candidate], _ trials: inout Int
    ) throws -> Choice? {
        let inside = candidates.filter { choice.names.contains($0.name) }
        let outside = candidates.filter { !choice.names.contains($0.name) }
        let pairs = outside.indices.flatMap { first in
            [[outside[first]]]
                + outside[(first + 1)...].prefix(Self.neighbours).map {
                    [outside[first], $0]
                }
        }
        var likely: [(added: [Candidate], removed: String, saved: Int)] = []
        for added in pairs {
            let saved = added.reduce(0) { $0 + $1.bytesSaved }
            let error = added.reduce(choice.error) { $0 + $1.error }
            for removed in inside where removed.bytesSaved < saved {
                guard error - removed.error <= Self.optimism * tolerance else { continue }
                likely.append((added, removed.name, saved - removed.bytesSaved))
            }
        }
        for (added, removed, _) in likely.sorted(by: { $0.saved > $1.saved }) {
            guard trials > 0 else { return nil }
            trials -= 1
            let names = choice.names.subtracting([removed]).union(added.map(\.name))
            let other = try measure(names, candidates)
            if other.error <= tolerance { return other }
        }
        return nil
    }

    /// How many of the next weights each is paired with in exchanges.
    private static let neighbours = 8
    /// How far the sum of single errors may be above the tolerance for a choice to be measured.
    private static let optimism = 1.1

    /// The choice with the least error that was found among those of at most `bytes`: of the front,
    /// or put together by the errors of single weights; `nil` when even all weights together are
    /// larger.
    package func best(
        atMost bytes: Int, _ candidates: [Candidate], _ front: [Choice]
    ) throws -> Choice? {
        let needed = bytesBefore - bytes
        var (names, saved) = (Set<String>(), 0)
        for candidate in candidates where saved < needed {
            names.insert(candidate.name)
            saved += candidate.bytesSaved
        }
        guard saved >= needed else { return nil }
        // What is saved too much buys back the weights whose error is largest.
        for candidate in candidates.sorted(by: { $0.error > $1.error })
        where names.contains(candidate.name) && saved - candidate.bytesSaved >= needed {
            names.remove(candidate.name)
            saved -= candidate.bytesSaved
        }
        let made = try measure(names, candidates)
        return (front.filter { $0.bytes <= bytes } + [made]).min { $0.error < $1.error }
    }

    /// What people do without a search, measured.
    package func baselines(_ candidates: [Candidate]) throws -> [(name: String, choice: Choice)] {
        try subject.baselines.map { ($0.name, try measure($0.names, candidates)) }
    }

    /// Rules for `convert --rule-file` that make `choice` of the built-in ones.
    func rules(_ choice: Choice) -> [String] {
        subject.standingRules
            + subject.items.compactMap { item in
                let isChosen = choice.names.contains(item.name)
                guard isChosen != item.isBuiltIn else { return nil }
                return item.pattern + (isChosen ? "=int8" : "=keep")
            }.sorted()
    }
}

extension String {
    /// A regular expression that matches the text alone.
    var asPattern: String {
        map { $0.isLetter || $0.isNumber || $0 == "_" ? "\($0)" : "\\\($0)" }.joined()
    }
}
