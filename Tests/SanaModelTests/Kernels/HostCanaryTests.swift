import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Ratios to the canary are compared over years: neither it nor what compiles it may change.
struct HostCanaryTests {
    private static let root = URL(fileURLWithPath: #filePath)
        .deletingLastPathComponent().deletingLastPathComponent()
        .deletingLastPathComponent().deletingLastPathComponent()

    private func source(_ path: String) throws -> Data {
        try Data(contentsOf: Self.root.appendingPathComponent(path))
    }

    @Test func sourceAndFlagsAreThoseThatRunsAreRecordedWith() throws {
        let canary = ByteView(try source("Sources/CSanaCanary/canary_2.c"))
        let name = ContentHash.sha256(of: canary).hexadecimal
        #expect(
            name == HostCanary.identity, "canary_2.c is frozen: put another canary into a new file")
        let package = String(decoding: try source("Package.swift"), as: UTF8.self)
        #expect(
            package.contains(
                #"canarySettings: [CSetting] = [.unsafeFlags(["-O2", "-ffp-contract=off"])]"#))
        #expect(package.contains(#"name: "CSanaCanary", cSettings: canarySettings"#))
    }

    @Test func roundsFollowFromTheSizesAlone() {
        let workers = WorkerPool(threadCount: 2)
        func rounds(_ operations: Int, _ slices: Int) -> Int {
            HostCanary(workers: workers, operations: operations, slices: slices).rounds
        }
        #expect(rounds(0, 0) == 1)
        #expect(rounds(1_000_000_000, 4) == rounds(2_000_000_000, 8))
        #expect(rounds(10_000_000_000, 4) > 5 * rounds(1_000_000_000, 4))
        #expect(rounds(10_000_000_000_000, 4) == rounds(1_000_000_000_000, 4))
    }

    @Test func sliceTakesTimeInProportionToItsRounds() {
        let workers = WorkerPool(threadCount: 2)
        func time(_ operations: Int) -> Int {
            let canary = HostCanary(workers: workers, operations: operations, slices: 1)
            return (0..<7).map { _ in
                let start = workers.cpuNanoseconds
                canary.run()
                return workers.cpuNanoseconds - start
            }.sorted()[3]
        }
        let (short, long) = (time(500_000_000), time(5_000_000_000))
        #expect(long > 5 * short)
        #expect(long < 20 * short)
    }
}
