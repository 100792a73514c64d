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
        combine(try tensors(source, workers: workers))
    }

    /// SHA-256 of the raw bytes of every tensor of `source`, in its order, computed in parallel.
    public static func tensors(
        _ source: any TensorSource, workers: WorkerPool
    ) throws -> [(info: TensorInfo, digest: [UInt8])] {
        let tensors = source.tensors
        let hashes = tensors.map { _ in ContentHash() }
        // Two at a time, of about the same length.
        let order = tensors.indices.sorted { tensors[$0].byteCount > tensors[$1].byteCount }
        _ = try workers.map((order.count + 1) / 2) { index in
            let chains = try order[2 * index..<min(2 * index + 2, order.count)].compactMap {
                place -> HashChain? in
                if let rows = try source.rows(of: tensors[place]) {
                    update(hashes[place], with: rows, of: tensors[place])
                    return nil
                }
                var chain = HashChain(hashes[place])
                chain.append(try source.bytes(of: tensors[place]), releases: true)
                return chain
            }
            HashChain.run(Array(chains.prefix(1)), Array(chains.dropFirst()))
        }
        return zip(tensors, hashes).map { (info: $0, digest: $1.digest) }
    }

    /// Values that are decoded and hashed at once.
    private static let decodedCount = 1 << 18

    /// Hashes values as they are decoded, a few rows at a time.
    private static func update(_ hash: ContentHash, with rows: EncodedRows, of tensor: TensorInfo) {
        let count = tensor.shape.first ?? 1
        let width = count > 0 ? tensor.elementCount / count : 0
        let step = max(1, decodedCount / max(width, 1))
        for first in stride(from: 0, to: count, by: step) {
            rows.values(first..<min(first + step, count), width: width)
                .withUnsafeBytes { hash.update($0) }
        }
        rows.stored.releasePages()
    }

    /// Joins the digests of single tensors.
    public static func combine(_ tensors: [(info: TensorInfo, digest: [UInt8])]) -> String {
        let hash = ContentHash()
        for (info, digest) in tensors.sorted(by: {
            $0.info.name.utf8.lexicographicallyPrecedes($1.info.name.utf8)
        }) {
            let shape = info.shape.map(String.init).joined(separator: ",")
            for text in [info.name, info.dtype.rawValue, shape] {
                hash.update(Array(text.utf8) + [0])
            }
            hash.update(digest)
        }
        return hash.digest.hexadecimal
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
