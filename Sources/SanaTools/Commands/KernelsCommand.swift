import ArgumentParser
import SanaModel
import SanaWorkbench

/// `sana-tools kernels`
struct KernelsCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Benchmark Sana's matmul and element-wise kernels on this machine.",
        discussion: """
            Runs each matmul with every way a weight can be stored and used, interleaved with a \
            call of OpenBLAS on all threads: in fp32 with fp32, bf16, fp16 and int8 (w8a16) \
            weights, in int8 (w8a8) and in bf16 (bf16_compute). Peaks are multiply-adds on \
            registers, which no matmul can exceed; percentages are of the peak for the matmul's \
            type. Also lists the kernel sets that run on this CPU. All of them give the same \
            results, and --kernels selects one. Without AVX512-BF16, bf16 matmuls are fp32 matmuls \
            on rounded values and no faster. Needs no model.

            EXAMPLES
              sana-tools kernels
              sana-tools kernels --threads 1 --format json
              sana-tools kernels --kernels avx2
            """)

    @Option(
        name: .customLong("repeat"), help: "Number of measurements; the median is shown.")
    var repetitions = 5

    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        guard (1...1000).contains(repetitions) else {
            throw ValidationError("--repeat must be in 1...1000")
        }
    }

    func run() throws {
        let workers = threads.makePool()
        try Arithmetic.prepare(for: workers, needsBLAS: true)
        let progress = ProgressLine("kernels")
        defer { progress.finish() }
        let rates = KernelRates.measure(
            workers: workers, repetitions: repetitions, progress: { progress.update($0, of: $1) })
        progress.finish()
        try format.show(
            ResultDocument(.kernels, rates.json(threads: workers.threadCount)),
            text: rates.show(.text),
            markdown: rates.show(.markdown))
    }
}

/// Output of kernel rates.
extension KernelRates {
    /// The interface that other programs read; field names are kept by tests.
    func json(threads: Int) -> JSONValue {
        .fields([
            "kernels": .string(Arithmetic.description),
            "available": .array(Arithmetic.available.map { .string($0) }),
            "bf16_is_faster": .bool(Arithmetic.hasFastBF16),
            "blas_core": .string(Arithmetic.blasCore),
            "threads": .int(threads),
            "products": .array(
                products.map { product in
                    .fields([
                        "name": .string(product.name), "tokens": .int(product.tokens),
                        "columns": .int(product.columns), "rows": .int(product.rows),
                        "peak_gflops": .double(product.peak),
                        "bf16_peak_gflops": .double(product.bf16Peak),
                        "int8_peak_gops": .double(product.int8Peak),
                        "blas_gflops": .double(product.blas),
                        "gflops": .object(
                            product.rates.map { .init($0.name, .double($0.rate)) }),
                    ])
                }),
            "passes": .array(
                passes.map {
                    .fields(["name": .string($0.name), "gigabytes_per_second": .double($0.rate)])
                }),
        ])
    }

    private func peak(_ product: Product, _ way: String) -> Double {
        switch way {
        case "w8a8": product.int8Peak
        case "bf16_compute": product.bf16Peak
        default: product.peak
        }
    }

    fileprivate func show(_ style: ReportStyle) -> String {
        var table = TextTable(
            [
                ("product", .left), ("shape", .left), ("peak GFLOP/s", .right),
                ("bf16 peak", .right), ("int8 peak", .right), ("BLAS", .right),
            ]
                + (products.first?.rates ?? []).map { ($0.name, .right) },
            optional: ["bf16 peak", "int8 peak", "peak GFLOP/s"])
        for product in products {
            table.append(
                [
                    product.name, "\(product.tokens) × \(product.columns) × \(product.rows)",
                    Format.decimal(product.peak, digits: 0),
                    Format.decimal(product.bf16Peak, digits: 0),
                    Format.decimal(product.int8Peak, digits: 0),
                    "\(Format.decimal(product.blas, digits: 0)) (\(Format.percent(product.blas / product.peak)))",
                ]
                    + product.rates.map { way in
                        let peak = peak(product, way.name)
                        return
                            "\(Format.decimal(way.rate, digits: 0)) (\(Format.percent(way.rate / peak)))"
                    })
        }
        var memory = TextTable([("pass", .left), ("GB/s", .right)])
        for pass in passes { memory.append([pass.name, Format.decimal(pass.rate, digits: 1)]) }
        let peers =
            "kernels \(Arithmetic.description) of \(Arithmetic.available.joined(separator: ", ")), BLAS column "
            + "OpenBLAS \(Arithmetic.blasCore)"
            + (Arithmetic.hasFastBF16 ? "" : "; products in bf16 run at the speed of fp32 here")
        return [style.show(peers), style.show(table), style.show(memory)].joined(separator: "\n\n")
    }
}
