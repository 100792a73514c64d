import COpenBLAS

/// How fast this machine runs the products and passes that a forward is made of.
public struct KernelRates: Sendable {
    /// The same product in every way that there is.
    public struct Product: Sendable {
        /// Its place in a Sana transformer.
        public let name: String
        public let tokens: Int
        public let columns: Int
        public let rows: Int
        /// GFLOP/s of one call of OpenBLAS with all its threads.
        public var blas = 0.0
        /// GFLOP/s of multiply-adds that touch no memory, on all threads: what nothing can beat.
        public var peak = 0.0
        /// The same for products of bf16, which bounds `bf16_compute`.
        public var bf16Peak = 0.0
        /// The same for int8, which bounds `w8a8`.
        public var int8Peak = 0.0
        /// GFLOP/s by how the weight is stored and used: `fp32`, `bf16`, `fp16`, `w8a16`, `w8a8`,
        /// `bf16_compute`, which is bf16 weights in bf16 products.
        public var rates: [(name: String, rate: Double)] = []
    }

    /// A pass over activations, which memory bounds.
    public struct Pass: Sendable {
        public let name: String
        /// GB/s read and written.
        public let rate: Double
    }

    public private(set) var products: [Product] = []
    public private(set) var passes: [Pass] = []

    /// Tokens of an image of 1024 × 1024 pixels.
    private static let tokens = 1024
    /// Products of the 0.6B and the 1.6B transformer, `[in, out]`.
    private static let shapes: [(String, Int, Int)] = [
        ("0.6B attn to_q", 1152, 1152), ("0.6B ff.conv_inverted", 1152, 5760),
        ("0.6B ff.conv_point", 2880, 1152), ("1.6B attn to_q", 2240, 2240),
        ("1.6B ff.conv_inverted", 2240, 11200), ("1.6B ff.conv_point", 5600, 2240),
    ]

    /// Measures everything, the ways taking turns; rates are medians.
    ///
    /// - Parameter progress: called with the steps done and in all.
    public static func measure(
        workers: WorkerPool, repetitions: Int = 5, progress: (Int, Int) -> Void = { _, _ in }
    ) -> KernelRates {
        var rates = KernelRates()
        for (index, shape) in shapes.enumerated() {
            progress(index, shapes.count + 1)
            rates.products.append(
                product(shape, workers: workers, repetitions: repetitions))
        }
        progress(shapes.count, shapes.count + 1)
        rates.passes = passes(workers: workers, repetitions: repetitions)
        return rates
    }

    private static func product(
        _ shape: (name: String, columns: Int, rows: Int), workers: WorkerPool, repetitions: Int
    ) -> Product {
        let (columns, rows) = (shape.columns, shape.rows)
        let (x, y) = (Matrix(rows: tokens, columns: columns), Matrix(rows: tokens, columns: rows))
        fill(x.pointer, x.count)
        let float = FloatBuffer(count: rows * columns)
        fill(float.pointer, float.count)
        let scale = FloatBuffer([Float](repeating: 0.01, count: rows))
        func stored(_ bytes: Int, _ fill: (UnsafeMutableRawPointer) -> Void) -> ByteView {
            ByteView(count: rows * columns * bytes) {
                if let start = $0.baseAddress { fill(start) }
            }
        }
        let kernels = Kernels.best
        let int8 = Weight.Storage.int8(
            stored(1) {
                kernels.quantize_i8(
                    float.pointer, 127, $0.assumingMemoryBound(to: Int8.self), float.count)
            }, scale: scale)
        let float32 = Weight.Storage.float32(
            stored(4) { $0.copyMemory(from: float.pointer, byteCount: 4 * float.count) })
        let bfloat16 = Weight.Storage.bfloat16(
            stored(2) { kernels.narrow_bf16(float.pointer, $0, float.count) })
        let float16 = Weight.Storage.float16(
            stored(2) { kernels.narrow_f16(float.pointer, $0, float.count) })
        let ways: [(name: String, storage: Weight.Storage, compute: ComputeMode)] = [
            ("fp32", float32, .fp32), ("bf16", bfloat16, .fp32), ("fp16", float16, .fp32),
            ("w8a16", int8, .fp32), ("w8a8", int8, .int8), ("bf16_compute", bfloat16, .bf16),
        ]
        let peaks = ComputeMode.pure.map { MultiplyAddCanary(workers: workers, $0) }
        let runs: [() -> Void] =
            peaks.map { peak in { peak.run() } } + [
                { blas(x, float, rows: rows, y, threads: workers.threadCount) }
            ]
            + ways.map { way in
                let weight = Weight(storage: way.storage, rows: rows, columns: columns)
                let context = ForwardContext(workers: workers, compute: way.compute)
                return { context.multiply(x, weight, bias: nil, into: y) }
            }
        let operations = 2 * Double(tokens * columns * rows)
        let times = medianSeconds(runs, repetitions)
        var product = Product(name: shape.name, tokens: tokens, columns: columns, rows: rows)
        let peakRates = zip(peaks, times).map { $0.operations / $1 / 1e9 }
        (product.peak, product.bf16Peak, product.int8Peak) = (
            peakRates[0], peakRates[1], peakRates[2]
        )
        product.blas = operations / times[3] / 1e9
        product.rates = zip(ways, times.dropFirst(4)).map { ($0.name, operations / $1 / 1e9) }
        return product
    }

    /// Values in -1...1 that repeat after a prime number of them.
    private static func fill(_ values: UnsafeMutablePointer<Float>, _ count: Int) {
        let period = (0..<251).map { Float($0) / 125 - 1 }
        for start in stride(from: 0, to: count, by: period.count) {
            (values + start).update(from: period, count: min(period.count, count - start))
        }
    }

    /// One product with OpenBLAS's own threads, which everything else here does without.
    private static func blas(
        _ x: Matrix, _ weight: FloatBuffer, rows: Int, _ y: Matrix, threads: Int
    ) {
        blas_set_threads(Int32(threads))
        blas_sgemm(
            1, Int32(x.rows), Int32(rows), Int32(x.columns), 1, x.pointer, Int32(x.columns),
            weight.pointer, Int32(x.columns), 0, y.pointer, Int32(rows))
        blas_set_threads(1)
    }

    private static func passes(workers: WorkerPool, repetitions: Int) -> [Pass] {
        let context = ForwardContext(workers: workers)
        let (height, width, channels) = (32, 32, 5760)
        let wide = Matrix(rows: height * width, columns: channels)
        let other = Matrix(rows: height * width, columns: channels)
        let narrow = Matrix(rows: height * width, columns: channels / 2)
        fill(wide.pointer, wide.count)
        let weight = FloatBuffer([Float](repeating: 0.1, count: 9 * channels))
        let bias = FloatBuffer(count: channels)
        let bytes = 4 * Double(wide.count)
        let ways: [(name: String, bytes: Double, run: () -> Void)] = [
            ("ReLU", 2 * bytes, { context.relu(wide) }),
            ("SiLU", 2 * bytes, { context.silu(wide) }),
            ("SiLU gate", 1.5 * bytes, { context.gatedSilu(wide, into: narrow) }),
            (
                "depthwise 3×3", 2 * bytes,
                {
                    context.depthwise3x3(
                        wide, height: height, width: width, weight: weight, bias: bias, into: other)
                }
            ),
        ]
        let times = medianSeconds(ways.map(\.run), repetitions)
        return zip(ways, times).map { Pass(name: $0.name, rate: $0.bytes / $1 / 1e9) }
    }

    /// Median seconds of each, taken in turn after one that does not count.
    private static func medianSeconds(_ runs: [() -> Void], _ repetitions: Int) -> [Double] {
        var samples = runs.map { _ in [Double]() }
        for repetition in 0...repetitions {
            for (index, run) in runs.enumerated() {
                let start = ContinuousClock.now
                run()
                let seconds = (ContinuousClock.now - start).inSeconds
                if repetition > 0 { samples[index].append(seconds) }
            }
        }
        return samples.map { $0.sorted()[$0.count / 2] }
    }
}
