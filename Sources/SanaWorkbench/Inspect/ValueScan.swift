import SanaModel

/// The values of every tensor, read once.
package struct ValueScan: Sendable {
    package struct Entry: Sendable {
        package let tensor: TensorInfo
        package let values: ValueStatistics
    }

    /// Tensors that hold numbers and could be read, in the order of their data.
    package let entries: [Entry]

    /// Parts that are measured at once: they and their tensors bound memory.
    private static let runCount = 64

    private struct Part {
        package let tensor: Int
        package let range: Range<Int>
    }

    /// Measures in the same parts whatever `workers` are and joins them in order, so the digits do
    /// not depend on the number of threads.
    ///
    /// - Parameters:
    ///   - partial: the files, where some may be cut off.
    ///   - progress: called with values done and all.
    /// - Throws: errors of the source.
    package static func run(
        _ source: any TensorSource, of partial: PartialSource?, workers: WorkerPool,
        progress: (Int, Int) -> Void
    ) throws -> ValueScan {
        let tensors = source.tensors.filter {
            ($0.dtype.isFloatWeight || $0.dtype == .i8) && (partial?.hasValues($0) ?? true)
        }
        var parts: [Part] = []
        for (index, tensor) in tensors.enumerated() {
            let size = StoredValues.measuredCount
            for start in stride(from: 0, to: tensor.elementCount, by: size) {
                parts.append(
                    Part(tensor: index, range: start..<min(start + size, tensor.elementCount)))
            }
        }
        let total = tensors.reduce(0) { $0 + $1.elementCount }
        var (statistics, done) = (tensors.map { _ in ValueStatistics() }, 0)
        var finished = 0
        for start in stride(from: 0, to: parts.count, by: runCount) {
            let run = parts[start..<min(start + runCount, parts.count)]
            let first = run.first?.tensor ?? 0
            let last = run.last?.tensor ?? 0
            let values = try workers.map(last - first + 1) { offset in
                try stored(tensors[first + offset], in: source)
            }
            let measured = try workers.map(run.count) { offset in
                let part = run[run.startIndex + offset]
                return values[part.tensor - first]?.statistics(of: part.range)
            }
            for (part, result) in zip(run, measured) {
                if let result { statistics[part.tensor].merge(result) }
                values[part.tensor - first]?.releasePages(part.range)
                done += part.range.count
            }
            // The last one may go on in the next run.
            while finished < last {
                statistics[finished].finish()
                finished += 1
            }
            progress(done, total)
        }
        while finished < tensors.count {
            statistics[finished].finish()
            finished += 1
        }
        return ValueScan(
            entries: zip(tensors, statistics).filter { $1.count > 0 }
                .map { Entry(tensor: $0, values: $1) })
    }

    private static func stored(
        _ tensor: TensorInfo, in source: any TensorSource
    ) throws -> StoredValues? {
        var scale: TensorInfo?
        if tensor.dtype == .i8, tensor.name.hasSuffix(".weight") {
            scale = source.info(tensor.name.dropLast("weight".count) + "scale")
        }
        return try StoredValues(tensor, scale: scale, in: source)
    }

    /// What the values say against the tensors.
    package func problems(_ expected: ExpectedTensors) -> [Problem] {
        entries.flatMap { Self.problems($0, expected.part(of: $0.tensor)) }
    }

    private static func problems(_ entry: Entry, _ part: TensorPart) -> [Problem] {
        let (tensor, values) = (entry.tensor, entry.values)
        func of(_ count: Int) -> String { "\(count) of \(values.count) values" }
        var problems: [Problem] = []
        func add(_ rule: LintRule, _ message: String) {
            problems.append(Problem(rule, tensor.name, message))
        }
        if values.nanCount > 0 { add(.valueNaN, "\(of(values.nanCount)) are NaN") }
        if values.infinityCount > 0 {
            add(.valueInfinite, "\(of(values.infinityCount)) are infinite")
        }
        // fp16 has subnormal numbers where weights usually are; in wider types they are debris.
        if values.subnormalCount > 0, tensor.dtype != .f16 {
            add(
                .valueSubnormal,
                "\(of(values.subnormalCount)) are subnormal (denormal) in \(tensor.dtype.rawValue)")
        }
        if values.overFP16Count > 0 {
            add(
                .valueFP16Overflow,
                "\(of(values.overFP16Count)) overflow fp16's 65504, the largest is "
                    + "\(values.absoluteMaximum)")
        }
        if values.zeroCount == values.count, values.count > 1, tensor.shape.count > 1,
            part != .tablesAndNorms, part != .other
        {
            add(.valueZero, "all \(values.count) values are 0")
        }
        return problems
    }
}
