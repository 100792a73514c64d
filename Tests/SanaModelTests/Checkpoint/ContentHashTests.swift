import Crypto
import SanaTestSupport
import Testing

@testable import SanaModel

/// Our lanes against swift-crypto.
@Suite struct ContentHashTests {
    private func bytes(_ count: Int, seed: Int) -> [UInt8] {
        (0..<count).map { UInt8(truncatingIfNeeded: ($0 &* 131 &+ seed) &* ($0 >> 3 &+ 7)) }
    }

    private func expected(_ bytes: some Sequence<UInt8>) -> [UInt8] {
        Array(SHA256.hash(data: Array(bytes)))
    }

    /// Both implementations that there are on this machine.
    private var kinds: [Bool] { ContentHash.hasLanes ? [true, false] : [false] }

    @Test func everyLengthAndCutGivesTheHashOfTheWhole() {
        for usesLanes in kinds {
            for count in Array(0...200) + [4095, 4096, 4097, 70001] {
                let data = bytes(count, seed: count)
                for cut in Set([0, 1, 55, 56, 63, 64, 65, count / 2, count]) where cut <= count {
                    let hash = ContentHash(usesLanes: usesLanes)
                    data[..<cut].withUnsafeBytes { hash.update($0) }
                    #expect(hash.digest == expected(data[..<cut]))
                    data[cut...].withUnsafeBytes { hash.update($0) }
                    #expect(hash.digest == expected(data), "\(count) bytes cut at \(cut)")
                }
            }
        }
    }

    @Test func twoLanesOfAnyLengthAndPlaceDoNotMix() {
        for usesLanes in kinds {
            for first in [0, 1, 63, 64, 65, 127, 128, 1000, 4097] {
                for second in [0, 5, 64, 130, 999, 5000] {
                    for start in [0, 1, 31, 63] {
                        let hashes = [0, 1].map { _ in ContentHash(usesLanes: usesLanes) }
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
