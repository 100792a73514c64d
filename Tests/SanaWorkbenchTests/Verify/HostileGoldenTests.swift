import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Goldens, trajectories and files of tolerances with bytes changed at random: each is read or
/// refused with a message, and nothing crashes or takes memory that the file does not have.
struct HostileGoldenTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    /// Writes `content` with some bytes of its first `head` changed, most to what JSON is made of.
    private func mutated(_ content: [UInt8], head: Int, seed: Int) throws -> String {
        var generator = SplitMix64(seed: UInt64(seed))
        var bytes = content
        let letters = Array(#"0123456789-.eE"[]{},:truefalsn\"#.utf8)
        for _ in 0...Int.random(in: 0...3, using: &generator) {
            let place = Int.random(in: 0..<head, using: &generator)
            bytes[place] =
                Bool.random(using: &generator)
                ? letters.randomElement(using: &generator) ?? 0
                : UInt8.random(in: 0...255, using: &generator)
        }
        return try folder.write("mutated-\(seed % 2).safetensors", bytes)
    }

    /// Calls `read` with 300 mutations.
    private func attempt(_ path: String, _ read: (String) throws -> Void) throws -> Int {
        let content = try fileBytes(path)
        let header = content.prefix(8).reversed().reduce(0) { $0 << 8 | Int($1) }
        var refused = 0
        for seed in 0..<300 {
            let path = try mutated(content, head: min(header + 8, content.count), seed: seed)
            do { try read(path) } catch let error as any DiagnosticError {
                #expect(!error.fullMessage.isEmpty)
                refused += 1
            }
        }
        return refused
    }

    @Test func mutatedGoldensAreComparedOrRefused() throws {
        let workers = WorkerPool(threadCount: 1)
        let model = try OpenedModel.open(Fixtures.path + "/tiny/plain").load(workers: workers)
        let refused = try attempt(Fixtures.path + "/goldens/tiny-plain.safetensors") { path in
            _ = try Verification.run(model, Golden(path: path), .init(), workers: workers)
        }
        #expect(refused > 20)
        #expect(refused < 300)
    }

    @Test func mutatedTrajectoriesAreFollowedOrRefused() throws {
        let workers = WorkerPool(threadCount: 1)
        let model = try OpenedModel.open(Fixtures.digits).load(workers: workers)
        let name = "/trajectories/sana-digits-dpm-short-3.safetensors"
        let refused = try attempt(Fixtures.path + name) { path in
            _ = try Verification.run(
                model, TrajectoryGolden(path: path), .init(), workers: workers)
        }
        #expect(refused > 20)
        #expect(refused < 300)
    }

    /// Shapes without values cost no bytes in a file, and must cost none in memory.
    @Test func trajectoryOfAnEmptyLatentWithAHugeBatchIsRefused() throws {
        let name = "/trajectories/sana-digits-dpm-short-3.safetensors"
        for shape in [[1 << 40, 1, 0, 8], [1 << 40, 0, 8, 8], [0, 1, 8, 8], [1, 1, 8], []] {
            let builder = try SafetensorsBuilder(copying: Fixtures.path + name) { tensor, bytes in
                guard tensor.name == "inputs.latents" else {
                    return (tensor.name, tensor.shape, bytes)
                }
                return (tensor.name, shape, [UInt8](repeating: 0, count: 4 * shape.reduce(1, *)))
            }
            let workers = WorkerPool(threadCount: 1)
            let path = try folder.write("t.safetensors", builder.file)
            let result = try Verification.run(
                OpenedModel.open(Fixtures.digits).load(workers: workers),
                TrajectoryGolden(path: path), .init(), workers: workers)
            #expect(result.verdict == .fail, "\(shape)")
            #expect(result.compared.isEmpty, "\(shape)")
        }
    }
}
