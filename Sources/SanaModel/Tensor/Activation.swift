/// The output of a module, as the engine stores it: channels last.
public struct Activation: Sendable {
    /// How the rows of `values` are arranged.
    public enum Layout: Sendable, Equatable {
        /// `[batch × tokens, channels]`; diffusers: `[batch, tokens, channels]`.
        case tokens(batch: Int)
        /// `[batch, channels]`, the same in diffusers.
        case vectors
        /// `[batch × height × width, channels]`; diffusers: `[batch, channels, height, width]`.
        case image(batch: Int, height: Int, width: Int)
        /// `[Σ lengths, channels]`, sequences one after the other without their padding;
        /// transformers: `[batch, padded, channels]`, of which positions past a sequence's length
        /// have no values.
        case sequences(lengths: [Int], padded: Int)
        /// `[batch × height × width, channels]`; diffusers: `[batch, height, width, channels]`.
        case pixels(batch: Int, height: Int, width: Int)
    }

    public let values: Matrix
    public let layout: Layout

    public init(_ values: Matrix, _ layout: Layout) {
        (self.values, self.layout) = (values, layout)
    }

    /// The shape that diffusers gives this activation.
    public var shape: [Int] {
        switch layout {
        case .tokens(let batch): [batch, values.rows / max(batch, 1), values.columns]
        case .vectors: [values.rows, values.columns]
        case .image(let batch, let height, let width): [batch, values.columns, height, width]
        case .sequences(let lengths, let padded): [lengths.count, padded, values.columns]
        case .pixels(let batch, let height, let width): [batch, height, width, values.columns]
        }
    }

    /// The images of one of `parts` equal shares of the batch; `parts` divides the batch.
    public func part(_ index: Int, of parts: Int) -> Activation {
        if case .sequences(let lengths, let padded) = layout {
            let share = lengths.count / parts
            let part = Array(lengths[index * share..<(index + 1) * share])
            let first = lengths[..<(index * share)].reduce(0, +)
            return Activation(
                values.rows(first, part.reduce(0, +)),
                .sequences(lengths: part, padded: padded))
        }
        let rows = values.rows / parts
        let layout: Layout =
            switch layout {
            case .tokens(let batch): .tokens(batch: batch / parts)
            case .vectors: .vectors
            case .image(let batch, let height, let width):
                .image(batch: batch / parts, height: height, width: width)
            case .sequences: layout
            case .pixels(let batch, let height, let width):
                .pixels(batch: batch / parts, height: height, width: width)
            }
        return Activation(values.rows(index * rows, rows), layout)
    }

    /// Overwrites the values with as many in diffusers' layout.
    public func assign(_ source: FloatBuffer) {
        precondition(source.count >= shape.reduce(1, *))
        if case .sequences(let lengths, let padded) = layout {
            forEachSequence(lengths) { index, rows in
                rows.pointer.update(
                    from: source.pointer + index * padded * values.columns, count: rows.count)
            }
            return
        }
        guard case .image(let batch, let height, let width) = layout else {
            values.pointer.update(from: source.pointer, count: values.count)
            return
        }
        let (pixels, channels) = (height * width, values.columns)
        for image in 0..<batch {
            let planes = source.pointer + image * pixels * channels
            for pixel in 0..<pixels {
                let row = values.row(image * pixels + pixel)
                for channel in 0..<channels { row[channel] = planes[channel * pixels + pixel] }
            }
        }
    }

    /// Calls `body` with the rows of each sequence.
    private func forEachSequence(_ lengths: [Int], _ body: (_ index: Int, _ rows: Matrix) -> Void) {
        var first = 0
        for (index, length) in lengths.enumerated() {
            body(index, values.rows(first, length))
            first += length
        }
    }

    /// Calls `body` with runs of values in diffusers' element order: the index of the first
    /// element, the values. Padding has none.
    ///
    /// An image is transposed a band of channels at a time, so the extra memory does not grow with
    /// the image.
    public func forEachRun(_ body: (_ start: Int, _ run: UnsafeBufferPointer<Float>) -> Void) {
        if case .sequences(let lengths, let padded) = layout {
            forEachSequence(lengths) { index, rows in
                body(
                    index * padded * values.columns,
                    UnsafeBufferPointer(start: rows.pointer, count: rows.count))
            }
            return
        }
        guard case .image(let batch, let height, let width) = layout else {
            body(0, UnsafeBufferPointer(start: values.pointer, count: values.count))
            return
        }
        let (pixels, channels) = (height * width, values.columns)
        let band = max(1, min(channels, (1 << 18) / max(pixels, 1)))
        let scratch = FloatBuffer(count: band * pixels)
        for image in 0..<batch {
            let source = values.row(image * pixels)
            for first in stride(from: 0, to: channels, by: band) {
                let count = min(band, channels - first)
                for pixel in 0..<pixels {
                    for channel in 0..<count {
                        scratch.pointer[channel * pixels + pixel] =
                            source[pixel * channels + first + channel]
                    }
                }
                withExtendedLifetime(scratch) {
                    body(
                        (image * channels + first) * pixels,
                        UnsafeBufferPointer(start: scratch.pointer, count: count * pixels))
                }
            }
        }
    }
}
