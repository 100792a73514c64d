import SanaModel
import SanaQuant

/// Two checkpoints, tensor by tensor.
package struct CheckpointDiff: Sendable {
    /// How a tensor of one relates to that of the same name in the other.
    package enum Relation: Sendable {
        case onlyInFirst, onlyInSecond
        case shape
        /// Types whose values cannot be compared.
        case type
        /// Values that are no numbers to this program, and differ.
        case bytes
        /// Same numbers, whatever the types.
        case exact
        case values(Comparison)
    }

    package struct Entry: Sendable {
        package let name: String
        /// As stored; `nil` where absent.
        package let first: TensorInfo?
        package let second: TensorInfo?
        package let relation: Relation

        /// ‖a − r‖ / ‖r‖, the second being the reference; infinite where nothing can be compared.
        package var relativeRMS: Double {
            switch relation {
            case .exact: 0
            case .values(let comparison): comparison.relativeRMS
            default: .infinity
            }
        }
    }

    package let first: String
    package let second: String
    /// The largest difference first, names in order among equals.
    package let entries: [Entry]
    package let tolerance: Double

    /// Whether an entry is out of tolerance, or has nothing to be compared with.
    package func fails(_ entry: Entry) -> Bool { !(entry.relativeRMS <= tolerance) }

    package var passes: Bool { !entries.contains(where: fails) }

    /// Reads and compares all tensors of both; a scale belongs to its int8 weight.
    ///
    /// - Throws: errors of the sources.
    package static func run(
        _ first: (path: String, source: any TensorSource),
        _ second: (path: String, source: any TensorSource),
        tolerance: Double, workers: WorkerPool, progress: (Int, Int) -> Void
    ) throws -> CheckpointDiff {
        let (ours, theirs) = (NamedTensors(first.source), NamedTensors(second.source))
        let names = Set(ours.byName.keys).union(theirs.byName.keys).sorted()
        // In runs, so that progress can be shown between them.
        let run = max(16, names.count / 50)
        var entries: [Entry] = []
        for start in stride(from: 0, to: names.count, by: run) {
            let part = names[start..<min(start + run, names.count)]
            entries += try workers.map(part.count) { index in
                let name = part[part.startIndex + index]
                return Entry(
                    name: name, first: ours.byName[name], second: theirs.byName[name],
                    relation: try relation(name, ours, theirs))
            }
            progress(entries.count, names.count)
        }
        entries.sort {
            $0.relativeRMS == $1.relativeRMS
                ? $0.name < $1.name : $0.relativeRMS > $1.relativeRMS
        }
        return CheckpointDiff(
            first: first.path, second: second.path, entries: entries, tolerance: tolerance)
    }

    private static func relation(
        _ name: String, _ ours: NamedTensors, _ theirs: NamedTensors
    ) throws -> Relation {
        guard let first = ours.byName[name] else { return .onlyInSecond }
        guard let second = theirs.byName[name] else { return .onlyInFirst }
        guard first.shape == second.shape else { return .shape }
        if let values = try ours.values(first), let reference = try theirs.values(second) {
            // Pages come back with those of their neighbours; of a whole tensor all are let go.
            defer { for side in [values, reference] { side.releasePages(0..<side.count) } }
            let comparison = Comparison(values.compare(with: reference), shape: first.shape)
            // Widened values of one type are equal where their bits are, NaN aside.
            return comparison.maxAbs == 0 && comparison.nonfinite == 0
                ? .exact : try sameBytes(first, ours, second, theirs) ? .exact : .values(comparison)
        }
        guard first.dtype == second.dtype else { return .type }
        return try sameBytes(first, ours, second, theirs) ? .exact : .bytes
    }

    private static func sameBytes(
        _ first: TensorInfo, _ ours: NamedTensors, _ second: TensorInfo, _ theirs: NamedTensors
    ) throws -> Bool {
        func areSame(_ first: TensorInfo, _ second: TensorInfo) throws -> Bool {
            try first.dtype == second.dtype && first.shape == second.shape
                && ContentHash.sha256(of: ours.source.bytes(of: first))
                    == ContentHash.sha256(of: theirs.source.bytes(of: second))
        }
        // int8 weights say nothing without their scales.
        switch (ours.scale(of: first), theirs.scale(of: second)) {
        case (nil, nil): return try areSame(first, second)
        case (let scale?, let other?):
            return try areSame(first, second) && areSame(scale, other)
        default: return false
        }
    }
}

/// Tensors by name, an int8 weight and its scale being one.
private struct NamedTensors: Sendable {
    package let source: any TensorSource
    package private(set) var byName: [String: TensorInfo] = [:]
    private var scaleByWeight: [String: TensorInfo] = [:]

    package init(_ source: any TensorSource) {
        self.source = source
        for tensor in source.tensors { byName[tensor.name] = tensor }
        for tensor in source.tensors where tensor.dtype == .i8 && tensor.name.hasSuffix(".weight") {
            let name = tensor.name.dropLast("weight".count) + "scale"
            guard let scale = byName.removeValue(forKey: String(name)) else { continue }
            scaleByWeight[tensor.name] = scale
        }
    }

    package func scale(of tensor: TensorInfo) -> TensorInfo? { scaleByWeight[tensor.name] }

    package func values(_ tensor: TensorInfo) throws -> StoredValues? {
        try StoredValues(tensor, scale: scale(of: tensor), in: source)
    }
}
