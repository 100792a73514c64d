import COpenBLAS

/// What a weight gains by an adapter: a matrix `[rows, columns]` in one of several forms, kernels
/// of convolutions flattened into the columns.
///
/// Sources: LoRA arXiv 2106.09685, DoRA 2402.09353, LoHa and LoKr as in LyCORIS 3
/// (`modules/loha.py`, `lokr.py`).
struct LoraDelta: Sendable {
    /// The product of `[rows, rank]` and `[rank, columns]`.
    struct Product: Sendable {
        let up: TensorInfo
        let down: TensorInfo
        var rank: Int { down.shape[0] }
        var rows: Int { up.shape[0] }
        var columns: Int { down.elementCount / max(down.shape[0], 1) }
    }
    /// A matrix, or the product of two.
    enum Factor: Sendable {
        case full(TensorInfo)
        case product(Product)

        var size: (rows: Int, columns: Int) {
            switch self {
            case .full(let tensor):
                (tensor.shape[0], tensor.elementCount / max(tensor.shape[0], 1))
            case .product(let product): (product.rows, product.columns)
            }
        }
    }
    enum Form: Sendable {
        case product(Product)
        /// Two products, multiplied element by element.
        case hadamard(Product, Product)
        case kronecker(Factor, Factor)
        case full(TensorInfo)
    }

    let form: Form
    /// Factor of the matrix.
    let scale: Double
    /// How strongly the adapter counts; part of `scale` unless there is a magnitude.
    let weight: Double
    /// Lengths that the rows get (DoRA).
    let magnitude: TensorInfo?

    /// Rows and columns.
    var size: (rows: Int, columns: Int) {
        switch form {
        case .product(let product): return (product.rows, product.columns)
        case .hadamard(let first, _): return (first.rows, first.columns)
        case .full(let tensor): return Factor.full(tensor).size
        case .kronecker(let first, let second):
            let (a, b) = (first.size, second.size)
            return (
                a.rows.multipliedReportingOverflow(by: b.rows).partialValue,
                a.columns.multipliedReportingOverflow(by: b.columns).partialValue
            )
        }
    }

    /// Dimensions that the weight must have; `nil` where any will do.
    var rank: Int? {
        if case .product(let product) = form { product.down.shape.count } else { nil }
    }

    /// What it is made of, for people.
    var shapes: String {
        switch form {
        case .product(let product): "\(product.down.shape) and \(product.up.shape)"
        default: "\([size.rows, size.columns])"
        }
    }

    /// What it is called.
    var kind: String {
        if magnitude != nil { return "DoRA" }
        return switch form {
        case .product: "LoRA"
        case .hadamard: "LoHa"
        case .kronecker: "LoKr"
        case .full: "full difference"
        }
    }
}

/// A delta with its values, ready to be added to rows of a weight.
struct LoraTerm {
    private enum Values {
        case product(up: FloatBuffer, down: FloatBuffer, rank: Int)
        case hadamard((FloatBuffer, FloatBuffer, Int), (FloatBuffer, FloatBuffer, Int))
        case kronecker(FloatBuffer, FloatBuffer, secondRows: Int, firstColumns: Int)
        case full(FloatBuffer)
    }

    private let values: Values
    private let delta: LoraDelta
    private let magnitude: FloatBuffer?
    /// First row of the delta that belongs to the weight.
    private let firstRow: Int

    /// - Throws: errors of the source, `BadDataError` for matrices that are not floats.
    init(_ delta: LoraDelta, from firstRow: Int, of file: SafetensorsFile) throws {
        func load(_ tensor: TensorInfo) throws -> FloatBuffer {
            try file.floats(tensor, file: file.path)
        }
        func product(_ product: LoraDelta.Product) throws -> (FloatBuffer, FloatBuffer, Int) {
            (try load(product.up), try load(product.down), product.rank)
        }
        func matrix(_ factor: LoraDelta.Factor) throws -> FloatBuffer {
            switch factor {
            case .full(let tensor): return try load(tensor)
            case .product(let factors):
                let (up, down, rank) = try product(factors)
                let result = FloatBuffer(count: factors.rows * factors.columns)
                multiply(
                    up.pointer, down.pointer, rows: factors.rows, columns: factors.columns,
                    rank: rank, scale: 1, into: result.pointer, adds: false)
                return result
            }
        }
        switch delta.form {
        case .product(let factors):
            let (up, down, rank) = try product(factors)
            values = .product(up: up, down: down, rank: rank)
        case .hadamard(let first, let second):
            values = .hadamard(try product(first), try product(second))
        case .kronecker(let first, let second):
            values = .kronecker(
                try matrix(first), try matrix(second), secondRows: second.size.rows,
                firstColumns: first.size.columns)
        case .full(let tensor): values = .full(try load(tensor))
        }
        magnitude = try delta.magnitude.map(load)
        (self.delta, self.firstRow) = (delta, firstRow)
    }

    /// Adds the rows `range` of the change to as many rows of `output`.
    func add(to output: UnsafeMutablePointer<Float>, rows range: Range<Int>, columns: Int) {
        let range = range.lowerBound + firstRow..<range.upperBound + firstRow
        guard let magnitude else {
            return addDelta(to: output, range, columns, scale: Float(delta.scale * delta.weight))
        }
        // w + weight · (m · (w + Δ) / ‖w + Δ‖ − w), row by row.
        let before = FloatBuffer(count: range.count * columns)
        before.pointer.update(from: output, count: range.count * columns)
        addDelta(to: output, range, columns, scale: Float(delta.scale))
        for (index, row) in range.enumerated() {
            let values = output + index * columns
            var power = 0.0
            for column in 0..<columns { power += Double(values[column]) * Double(values[column]) }
            let factor = power > 0 ? Double(magnitude.pointer[row]) / power.squareRoot() : 0
            for column in 0..<columns {
                let old = Double(before.pointer[index * columns + column])
                values[column] = Float(old + delta.weight * (Double(values[column]) * factor - old))
            }
        }
    }

    private func addDelta(
        to output: UnsafeMutablePointer<Float>, _ range: Range<Int>, _ columns: Int, scale: Float
    ) {
        switch values {
        case .product(let up, let down, let rank):
            multiply(
                up.pointer + range.lowerBound * rank, down.pointer, rows: range.count,
                columns: columns, rank: rank, scale: scale, into: output, adds: true)
        case .hadamard(let first, let second):
            let products = [first, second].map { up, down, rank in
                let result = FloatBuffer(count: range.count * columns)
                multiply(
                    up.pointer + range.lowerBound * rank, down.pointer, rows: range.count,
                    columns: columns, rank: rank, scale: 1, into: result.pointer, adds: false)
                return result
            }
            for index in 0..<range.count * columns {
                output[index] += scale * products[0].pointer[index] * products[1].pointer[index]
            }
        case .kronecker(let first, let second, let secondRows, let firstColumns):
            let width = columns / firstColumns
            for (index, row) in range.enumerated() {
                let a = first.pointer + row / secondRows * firstColumns
                let b = second.pointer + row % secondRows * width
                for column in 0..<columns {
                    output[index * columns + column] +=
                        scale * a[column / width] * b[column % width]
                }
            }
        case .full(let matrix):
            let start = matrix.pointer + range.lowerBound * columns
            for index in 0..<range.count * columns { output[index] += scale * start[index] }
        }
    }
}

/// c = scale · a · b, or that added to c.
private func multiply(
    _ a: UnsafePointer<Float>, _ b: UnsafePointer<Float>, rows: Int, columns: Int, rank: Int,
    scale: Float, into c: UnsafeMutablePointer<Float>, adds: Bool
) {
    blas_sgemm(
        0, Int32(rows), Int32(columns), Int32(rank), scale, a, Int32(rank), b, Int32(columns),
        adds ? 1 : 0, c, Int32(columns))
}
