import ArgumentParser
import SanaModel

/// `sana-tools kernels`
struct KernelsCommand: TalkingCommand {
    static let configuration = CommandConfiguration(
        commandName: "kernels",
        abstract: "Measure what this machine makes of Sana's matrix products and passes.",
        discussion: """
            Each product runs in every way a weight can be stored and used, in turn with one call of OpenBLAS that has all \
            threads: fp32, 16-bit weights widened a few rows at a time, int8 weights dequantized (w8a16) and int8 products \
            (w8a8). Peaks are multiply-adds on registers, which no product can beat; percentages are of the fp32 one, those of \
            w8a8 of the int8 one. Needs no model.

            EXAMPLES
              sana-tools kernels
              sana-tools kernels --threads 1 --format json
            """)

    @Option(
        name: .customLong("repeat"), help: "Measurements of each, of which the median is shown.")
    var repetitions = 5

    @OptionGroup var format: FormatOption
    @OptionGroup var threads: ThreadsOption
    @OptionGroup var talk: TalkOptions

    func validate() throws {
        guard (1...1000).contains(repetitions) else {
            throw ValidationError("--repeat must lie in 1...1000")
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
            json: rates.json(threads: workers.threadCount), text: rates.show(.text),
            markdown: rates.show(.markdown))
    }
}

/// How the rates of kernels are shown.
extension KernelRates {
    /// The interface that other programs read; field names are kept by tests.
    func json(threads: Int) -> JSONValue {
        .fields([
            "kernels": .string(Arithmetic.description), "blas_core": .string(Arithmetic.blasCore),
            "threads": .int(threads),
            "products": .array(
                products.map { product in
                    .fields([
                        "name": .string(product.name), "tokens": .int(product.tokens),
                        "columns": .int(product.columns), "rows": .int(product.rows),
                        "peak_gflops": .double(product.peak),
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

    fileprivate func show(_ style: ReportStyle) -> String {
        var table = TextTable(
            [
                ("product", .left), ("shape", .left), ("peak GFLOP/s", .right),
                ("int8 peak", .right),
                ("BLAS", .right),
            ]
                + (products.first?.rates ?? []).map { ($0.name, .right) })
        for product in products {
            table.append(
                [
                    product.name, "\(product.tokens) × \(product.columns) × \(product.rows)",
                    Format.decimal(product.peak, digits: 0),
                    Format.decimal(product.int8Peak, digits: 0),
                    "\(Format.decimal(product.blas, digits: 0)) (\(Format.percent(product.blas / product.peak)))",
                ]
                    + product.rates.map { way in
                        let peak = way.name == "w8a8" ? product.int8Peak : product.peak
                        return
                            "\(Format.decimal(way.rate, digits: 0)) (\(Format.percent(way.rate / peak)))"
                    })
        }
        var memory = TextTable([("pass", .left), ("GB/s", .right)])
        for pass in passes { memory.append([pass.name, Format.decimal(pass.rate, digits: 1)]) }
        let peers = "kernels \(Arithmetic.description), BLAS column OpenBLAS \(Arithmetic.blasCore)"
        return [style.show(peers), style.show(table), style.show(memory)].joined(separator: "\n\n")
    }
}
