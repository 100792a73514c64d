/// The stored tensors of a packed weight.
struct SVDQuantParts: Sendable {
    let weight: TensorInfo
    let scales: TensorInfo
    let smooth: TensorInfo
    /// Of the low-rank branch; `nil` without it.
    let lowRank: (up: TensorInfo, down: TensorInfo, rank: Int)?
    /// A scale of all values and one of each row, which fp4 has besides.
    let tensorScale: TensorInfo?
    let rowScales: TensorInfo?
    /// Both padded.
    let (rows, columns): (Int, Int)
    let isInt4: Bool

    /// - Throws: `BadDataError` for tensors that are absent or do not fit each other.
    init(_ module: String, isInt4: Bool, of source: any TensorSource, file: String) throws {
        func unfit(_ name: String) -> BadDataError {
            BadDataError.damagedWeights(
                file, "tensor '\(module.printable).\(name)' does not match the packed weight")
        }
        let halves: Set<DType> = [.bf16, .f16]
        guard let weight = source.info(module + ".qweight"), weight.dtype == .i8,
            weight.shape.count == 2, weight.shape[0] > 0, weight.shape[1] > 0,
            weight.shape[0] % SVDQuantPacking.tile == 0,
            weight.shape[1] % (SVDQuantPacking.tile / 2) == 0
        else { throw unfit("qweight") }
        let (rows, columns) = (weight.shape[0], 2 * weight.shape[1])
        (self.rows, self.columns, self.isInt4, self.weight) = (rows, columns, isInt4, weight)
        let groups = columns / (isInt4 ? 64 : 16)
        scales = try source.part(
            module + ".wscales", of: groups * rows, isInt4 ? halves : [.f8e4m3], file: file)
        smooth = try source.part(module + ".smooth", of: columns, halves, file: file)
        tensorScale = try source.info(module + ".wtscale").map {
            try source.part($0.name, of: 1, DType.floatWeights, file: file)
        }
        rowScales = try source.info(module + ".wcscales").map {
            try source.part($0.name, of: rows, halves, file: file)
        }
        let (up, down) = (source.info(module + ".lora_up"), source.info(module + ".lora_down"))
        guard let up, let down else {
            guard up == nil, down == nil else { throw unfit("lora_up or lora_down") }
            lowRank = nil
            return
        }
        guard up.shape.count == 2, down.shape.count == 2, up.shape[0] == rows,
            down.shape[0] == columns, up.shape[1] == down.shape[1], up.shape[1] % 16 == 0,
            halves.contains(up.dtype), halves.contains(down.dtype)
        else { throw unfit("lora_up") }
        lowRank = up.shape[1] > 0 ? (up, down, up.shape[1]) : nil
    }

    var all: [TensorInfo] {
        [weight, scales, smooth]
            + [tensorScale, rowScales, lowRank?.up, lowRank?.down].compactMap(\.self)
    }

    var byteCount: Int { all.reduce(0) { $0 + $1.byteCount } }
}

/// The values of a packed weight, a row at a time.
struct SVDQuantValues: Sendable {
    private let bytes: ByteView
    private let scales: ByteView
    private let smooth: FloatBuffer
    private let term: LowRankTerm?
    private let tensorScale: Float
    private let rowScales: FloatBuffer?
    private let levels: [Float]
    /// What scales of 8 bits are; empty for those of 16.
    private let scaleLevels: [Float]
    private let parts: SVDQuantParts
    private let columns: Int

    private static let int4: [Float] = (0..<16).map { Float($0 < 8 ? $0 : $0 - 16) }
    private static let fp4: [Float] = [
        0, 0.5, 1, 1.5, 2, 3, 4, 6, 0, -0.5, -1, -1.5, -2, -3, -4, -6,
    ]

    /// - Parameter columns: without padding.
    init(
        _ parts: SVDQuantParts, columns: Int, of source: any TensorSource, file: String
    ) throws {
        (self.parts, self.columns) = (parts, columns)
        (bytes, scales) = try (source.bytes(of: parts.weight), source.bytes(of: parts.scales))
        levels = parts.isInt4 ? Self.int4 : Self.fp4
        scaleLevels = Float8.table(parts.scales.dtype) ?? []
        let packed = try source.floats(parts.smooth, file: file)
        smooth = FloatBuffer(count: columns)
        for column in 0..<columns {
            smooth.pointer[column] = packed.pointer[SVDQuantPacking.scaleIndex(row: column)]
        }
        withExtendedLifetime(packed) {}
        tensorScale =
            try parts.tensorScale.flatMap { try source.floats($0, file: file).values.first } ?? 1
        rowScales = try parts.rowScales.map { try source.floats($0, file: file) }
        term = try parts.lowRank.map { up, down, rank in
            let (packedUp, packedDown) = try (
                source.floats(up, file: file), source.floats(down, file: file)
            )
            let (ups, downs) = (
                FloatBuffer(count: parts.rows * rank), FloatBuffer(count: rank * columns)
            )
            for index in 0..<rank {
                for row in 0..<parts.rows {
                    let place = SVDQuantPacking.lowRankIndex(
                        outer: row, rank: index, of: rank, isDown: false)
                    ups.pointer[row * rank + index] = packedUp.pointer[place]
                }
                for column in 0..<columns {
                    let place = SVDQuantPacking.lowRankIndex(
                        outer: column, rank: index, of: rank, isDown: true)
                    downs.pointer[index * columns + column] = packedDown.pointer[place]
                }
            }
            withExtendedLifetime((packedUp, packedDown)) {}
            return LowRankTerm(up: ups, down: downs, rank: rank)
        }
    }

    /// - Parameter row: as stored.
    func decode(_ row: Int, to output: UnsafeMutablePointer<Float>) {
        SVDQuantPacking.unpack(
            row: row, columns: parts.columns, count: columns,
            bytes.address.assumingMemoryBound(to: UInt8.self), levels: levels, to: output)
        let size = parts.isInt4 ? 64 : 16
        let rowScale = rowScales?.pointer[SVDQuantPacking.scaleIndex(row: row)] ?? 1
        for first in stride(from: 0, to: columns, by: size) {
            let scale = scale(row, first / size, of: parts.columns / size)
            for column in first..<min(first + size, columns) {
                output[column] =
                    output[column] * scale * tensorScale * rowScale / smooth.pointer[column]
            }
        }
        term?.add(row, to: output, count: columns)
    }

    private func scale(_ row: Int, _ group: Int, of groups: Int) -> Float {
        guard parts.isInt4 else {
            let place = SVDQuantPacking.microScaleIndex(row: row, group: group, of: groups)
            let byte = scales.address.load(fromByteOffset: place, as: UInt8.self)
            return scaleLevels[Int(byte)]
        }
        let place = SVDQuantPacking.scaleIndex(row: row, group: group, of: groups)
        let bits = scales.address.loadUnaligned(fromByteOffset: 2 * place, as: UInt16.self)
        return parts.scales.dtype == .f16
            ? Float(Float16(bitPattern: bits)) : Float(bitPattern: UInt32(bits) << 16)
    }
}
