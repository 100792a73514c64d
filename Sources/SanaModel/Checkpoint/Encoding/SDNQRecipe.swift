/// How SDNQ has quantized one weight.
struct SDNQRecipe: Sendable {
    /// `int8`, `uint4`, `float8_e4m3fn` …
    let dtype: String
    /// What is done beside, with words for it.
    let additions: [String]
    /// Why it cannot be read, as method and recipe; `nil` where it can.
    let unsupported: String?
    /// Values that an integer stands for where it is an entry of a code book; `nil` for one that is
    /// multiplied by its scale.
    let levelCount: Int?
    /// Rank of the low-rank part that is stored beside; `nil` without SVD.
    let svdRank: Int?
    private let kind: Kind?
    /// Values that are rotated together at most; `nil` without rotation.
    private let rotatedCount: Int?

    private enum Kind: Sendable {
        case float([Float], DType)
        case integer(bits: Int, minimum: Int)
    }

    init(
        dtype: String, additions: [String] = [], unsupported: String? = nil,
        rotatedCount: Int? = nil, svdRank: Int? = nil, hasCodeBook: Bool
    ) {
        (self.dtype, self.additions, self.rotatedCount) = (dtype, additions, rotatedCount)
        self.svdRank = svdRank
        kind = Self.kind(dtype)
        var reason = unsupported ?? (kind == nil ? dtype : nil)
        switch kind {
        case .integer(let bits, 0) where hasCodeBook: levelCount = 1 << bits
        default:
            levelCount = nil
            if hasCodeBook { reason = reason ?? "\(dtype), with a code book" }
        }
        self.unsupported = reason
    }

    private static func kind(_ dtype: String) -> Kind? {
        switch dtype {
        case "float8_e4m3fn": return Float8.table(.f8e4m3).map { .float($0, .f8e4m3) }
        case "float8_e5m2": return Float8.table(.f8e5m2).map { .float($0, .f8e5m2) }
        default:
            let isUnsigned = dtype.hasPrefix("uint")
            guard isUnsigned || dtype.hasPrefix("int"),
                let bits = Int(dtype.dropFirst(isUnsigned ? 4 : 3)),
                (isUnsigned ? 1...8 : 2...8).contains(bits)
            else { return nil }
            return .integer(bits: bits, minimum: isUnsigned ? 0 : -(1 << (bits - 1)))
        }
    }

    /// Type and what is done beside.
    var words: String { ([dtype] + additions).joined(separator: ", ") }

    /// Whether there are zero points.
    var hasZeroPoints: Bool { dtype.hasPrefix("uint") && levelCount == nil }

    /// Whether several values share a byte.
    var isPacked: Bool {
        if case .integer(let bits, _) = kind { bits < 8 } else { false }
    }

    /// Values that share some bytes, and how many bytes those are.
    private static let packs: [Int: (values: Int, bytes: Int)] = [
        1: (8, 1), 2: (4, 1), 3: (8, 3), 4: (2, 1), 5: (8, 5), 6: (4, 3), 7: (8, 7),
    ]

    /// Bytes of a stored element: torch's type for packed bits can be wider than the bits.
    private static func isPackType(_ dtype: DType, bits: Int) -> Bool {
        dtype == .u8 || bits == 1 && [.i64, .i32, .i8, .bool].contains(dtype)
    }

    /// Number of values in a stored tensor; `nil` where it is not of this type.
    func elementCount(of tensor: TensorInfo) -> Int? {
        let (elements, dtype) = (tensor.elementCount, tensor.dtype)
        switch kind {
        case .float(_, let type): return dtype == type ? elements : nil
        case .integer(8, let minimum): return dtype == (minimum < 0 ? .i8 : .u8) ? elements : nil
        case .integer(let bits, _):
            guard let pack = Self.packs[bits], Self.isPackType(dtype, bits: bits),
                elements % pack.bytes == 0
            else { return nil }
            let (count, overflow) = (elements / pack.bytes).multipliedReportingOverflow(
                by: pack.values)
            return overflow ? nil : count
        case nil: return nil
        }
    }

    /// Writes `count` numbers from that at `first` on, before scale and zero point.
    ///
    /// - Parameter width: bytes of a stored element.
    func unpack(
        _ first: Int, count: Int, _ start: UnsafePointer<UInt8>, width: Int,
        to output: UnsafeMutablePointer<Float>
    ) {
        let elements = first..<first + count
        switch kind {
        case .float(let table, _):
            table.withUnsafeBufferPointer { table in
                for index in 0..<count { output[index] = table[Int(start[first + index])] }
            }
        case .integer(8, 0):
            for index in 0..<count { output[index] = Float(start[first + index]) }
        case .integer(8, _):
            for index in 0..<count { output[index] = Float(Int8(bitPattern: start[first + index])) }
        case .integer(1, let minimum):
            // Eight values share an integer, whose lowest byte comes first.
            for (index, element) in elements.enumerated() {
                let bit = (start[element / 8 * width] >> (element % 8)) & 1
                output[index] = Float(Int(bit) + minimum)
            }
        case .integer(4, let minimum):
            for (index, element) in elements.enumerated() {
                let byte = start[element / 2]
                output[index] = Float(Int(element % 2 == 0 ? byte & 15 : byte >> 4) + minimum)
            }
        case .integer(let bits, let minimum):
            for (index, element) in elements.enumerated() {
                output[index] = Float(Self.unpack(element, bits, start) + minimum)
            }
        case nil: break
        }
    }

    private static func unpack(_ element: Int, _ bits: Int, _ start: UnsafePointer<UInt8>) -> Int {
        let (values, count) = packs[bits] ?? (1, 1)
        let (b, index) = (start + element / values * count, element % values)
        func byte(_ index: Int) -> Int { Int(b[index]) }
        switch bits {
        case 2: return (byte(0) >> (2 * index)) & 3
        case 3:
            if index < 3 { return byte(index) & 7 }
            if index < 6 { return (byte(index - 3) >> 3) & 7 }
            return ((byte(index - 6) >> 6) | ((byte(2) >> (index - 2)) & 4)) & 7
        case 5:
            if index < 5 { return byte(index) & 31 }
            if index < 7 { return (byte(index - 5) >> 5) | ((byte(index - 2) >> 2) & 24) }
            return (byte(2) >> 5) | ((byte(3) >> 3) & 16) | ((byte(4) >> 4) & 8)
        case 6:
            if index < 3 { return byte(index) & 63 }
            return ((byte(0) >> 2) & 48) | ((byte(1) >> 4) & 12) | (byte(2) >> 6)
        default:
            if index < 7 { return byte(index) & 127 }
            return (0..<7).reduce(0) { $0 | ((byte($1) >> 7) << (6 - $1)) }
        }
    }

    /// The rotation of the rows of a weight; `nil` where it is not rotated.
    func rotation(for shape: [Int]) -> HadamardRotation? {
        guard let rotatedCount, shape.count > 1 else { return nil }
        return HadamardRotation(channels: shape[1], limit: rotatedCount)
    }
}

/// A Hadamard matrix, applied to runs of as many values.
struct HadamardRotation: Sendable {
    /// Values that are rotated together: a power of 2.
    private let count: Int

    /// `nil` where fewer than four channels would be rotated together, which SDNQ leaves alone.
    ///
    /// - Parameter limit: most values that are rotated together.
    init?(channels: Int, limit: Int) {
        guard channels > 0, limit > 0, limit <= 1 << 20 else { return nil }
        var size = 1
        while size < min(channels, limit) { size *= 2 }
        while channels % size != 0 { size /= 2 }
        guard size >= 4 else { return nil }
        count = size
    }

    /// Rotates runs of `count` values; sums are made in double precision.
    func apply(to values: UnsafeMutablePointer<Float>, count total: Int) {
        let isPowerOf4 = count.trailingZeroBitCount % 2 == 0
        let factor = Double(Float(1) / Float(Double(count).squareRoot()))
        withUnsafeTemporaryAllocation(of: Double.self, capacity: count) { run in
            for first in stride(from: 0, to: total - count + 1, by: count) {
                for index in 0..<count { run[index] = Double(values[first + index]) }
                var stride = 1
                while stride < count {
                    if isPowerOf4 { Self.step4(run, stride) } else { Self.step2(run, stride) }
                    stride *= isPowerOf4 ? 4 : 2
                }
                for index in 0..<count { values[first + index] = Float(run[index] * factor) }
            }
        }
    }

    private static func step2(_ run: UnsafeMutableBufferPointer<Double>, _ size: Int) {
        for first in stride(from: 0, to: run.count, by: 2 * size) {
            for index in first..<first + size {
                let (a, b) = (run[index], run[index + size])
                (run[index], run[index + size]) = (a + b, a - b)
            }
        }
    }

    /// [[1, 1, 1, −1], [1, 1, −1, 1], [1, −1, 1, 1], [−1, 1, 1, 1]]
    private static func step4(_ run: UnsafeMutableBufferPointer<Double>, _ size: Int) {
        for first in stride(from: 0, to: run.count, by: 4 * size) {
            for i in first..<first + size {
                let (a, b) = (run[i], run[i + size])
                let (c, d) = (run[i + 2 * size], run[i + 3 * size])
                run[i] = a + b + c - d
                run[i + size] = a + b - c + d
                run[i + 2 * size] = a - b + c + d
                run[i + 3 * size] = b + c + d - a
            }
        }
    }
}
