import SanaModel

extension [UInt8] {
    /// Every little-endian word of `size` bytes replaced.
    public func mappingWords(_ size: Int, _ change: (Int) -> [UInt8]) -> [UInt8] {
        stride(from: 0, to: count, by: size).flatMap { start in
            change((0..<size).reduce(0) { $0 | Int(self[start + $1]) << (8 * $1) })
        }
    }

    /// Every BF16 value replaced, cut to BF16.
    public func mappingBF16(_ change: (Float) -> Float) -> [UInt8] {
        mappingWords(2) { bits in
            let value = change(Float(bitPattern: UInt32(bits) << 16))
            return littleEndianBytes(UInt16(value.bitPattern >> 16))
        }
    }
}
