import Foundation
import SanaModel
import SanaQuant

/// The search for the weights that int8 costs least: error of the output against bytes saved.
///
/// Errors are relative power of the output, of a ControlNet its worst, the worst of all references.
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

    package let model: OpenedModel
    package let references: [Golden]
    package let compute: ComputeMode
    package let numerics: Numerics
    package let workers: WorkerPool
    /// Called with the forwards so far and about how many there will be.
    package var progress: (Int, Int) -> Void = { _, _ in }

    package init(
        model: OpenedModel, references: [Golden], compute: ComputeMode, numerics: Numerics,
        workers: WorkerPool, progress: @escaping (Int, Int) -> Void = { _, _ in }
    ) {
        (self.model, self.references, self.compute) = (model, references, compute)
        (self.numerics, self.workers, self.progress) = (numerics, workers, progress)
    }

    /// Points of the front that are measured.
    private static let frontPoints = 64

    /// Bytes of all values as they are.
    package var bytesBefore: Int { model.source.tensors.reduce(0) { $0 + $1.byteCount } }

    // MARK: Ranking

    /// Every weight that int8 makes smaller, the cheapest in error per byte first.
    ///
    /// - Throws: what running the model throws.
    package func rank() throws -> [Candidate] {
        let builtIn = Set(Self.builtIn(model))
        let weights = model.source.tensors.compactMap { tensor in
            QuantizedSource.savedBytes(tensor).flatMap { $0 > 0 ? (tensor.name, $0) : nil }
        }
        let base = try errors([])
        var candidates: [Candidate] = []
        for (index, (name, saved)) in weights.enumerated() {
            progress(index, weights.count + Self.frontPoints)
            let error = zip(try errors([name]), base).map { max($0 - $1, 0) }.max() ?? 0
            candidates.append(
                Candidate(
                    name: name, bytesSaved: saved, isBuiltIn: builtIn.contains(name), error: error))
        }
        return candidates.sorted { ($0.errorPerByte, $0.name) < ($1.errorPerByte, $1.name) }
    }

    /// Weights that `convert --dtype int8` takes by itself.
    private static func builtIn(_ model: OpenedModel) -> [String] {
        let rules = ConversionRule.builtIn(
            for: .int8, model.config.expectedTensors(in: model.source))
        return model.source.tensors.filter { tensor in
            rules.first { $0.matches(tensor) }?.conversion == .int8PerChannel
        }.map(\.name)
    }

    /// Relative error power of the worst output with `names` rounded, for each reference.
    private func errors(_ names: Set<String>) throws -> [Double] {
        let source = QuantizedSource(model.source, quantizing: names)
        let bound = try model.config.network(source, label: model.label)
        let context = ForwardContext(workers: workers, numerics: numerics, compute: compute)
        return try references.map { golden in
            let outputs: [DenseTensor]
            let network = try Self.network(bound, golden)
            do { outputs = try network.forward(golden.inputs, context) } catch {
                guard let error = error as? any DiagnosticError else { throw error }
                throw BadDataError(
                    file: golden.path,
                    reason: "the golden's inputs do not fit the model: \(error.description)",
                    remedy: "give goldens of this model alone")
            }
            return try zip(network.outputs, outputs).map { name, output in
                let name = Golden.outputPrefix + name
                guard golden.shape(name) == output.shape,
                    let reference = try golden.values(name)
                else {
                    throw BadDataError(
                        file: golden.path, reason: "\(name) is not of the shape the model makes",
                        remedy: "record the golden again with 'sana-tools capture'")
                }
                return Comparison(ErrorSums(output, with: reference), shape: output.shape)
                    .relativePower
            }.max() ?? 0
        }
    }

    /// The forward that a golden is of.
    private static func network(
        _ bound: BoundNetwork, _ golden: Golden
    ) throws -> any Network {
        let entry = golden.provenance.entry ?? bound.entries[0].name
        guard let network = bound[entry] else {
            throw BadDataError(
                file: golden.path,
                reason: "contract: entry is \"\((entry ?? "").printable)\", which the model does "
                    + "not have")
        }
        return try network.configured(by: golden.contract, file: golden.path)
    }

    /// Measures the model with `names` rounded.
    package func measure(_ names: Set<String>, _ candidates: [Candidate]) throws -> Choice {
        let saved = candidates.reduce(0) { $0 + (names.contains($1.name) ? $1.bytesSaved : 0) }
        return Choice(
            names: names, bytes: bytesBefore - saved, error: try errors(names).max() ?? 0)
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

    /// The smallest choice found that keeps `tolerance`; `nil` when not even the model as it is does.
    ///
    /// Starts from the front's smallest, adds weights as long as the measured error allows, and then
    /// exchanges weights for larger ones. Errors of single weights only say what is worth measuring:
    /// together they may cost more than their sum, or less.
    package func smallest(
        within tolerance: Double, _ candidates: [Candidate], _ front: [Choice]
    ) throws -> Choice? {
        guard var best = front.filter({ $0.error <= tolerance }).min(by: { $0.bytes < $1.bytes })
        else { return nil }
        var (once, trials) = (candidates.count, Self.exchanges)
        best = try fill(best, within: tolerance, candidates, &once)
        while let smaller = try exchange(best, within: tolerance, candidates, &trials) {
            // What was taken out may leave room for another.
            best = try fill(smaller, within: tolerance, candidates, &trials)
        }
        return best
    }

    /// `choice` and every further weight with which it still keeps `tolerance`, the cheapest first, as
    /// far as `trials` reach.
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

    /// A choice with one weight, or two, in place of one, that is smaller and keeps `tolerance`; `nil`
    /// when none of the likeliest does.
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

    /// Choices that are measured in exchanges and what they leave room for, and how many of the next weights each is paired with.
    private static let (exchanges, neighbours) = (64, 8)
    /// How far the sum of single errors may lie above the tolerance for a choice to be measured.
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

    /// What people do without a search: every weight that `convert --dtype int8` takes, and the
    /// same but for the first and the last block.
    package func baselines(_ candidates: [Candidate]) throws -> [(name: String, choice: Choice)] {
        let builtIn = candidates.filter(\.isBuiltIn).map(\.name)
        let blocks = try model.config.unbound().network.entries.flatMap { entry in
            try entry.network.graph(entry.network.sizes(SizeRequest())).modules
        }.filter { $0.isOutermost && $0.isBlock }
        let ends = [blocks.first, blocks.last].compactMap { $0 }.map { $0.path + "." }
        let inner = builtIn.filter { name in !ends.contains { name.hasPrefix($0) } }
        return [
            ("convert --dtype int8", try measure(Set(builtIn), candidates)),
            ("but for the first and last block", try measure(Set(inner), candidates)),
        ]
    }

    /// Rules for `convert --rule-file` that make `choice` of the built-in ones.
    package static func rules(_ choice: Choice, _ candidates: [Candidate]) -> [String] {
        candidates.compactMap { candidate in
            let isChosen = choice.names.contains(candidate.name)
            guard isChosen != candidate.isBuiltIn else { return nil }
            let pattern = candidate.name.map {
                $0.isLetter || $0.isNumber || $0 == "_" ? "\($0)" : "\\\($0)"
            }
            return pattern.joined() + (isChosen ? "=int8" : "=keep")
        }.sorted()
    }
}
