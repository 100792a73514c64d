/// Texts as token ids, checked, without their padding.
struct Gemma2Inputs {
    /// Names of the inputs.
    enum Name {
        static let inputIDs = "input_ids"
        static let attentionMask = "attention_mask"
    }

    /// Ids of each text.
    let texts: [[Int]]
    /// Tokens of each text with padding.
    let padded: Int

    /// - Throws: `InputError` for an empty text, ids that the vocabulary does not have, or a
    ///   forward that this machine does not hold.
    init(texts: [[Int]], for config: Gemma2Config) throws(InputError) {
        self.texts = texts
        padded = texts.map(\.count).max() ?? 0
        for ids in texts {
            guard !ids.isEmpty else {
                throw InputError(Name.inputIDs, [texts.count, 0], "at least one token")
            }
            if let id = ids.first(where: { !(0..<config.vocabSize).contains($0) }) {
                throw InputError(
                    Name.inputIDs, [texts.count, padded],
                    "ids below \(config.vocabSize), and one is \(id)")
            }
        }
        try checkMemory(config)
    }

    /// Tensors without values are texts without padding.
    ///
    /// - Throws: also for a shape that does not fit, and for padding that is not on the right.
    init(_ tensors: NamedTensors, for config: Gemma2Config) throws(InputError) {
        let input = tensors[Name.inputIDs]
        guard let input, input.shape.count == 2, input.shape[0] > 0, input.shape[1] > 0 else {
            throw InputError(Name.inputIDs, input?.shape, "[batch, tokens]")
        }
        let mask = tensors[Name.attentionMask]
        guard mask == nil || mask?.shape == input.shape else {
            throw InputError(Name.attentionMask, mask?.shape, "\(input.shape), as the ids")
        }
        let (batch, tokens) = (input.shape[0], input.shape[1])
        var texts: [[Int]] = []
        for text in 0..<batch {
            guard input.values.hasValues else {
                texts.append(Array(repeating: 0, count: tokens))
                continue
            }
            var length = tokens
            if let mask {
                let row = UnsafeBufferPointer(
                    start: mask.values.pointer + text * tokens, count: tokens)
                length = row.firstIndex { $0 != 1 } ?? tokens
                guard length > 0, row[length...].allSatisfy({ $0 == 0 }) else {
                    throw InputError(
                        Name.attentionMask, mask.shape,
                        "in every row ones, at least one, and then zeros: padding is on the right")
                }
            }
            var ids: [Int] = []
            for index in 0..<length {
                let value = input.values.pointer[text * tokens + index]
                guard let id = Int(exactly: value), (0..<config.vocabSize).contains(id) else {
                    throw InputError(
                        Name.inputIDs, input.shape,
                        "whole numbers below \(config.vocabSize), and one is \(value)")
                }
                ids.append(id)
            }
            texts.append(ids)
        }
        (self.texts, padded) = (texts, tokens)
        try checkMemory(config)
    }

    private func checkMemory(_ config: Gemma2Config) throws(InputError) {
        let tokens = texts.reduce(0.0) { $0 + Double($1.count) }
        let heads = config.numAttentionHeads + 3 * config.numKeyValueHeads
        let channels = 3 * config.hiddenSize + 2 * config.intermediateSize
        let floats =
            tokens * Double(channels + 2 * heads * config.headDim)
            // Keys, values and scores of a block of queries, for up to 64 workers.
            + 64 * Double(padded) * Double(2 * config.headDim + TokenSequence.block)
            + Double(texts.count) * Double(padded) * Double(config.hiddenSize)
        let memory = SanaInputs.physicalMemoryByteCount
        guard 4 * floats <= Double(memory) else {
            throw InputError(
                Name.inputIDs, [texts.count, padded],
                "a forward that fits \(memory >> 30) GiB of memory")
        }
    }
}

/// The tokens that a forward computes, one row of its matrices for each, and where they attend to.
struct Gemma2Rows {
    let sequences: [TokenSequence]
    let layout: Activation.Layout
    let rotation: Rotation
    /// Of every row, counted from its text's first token.
    let positions: [Int]

    /// - Parameter known: tokens at the beginning of each text whose keys and values are cached;
    ///   empty: none.
    init(
        _ inputs: Gemma2Inputs, skipping known: [Int] = [], _ config: Gemma2Config,
        _ context: ForwardContext
    ) {
        var sequences: [TokenSequence] = []
        var (row, keyRow) = (0, 0)
        for (index, text) in inputs.texts.enumerated() {
            let known = known.isEmpty ? 0 : known[index]
            let sequence = TokenSequence(
                row: row, keyRow: keyRow, known: known, count: text.count - known)
            sequences.append(sequence)
            (row, keyRow) = (row + sequence.count, keyRow + sequence.keyRows)
        }
        self.sequences = sequences
        layout = .sequences(
            lengths: sequences.map(\.count), padded: inputs.padded - (known.min() ?? 0))
        positions = sequences.flatMap { $0.known..<$0.known + $0.count }
        rotation = context.rotation(
            config.inverseFrequencies, positions: inputs.texts.map(\.count).max() ?? 0)
    }

    private init(
        _ sequences: [TokenSequence], _ layout: Activation.Layout, _ rotation: Rotation,
        _ positions: [Int]
    ) {
        (self.sequences, self.layout) = (sequences, layout)
        (self.rotation, self.positions) = (rotation, positions)
    }

    /// Some of the rows, a sequence for each run of positions in a row, and their places here.
    ///
    /// - Parameter asked: positions of each text, ascending. Its last one is always among the rows,
    ///   so that none is left without.
    func only(_ asked: [[Int]]) -> (rows: Gemma2Rows, places: [Int]) {
        var (runs, places): ([TokenSequence], [Int]) = ([], [])
        for (sequence, asked) in zip(sequences, asked) {
            let positions = sequence.known..<sequence.known + sequence.count
            let last = positions.upperBound - 1
            for position in asked.filter({ positions.contains($0) && $0 < last }) + [last] {
                let row = places.count
                places.append(sequence.row + position - sequence.known)
                if let run = runs.last, run.keyRow == sequence.keyRow,
                    run.known + run.count == position
                {
                    runs[runs.count - 1] = TokenSequence(
                        row: run.row, keyRow: run.keyRow, known: run.known, count: run.count + 1)
                } else {
                    runs.append(
                        TokenSequence(
                            row: row, keyRow: sequence.keyRow, known: position, count: 1))
                }
            }
        }
        let lengths = runs.map(\.count)
        let rows = Gemma2Rows(
            runs, .sequences(lengths: lengths, padded: lengths.max() ?? 0), rotation,
            places.map { positions[$0] })
        return (rows, places)
    }

    var count: Int { positions.count }
    var keyRows: Int { sequences.reduce(0) { $0 + $1.keyRows } }
}
