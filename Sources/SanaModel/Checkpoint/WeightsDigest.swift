import Crypto

/// The identity of a set of weights, whatever its sharding, file order and metadata.
///
/// SHA-256 over the tensors sorted bytewise by name, each as
/// `name ∥ 0 ∥ dtype ∥ 0 ∥ shape joined by "," ∥ 0 ∥ SHA-256(raw little-endian bytes)`.
public enum WeightsDigest {
    /// Hashes every tensor of `source`, in parallel.
    ///
    /// - Returns: 64 lower-case hexadecimal digits.
    public static func compute(
        _ source: any TensorSource, workers: WorkerPool
    ) throws -> String {
        let tensors = source.tensors
        let digests = try workers.map(tensors.count) { index in
            try sha256(source.bytes(of: tensors[index]))
        }
        return combine(zip(tensors, digests).map { ($0, $1) })
    }

    /// Joins the digests of single tensors.
    public static func combine(_ tensors: [(info: TensorInfo, digest: [UInt8])]) -> String {
        var hash = SHA256()
        for (info, digest) in tensors.sorted(by: {
            $0.info.name.utf8.lexicographicallyPrecedes($1.info.name.utf8)
        }) {
            let shape = info.shape.map(String.init).joined(separator: ",")
            for text in [info.name, info.dtype.rawValue, shape] {
                hash.update(data: Array(text.utf8) + [0])
            }
            hash.update(data: digest)
        }
        return Array(hash.finalize()).hexadecimal
    }

    /// SHA-256 of raw bytes, 32 of them.
    public static func sha256(_ bytes: ByteView) -> [UInt8] {
        bytes.withUnsafeBytes { bytes in
            var hash = SHA256()
            hash.update(bufferPointer: bytes)
            return Array(hash.finalize())
        }
    }
}

extension Collection<UInt8> {
    /// Two lower-case hexadecimal digits a byte.
    public var hexadecimal: String {
        let digits = Array("0123456789abcdef".utf8)
        return String(
            decoding: flatMap { [digits[Int($0 >> 4)], digits[Int($0 & 15)]] }, as: UTF8.self)
    }
}
