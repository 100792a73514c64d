import Dispatch
import Foundation
import SanaTestSupport
import Synchronization
import Testing

/// Every kind of file, broken at random: no crash, no hang, no memory without bound, and one clear
/// message or a right result. `make mutations` runs 10,000 of each and writes
/// reports/robustness.md.
@Suite(.tags(.process)) struct MutationTests {
    private static let environment = ProcessInfo.processInfo.environment
    /// Mutations of each kind of file.
    private static let count = environment["SANA_MUTATIONS"].flatMap { Int($0) } ?? 20
    private static let seed = environment["SANA_MUTATIONS_SEED"].flatMap { UInt64($0) } ?? 1

    @Test func brokenFilesOfEveryKindEndInAMessageOrAResult() throws {
        let kinds = MutationTarget.all.filter {
            Self.environment["SANA_MUTATIONS_ONLY"].map($0.name.contains) ?? true
        }
        let results = Mutex<[Int: MutationCampaign.Result]>([:])
        let failures = Mutex<[String]>([])
        DispatchQueue.concurrentPerform(iterations: kinds.count) { index in
            do {
                let program = try BuiltProgram()
                let binary =
                    Self.environment["SANA_MUTATIONS_BINARY"].map { URL(fileURLWithPath: $0) }
                    ?? program.underTest
                let campaign = try MutationCampaign(
                    kinds[index].make(program), program, binary: binary)
                let result = try campaign.run(Self.count, seed: Self.seed)
                results.withLock { $0[index] = result }
            } catch {
                failures.withLock { $0.append("\(kinds[index].name): \(error)") }
            }
        }
        #expect(failures.withLock { $0 } == [])
        let all = results.withLock { $0 }.sorted { $0.key < $1.key }.map(\.value)
        if let path = Self.environment["SANA_MUTATIONS_REPORT"] {
            try MutationReport(results: all, seed: Self.seed).write(path)
        }
        for result in all {
            #expect(result.mutations >= Self.count)
            #expect(result.findings == [], "\(result.kind)")
        }
    }

    @Test func mutationsAreDifferentAndComeAgainWithTheirSeed() {
        let original = Array("{\"layers\": 12, \"size\": 32}".utf8)
        func files(_ seed: UInt64) -> [[UInt8]] {
            var mutator = Mutator(original, .none, seed: seed)
            return (0..<50).map { _ in mutator.next() }
        }
        #expect(files(3) == files(3))
        #expect(files(3) != files(4))
        #expect(Set(files(3)).count > 40)
    }
}
