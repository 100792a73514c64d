import CSanaKernels
import SanaTestSupport
import Testing

@testable import SanaModel

/// Hashes against those of Python's hashlib, then lanes and cuts against a hash of the whole.
@Suite struct ContentHashTests {
    private func bytes(_ count: Int, seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 131 &+ seed) &* ($0 >> 3 &+ 7)) }
    }

    private func expected(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        hash(Array(bytes), SK_SHA256_PORTABLE)
    }

    private func hash(_ bytes: [UInt8], _ kind: sk_hash_kind) -> [UInt8] {
        let hash = ContentHash(kind)
        hash.update(bytes)
        return hash.digest
    }

    /// With the processor's instructions, where it has them, and without.
    private let kinds = [SK_SHA256, SK_SHA256_PORTABLE]

    private let lengths = Array(0...200) + [4095, 4096, 4097, 70001]

    /// The last column: the SHA-256 of the digests of `bytes(n, n)` for all `lengths`, by hashlib.
    @Test(arguments: [
        (
            SK_SHA256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "d2e99a80d47864f5188c8d619cfb0030ca3e177e35912ce40c3445b073ea665d"
        ),
        (
            SK_SHA256_PORTABLE, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            "d2e99a80d47864f5188c8d619cfb0030ca3e177e35912ce40c3445b073ea665d"
        ),
        (
            SK_SHA1, "a9993e364706816aba3e25717850c26c9cd0d89d",
            "c0ed9fe36ff87879bafdf6b5b53530f2c42f2be25dd1ead9240b317a2dedd9be"
        ),
    ])
    func everyLengthGivesTheHashOfTheStandard(
        _ kind: sk_hash_kind, ofABC abc: String, ofDigests digests: String
    ) {
        #expect(hash(Array("abc".utf8), kind).hexadecimal == abc)
        let all = lengths.flatMap { hash(bytes($0, seed: $0), kind) }
        #expect(expected(all).hexadecimal == digests)
    }

    @Test func aGitBlobHasItsNameInSHA1() throws {
        // printf 'what is up, doc?' | git hash-object --stdin
        let content = ByteView(Array("what is up, doc?".utf8))
        let name = try #require(BlobHash("bd9dbf5aae1a3862dd1526723246b20206e5fc37"))
        #expect(name.ofSameKind(content) == name)
    }

    @Test func everyLengthAndCutGivesTheHashOfTheWhole() {
        for kind in kinds {
            for count in lengths {
                let data = bytes(count, seed: count)
                for cut in Set([0, 1, 55, 56, 63, 64, 65, count / 2, count]) where cut <= count {
                    let hash = ContentHash(kind)
                    data[..<cut].withUnsafeBytes { hash.update($0) }
                    #expect(hash.digest == expected(data[..<cut]))
                    data[cut...].withUnsafeBytes { hash.update($0) }
                    #expect(hash.digest == expected(data), "\(count) bytes cut at \(cut)")
                }
            }
        }
    }

    @Test func twoLanesOfAnyLengthAndPlaceDoNotMix() {
        for kind in kinds {
            for first in [0, 1, 63, 64, 65, 127, 128, 1000, 4097] {
                for second in [0, 5, 64, 130, 999, 5000] {
                    for start in [0, 1, 31, 63] {
                        let hashes = [0, 1].map { _ in ContentHash(kind) }
                        let (a, b) = (bytes(start + first, seed: 3), bytes(second, seed: 9))
                        a[..<start].withUnsafeBytes { hashes[0].update($0) }
                        a[start...].withUnsafeBytes { rest in
                            b.withUnsafeBytes { ContentHash.update(hashes[0], rest, hashes[1], $0) }
                        }
                        #expect(hashes[0].digest == expected(a), "\(start) + \(first), \(second)")
                        #expect(hashes[1].digest == expected(b), "\(start) + \(first), \(second)")
                    }
                }
            }
        }
    }

    @Test func chainsInAnyNumberOfTasksGiveTheirOwnHashes() throws {
        let sizes = [0, 1, 100, 4096, 70000, 3_000_000, 5, 64]
        let data = sizes.enumerated().map { bytes($1, seed: $0) }
        for count in 1...5 {
            let hashes = sizes.map { _ in ContentHash() }
            var chains: [HashChain] = []
            for (hash, data) in zip(hashes, data) {
                var chain = HashChain(hash)
                chain.append(ByteView(data.prefix(data.count / 3)))
                chain.append(ByteView(data.dropFirst(data.count / 3)), releases: true)
                chains.append(chain)
            }
            let tasks = HashChain.tasks(chains, count: count)
            #expect(tasks.count <= max(count, 1))
            try tasks.forEach { try $0() }
            for (hash, data) in zip(hashes, data) { #expect(hash.digest == expected(data)) }
        }
    }
}
