import CSanaKernels

/// SHA-256 of bytes that come in pieces.
///
/// Two hashes brought forward together take little longer than one, where the CPU has the
/// instructions. Our own code, because no library hashes two streams at once; for the rest, a
/// library costs more than it saves (docs/explanation/architecture.md).
public final class ContentHash: @unchecked Sendable {
    private var state = sk_hash()

    /// - Parameter kind: tests choose, and names that git has given.
    init(_ kind: sk_hash_kind) { sk_hash_start(&state, kind) }

    public convenience init() { self.init(SK_SHA256) }

    /// Appends bytes.
    public func update(_ bytes: UnsafeRawBufferPointer) {
        sk_hash_update(&state, bytes.baseAddress, bytes.count)
    }

    /// Appends bytes.
    public func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// Appends bytes whose pages are let go behind it, when they are a file's.
    public func update(releasing bytes: ByteView) { bytes.stream { update($0) } }

    /// Appends bytes to two hashes at once. They must not be the same hash.
    static func update(
        _ first: ContentHash, _ firstBytes: UnsafeRawBufferPointer, _ second: ContentHash,
        _ secondBytes: UnsafeRawBufferPointer
    ) {
        precondition(first !== second)
        let common = min(firstBytes.count, secondBytes.count)
        sk_hash_update_two(
            &first.state, firstBytes.baseAddress, &second.state, secondBytes.baseAddress, common)
        first.update(UnsafeRawBufferPointer(rebasing: firstBytes[common...]))
        second.update(UnsafeRawBufferPointer(rebasing: secondBytes[common...]))
    }

    /// The hash of all bytes so far, 32 of them (20 of a SHA-1); more may follow.
    public var digest: [UInt8] {
        [UInt8](unsafeUninitializedCapacity: 32) { digest, count in
            count = sk_hash_digest(&state, digest.baseAddress)
        }
    }

    /// SHA-256 of raw bytes, 32 of them. Pages of a mapped file are let go behind it.
    public static func sha256(of bytes: ByteView) -> [UInt8] {
        let hash = ContentHash()
        hash.update(releasing: bytes)
        return hash.digest
    }

    /// SHA-256 of the UTF-8 of `text`.
    public static func sha256(of text: String) -> [UInt8] { sha256(of: ByteView(text.utf8)) }
}

/// Bytes that one hash takes in order: it can run alongside other chains, but not be cut
/// into parallel parts.
public struct HashChain: Sendable {
    public let hash: ContentHash
    /// In order, with pages to be let go behind them or not.
    public private(set) var pieces: [(bytes: HashBytes, releases: Bool)] = []

    public init(_ hash: ContentHash) { self.hash = hash }

    public var byteCount: Int { pieces.reduce(0) { $0 + $1.bytes.count } }

    /// Appends bytes that stay as they are until the chain has run.
    public mutating func append(_ bytes: ByteView, releases: Bool = false) {
        pieces.append((.view(bytes), releases))
    }

    /// Appends memory that stays as it is until the chain has run.
    public mutating func append(_ memory: UnsafeRawBufferPointer) {
        pieces.append((.memory(memory), false))
    }
}

/// Bytes of a hash chain.
public enum HashBytes: @unchecked Sendable {
    case view(ByteView)
    case memory(UnsafeRawBufferPointer)

    var count: Int {
        switch self {
        case .view(let bytes): bytes.count
        case .memory(let bytes): bytes.count
        }
    }

    /// The bytes from `start`, `count` of them.
    func with<Result>(
        _ start: Int, _ count: Int, _ body: (UnsafeRawBufferPointer) -> Result
    ) -> Result {
        switch self {
        case .view(let bytes): bytes.slice(start, count).withUnsafeBytes(body)
        case .memory(let bytes):
            body(UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]))
        }
    }

    func releasePages(_ start: Int, _ count: Int) {
        if case .view(let bytes) = self { bytes.slice(start, count).releasePages() }
    }
}

extension HashChain {
    /// Bytes that are hashed before pages are let go.
    private static let stretchByteCount = 1 << 20

    /// Tasks that bring all chains forward, each two of them at a time, about equally long.
    ///
    /// - Parameter count: number of tasks wanted.
    public static func tasks(_ chains: [HashChain], count: Int) -> [() throws -> Void] {
        var lanes = [(chains: [HashChain], byteCount: Int)](
            repeating: ([], 0), count: 2 * max(count, 1))
        for chain in chains.sorted(by: { $0.byteCount > $1.byteCount }) where chain.byteCount > 0 {
            let shortest = lanes.indices.min { lanes[$0].byteCount < lanes[$1].byteCount } ?? 0
            lanes[shortest].chains.append(chain)
            lanes[shortest].byteCount += chain.byteCount
        }
        // Neighbours in length share a task.
        let ordered = lanes.map(\.chains).filter { !$0.isEmpty }
            .sorted { $0.reduce(0) { $0 + $1.byteCount } > $1.reduce(0) { $0 + $1.byteCount } }
        return stride(from: 0, to: ordered.count, by: 2).map { index in
            let first = ordered[index]
            let second = index + 1 < ordered.count ? ordered[index + 1] : []
            return { run(first, second) }
        }
    }

    /// Runs two lists of chains side by side.
    public static func run(_ first: [HashChain], _ second: [HashChain]) {
        var (left, right) = (Cursor(first), Cursor(second))
        while let one = left.rest, let other = right.rest {
            let count = min(one.count, other.count, stretchByteCount)
            one.bytes.with(one.start, count) { oneBytes in
                other.bytes.with(other.start, count) { otherBytes in
                    ContentHash.update(one.hash, oneBytes, other.hash, otherBytes)
                }
            }
            left.advance(count)
            right.advance(count)
        }
        for var cursor in [left, right] {
            while let rest = cursor.rest {
                let count = min(rest.count, stretchByteCount)
                rest.bytes.with(rest.start, count) { rest.hash.update($0) }
                cursor.advance(count)
            }
        }
    }

    /// A place in a list of chains.
    private struct Cursor {
        private let pieces: [(hash: ContentHash, bytes: HashBytes, releases: Bool)]
        private var (piece, offset) = (0, 0)

        init(_ chains: [HashChain]) {
            pieces = chains.flatMap { chain in
                chain.pieces.filter { $0.bytes.count > 0 }.map {
                    (chain.hash, $0.bytes, $0.releases)
                }
            }
        }

        /// What is left of the current piece; `nil` at the end.
        var rest: (hash: ContentHash, bytes: HashBytes, start: Int, count: Int)? {
            guard piece < pieces.count else { return nil }
            let bytes = pieces[piece].bytes
            return (pieces[piece].hash, bytes, offset, bytes.count - offset)
        }

        mutating func advance(_ count: Int) {
            if pieces[piece].releases { pieces[piece].bytes.releasePages(offset, count) }
            offset += count
            if offset == pieces[piece].bytes.count { (piece, offset) = (piece + 1, 0) }
        }
    }
}
