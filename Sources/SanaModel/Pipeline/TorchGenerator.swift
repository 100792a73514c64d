import Libc

/// Standard normal numbers as a `torch.Generator` draws them, to within the rounding of fp32.
public struct TorchGenerator: Sendable {
    /// Where diffusers' generator draws.
    public enum Device: String, Sendable, CaseIterable {
        /// `torch.Generator("cpu")`: Mersenne Twister.
        case cpu
        /// `torch.Generator("cuda")`: Philox.
        case cuda
    }

    /// Numbers that one draw of Philox may have. Up to here every GPU with 43 multiprocessors or
    /// more draws the same; beyond, it depends on how many there are.
    public static let mostOnCUDA = 1 << 16

    private enum Engine {
        case mersenne(MersenneTwister, kept: Double?)
        case philox(Philox)
    }
    private var engine: Engine

    /// `torch.Generator(device).manual_seed(seed)`. The one of the CPU has the lower 32 bits of a
    /// seed alone, as in torch.
    public init(seed: UInt64, device: Device = .cpu) {
        engine =
            switch device {
            case .cpu: .mersenne(MersenneTwister(seed: UInt32(truncatingIfNeeded: seed)), kept: nil)
            case .cuda: .philox(Philox(seed: seed))
            }
    }

    /// `torch.randn(shape, generator=self, dtype=torch.float32)`.
    ///
    /// - Throws: `InputError` for more numbers than every GPU draws alike.
    public mutating func normal(shape: [Int]) throws(InputError) -> DenseTensor {
        let result = DenseTensor(shape: shape)
        let values = UnsafeMutableBufferPointer(start: result.values.pointer, count: result.count)
        switch engine {
        case .mersenne(var twister, var kept):
            if values.count >= Self.chunk {
                Self.fill(values, &twister)
            } else {
                for index in values.indices { values[index] = Self.one(&twister, &kept) }
            }
            engine = .mersenne(twister, kept: kept)
        case .philox(var philox):
            guard values.count <= Self.mostOnCUDA else {
                throw InputError(
                    "latents", shape,
                    "at most \(Self.mostOnCUDA) numbers, as GPUs draw more of them differently")
            }
            philox.fill(values)
            engine = .philox(philox)
        }
        return result
    }

    /// Numbers that torch makes together.
    private static let chunk = 16

    /// torch's `normal_fill`: uniform numbers all at once, then in chunks the first half of a chunk
    /// next to the second. What is left over after whole chunks is drawn again with what is before
    /// it.
    private static func fill(
        _ values: UnsafeMutableBufferPointer<Float>, _ twister: inout MersenneTwister
    ) {
        for index in values.indices { values[index] = twister.uniform24() }
        var start = 0
        while start + chunk <= values.count {
            transform(values, start)
            start += chunk
        }
        guard start < values.count else { return }
        start = values.count - chunk
        for index in start..<values.count { values[index] = twister.uniform24() }
        transform(values, start)
    }

    /// Box and Muller's transform of one chunk.
    private static func transform(_ values: UnsafeMutableBufferPointer<Float>, _ start: Int) {
        for index in start..<start + chunk / 2 {
            let radius = (-2 * log(1 - values[index])).squareRoot()
            let angle = 2 * Float.pi * values[index + chunk / 2]
            values[index] = radius * cos(angle)
            values[index + chunk / 2] = radius * sin(angle)
        }
    }

    /// One of a few numbers, which torch makes in double precision, two at a time.
    private static func one(_ twister: inout MersenneTwister, _ kept: inout Double?) -> Float {
        if let value = kept {
            kept = nil
            return Float(value)
        }
        let (first, second) = (twister.uniform53(), twister.uniform53())
        let radius = (-2 * log1p(-second)).squareRoot()
        kept = radius * sin(2 * Double.pi * first)
        return Float(radius * cos(2 * Double.pi * first))
    }
}

/// MT19937 of Matsumoto and Nishimura.
private struct MersenneTwister: Sendable {
    private static let (size, shift) = (624, 397)
    private var state: [UInt32]
    private var index = size

    init(seed: UInt32) {
        state = [seed]
        state.reserveCapacity(Self.size)
        for index in 1..<Self.size {
            let last = state[index - 1]
            state.append(1_812_433_253 &* (last ^ last >> 30) &+ UInt32(index))
        }
    }

    mutating func next() -> UInt32 {
        if index == Self.size { twist() }
        var value = state[index]
        index += 1
        value ^= value >> 11
        value ^= value << 7 & 0x9D2C_5680
        value ^= value << 15 & 0xEFC6_0000
        return value ^ value >> 18
    }

    private mutating func twist() {
        for index in 0..<Self.size {
            let mixed =
                state[index] & 0x8000_0000 | state[(index + 1) % Self.size] & 0x7FFF_FFFF
            state[index] =
                state[(index + Self.shift) % Self.size] ^ mixed >> 1
                ^ (mixed & 1 == 1 ? 0x9908_B0DF : 0)
        }
        index = 0
    }

    /// In [0, 1), of 24 bits.
    mutating func uniform24() -> Float { Float(next() & 0xFF_FFFF) * 0x1p-24 }

    /// In [0, 1), of 53 bits.
    mutating func uniform53() -> Double {
        let (high, low) = (UInt64(next()), UInt64(next()))
        let bits: UInt64 = (high << 32 | low) & (1 << 53 - 1)
        return Double(bits) * 0x1p-53
    }
}

/// Philox 4×32 with ten rounds, as curand's `curand_normal4` draws with a thread for each number.
private struct Philox: Sendable {
    let seed: UInt64
    /// Draws so far.
    private var draws: UInt32 = 0

    init(seed: UInt64) { self.seed = seed }

    mutating func fill(_ values: UnsafeMutableBufferPointer<Float>) {
        for index in values.indices {
            let random = block(SIMD4(draws, 0, UInt32(index), 0))
            let u = Float(random.x) * 0x1p-32 + 0x1p-33
            let v = Float(random.y) * (2 * .pi * 0x1p-32) + .pi * 0x1p-32
            values[index] = (-2 * log(u)).squareRoot() * sin(v)
        }
        draws &+= 1
    }

    private func block(_ counter: SIMD4<UInt32>) -> SIMD4<UInt32> {
        var key = (UInt32(truncatingIfNeeded: seed), UInt32(seed >> 32))
        var x = counter
        for _ in 0..<10 {
            let first = UInt64(x[0]) * 0xD251_1F53
            let second = UInt64(x[2]) * 0xCD9E_8D57
            x = SIMD4(
                UInt32(second >> 32) ^ x[1] ^ key.0, UInt32(truncatingIfNeeded: second),
                UInt32(first >> 32) ^ x[3] ^ key.1, UInt32(truncatingIfNeeded: first))
            key = (key.0 &+ 0x9E37_79B9, key.1 &+ 0xBB67_AE85)
        }
        return x
    }
}
