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
    /// How numbers share words; `nil` for those that have their own.
    private let packing: SDNQPacking?
    /// Values that are rotated together at most; `nil` without rotation.
    private let rotatedCount: Int?

    private enum Kind: Sendable {
        /// A float of 8 bits that torch has, with its values.
        case float8([Float], DType)
        /// A float of 16 or 32 bits that torch has.
        case wideFloat(DType)
        case float(SDNQFloat)
        case integer(bits: Int, minimum: Int)

        var bits: Int {
            switch self {
            case .float8: 8
            case .wideFloat(let dtype): dtype.bitWidth
            case .float(let type): type.bits
            case .integer(let bits, _): bits
            }
        }
    }

    init(
        dtype: String, additions: [String] = [], unsupported: String? = nil,
        rotatedCount: Int? = nil, svdRank: Int? = nil, hasCodeBook: Bool
    ) {
        (self.dtype, self.additions, self.rotatedCount) = (dtype, additions, rotatedCount)
        self.svdRank = svdRank
        kind = Self.kind(dtype)
        packing = kind.flatMap { SDNQPacking(bits: $0.bits) }
        var reason = unsupported ?? (kind == nil ? dtype : nil)
        switch kind {
        case .integer(let bits, 0) where hasCodeBook && bits <= 8: levelCount = 1 << bits
        default:
            levelCount = nil
            if hasCodeBook { reason = reason ?? "\(dtype), with a code book" }
        }
        self.unsupported = reason
    }

    /// Types that torch has, and what SDNQ calls them.
    private static let torchFloats: [String: DType] = [
        "float32": .f32, "fp32": .f32, "float16": .f16, "fp16": .f16, "bfloat16": .bf16,
        "bf16": .bf16, "float8_e4m3fn": .f8e4m3, "fp8": .f8e4m3, "float8_e5m2": .f8e5m2,
        "float8_e4m3fnuz": .f8e4m3fnuz, "float8_e5m2fnuz": .f8e5m2fnuz,
    ]

    private static func kind(_ dtype: String) -> Kind? {
        if let float = torchFloats[dtype] {
            return Float8.table(float).map { .float8($0, float) } ?? .wideFloat(float)
        }
        if let type = SDNQFloat(dtype) { return .float(type) }
        if dtype == "bool" || dtype == "int1" { return .integer(bits: 1, minimum: 0) }
        let isUnsigned = dtype.hasPrefix("uint")
        guard isUnsigned || dtype.hasPrefix("int"),
            let bits = Int(dtype.dropFirst(isUnsigned ? 4 : 3)),
            (isUnsigned ? 1...16 : 2...16).contains(bits) || bits == 32
        else { return nil }
        return .integer(bits: bits, minimum: isUnsigned ? 0 : -(1 << (bits - 1)))
    }

    /// Type and what is done beside.
    var words: String { ([dtype] + additions).joined(separator: ", ") }

    /// Whether there are zero points.
    var hasZeroPoints: Bool {
        guard levelCount == nil else { return false }
        switch kind {
        case .integer(_, let minimum): return minimum == 0
        case .float(let type): return !type.isSigned
        default: return false
        }
    }

    /// Whether several values share a word.
    var isPacked: Bool { packing != nil }

    /// Number of values in a stored tensor; `nil` where it is not of this type.
    func elementCount(of tensor: TensorInfo) -> Int? {
        let (elements, dtype) = (tensor.elementCount, tensor.dtype)
        guard let packing else { return storedType == dtype ? elements : nil }
        // torch's type for packed bits can be wider than the bits.
        let isWide = kind?.bits == 1 && [.i64, .i32, .i8, .bool].contains(dtype)
        guard dtype == (packing.wordBits == 8 ? .u8 : .i16) || isWide,
            elements % packing.words == 0
        else { return nil }
        let (count, overflow) = (elements / packing.words).multipliedReportingOverflow(
            by: packing.values)
        return overflow ? nil : count
    }

    /// The type of values that are not packed.
    private var storedType: DType? {
        switch kind {
        case .float8(_, let dtype), .wideFloat(let dtype): dtype
        case .float(let type): type.bits == 8 ? .u8 : .u16
        case .integer(8, let minimum): minimum < 0 ? .i8 : .u8
        case .integer(32, let minimum): minimum < 0 ? .i32 : .u32
        case .integer(_, let minimum): minimum < 0 ? .i16 : .u16
        case nil: nil
        }
    }

    /// Writes `count` numbers from that at `first` on, before scale and zero point.
    ///
    /// - Parameter width: bytes of a stored element.
    func unpack(
        _ first: Int, count: Int, _ start: UnsafePointer<UInt8>, width: Int,
        to output: UnsafeMutablePointer<Float>
    ) {
        switch kind {
        case .float8(let table, _):
            table.withUnsafeBufferPointer { table in
                for index in 0..<count { output[index] = table[Int(start[first + index])] }
            }
        case .wideFloat(let dtype):
            forEachCode(first, count, start, width) { index, code in
                output[index] =
                    switch dtype {
                    case .f16: Float(Float16(bitPattern: UInt16(truncatingIfNeeded: code)))
                    case .bf16: Float(bitPattern: code << 16)
                    default: Float(bitPattern: code)
                    }
            }
        case .float(let type):
            forEachCode(first, count, start, width) { output[$0] = type.value($1) }
        case .integer(8, let minimum) where minimum < 0:
            for index in 0..<count { output[index] = Float(Int8(bitPattern: start[first + index])) }
        case .integer(16, let minimum) where minimum < 0:
            forEachCode(first, count, start, width) {
                output[$0] = Float(Int16(truncatingIfNeeded: $1))
            }
        case .integer(32, let minimum):
            forEachCode(first, count, start, width) {
                output[$0] = minimum < 0 ? Float(Int32(bitPattern: $1)) : Float($1)
            }
        case .integer(4, let minimum):
            for (index, element) in (first..<first + count).enumerated() {
                let byte = start[element / 2]
                output[index] = Float(Int(element % 2 == 0 ? byte & 15 : byte >> 4) + minimum)
            }
        case .integer(_, let minimum):
            forEachCode(first, count, start, width) { output[$0] = Float(Int($1) + minimum) }
        case nil: break
        }
    }

    /// Calls `body` with the place and the bits of every number.
    @inline(__always)
    private func forEachCode(
        _ first: Int, _ count: Int, _ start: UnsafePointer<UInt8>, _ width: Int,
        _ body: (Int, UInt32) -> Void
    ) {
        guard let packing else {
            for index in 0..<count {
                let element = start + (first + index) * width
                var code: UInt32 = 0
                for byte in 0..<width { code |= UInt32(element[byte]) << (8 * UInt32(byte)) }
                body(index, code)
            }
            return
        }
        // Eight bits share an integer, whose lowest byte comes first, whatever its type.
        let step =
            packing.values == 8 && packing.words == 1 ? width : packing.words * packing.wordBits / 8
        for (index, element) in (first..<first + count).enumerated() {
            body(
                index,
                packing.number(
                    element % packing.values, at: start + element / packing.values * step))
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
