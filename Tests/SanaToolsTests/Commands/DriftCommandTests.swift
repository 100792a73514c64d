import Foundation
import GRDB
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// A slow drift as the commands meet it: nights of a profile, repeated by SQL.
@Suite(.tags(.process)) struct DriftCommandTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    /// Copies the first run once for each night, a day apart, its forwards slower by a factor.
    private func record(_ nights: Range<Int>, _ factor: (Int) -> Double) throws {
        try DatabaseQueue(path: program.folder("h.sqlite")).write { db in
            let own = ["id", "uuid", "started_at"]
            let columns = try db.columns(in: "run").map(\.name).filter { !own.contains($0) }
                .joined(separator: ", ")
            for night in nights {
                try db.execute(
                    sql: """
                        INSERT INTO run (uuid, started_at, \(columns))
                        SELECT ?, strftime('%Y-%m-%dT%H:%M:%SZ', started_at, ?), \(columns)
                        FROM run WHERE id = 1
                        """, arguments: ["night \(night)", "+\(night) days"])
                let run = db.lastInsertedRowID
                try db.execute(
                    sql: """
                        INSERT INTO latency SELECT ?, layer_id, samples, median_ns, wall, cpu
                        FROM latency WHERE run_id = 1;
                        """, arguments: [run])
                try db.execute(
                    sql: """
                        INSERT INTO repetition (run_id, repetition, canary_gflops,
                            canary_cpu_gflops, canary_cpu_ns, model_cpu_ns)
                        SELECT ?, repetition, canary_gflops, canary_cpu_gflops, canary_cpu_ns,
                            CAST(model_cpu_ns * ? AS INTEGER)
                        FROM repetition WHERE run_id = 1
                        """, arguments: [run, factor(night)])
            }
        }
    }

    private func gate() throws -> (code: Int32, drift: Bool?, text: String) {
        let gate = ["history", "gate", "--db", "h.sqlite"]
        let json = try program.run(gate + ["--format", "json"])
        let text = try program.run(gate)
        #expect(text.code == json.code)
        let run = json.json?["runs"]?.array?.first
        return (text.code, run?["drift"]?["alarm"].map { $0 == .bool(true) }, text.output)
    }

    @Test("a drift that no night shows fails the gate until the new level is pinned")
    func drift() throws {
        let profile = try program.run(
            "profile", "fixtures/tiny/plain", "--repeat", "8", "--db", "h.sqlite", "--quiet")
        #expect(profile.code == 0, "\(profile.talk)")
        /// Half a percent up and down.
        func wobble(_ night: Int) -> Double { 1 + 0.005 * Double(night * 7 % 5 - 2) / 2 }
        try record(1..<25, wobble)
        let steady = try gate()
        #expect(steady.drift == false, "\(steady.text)")
        #expect(steady.code != 1, "\(steady.text)")
        try record(25..<60) { wobble($0) * (1 + 0.001 * Double($0 - 24)) }
        let drifting = try gate()
        #expect(drifting.code == 1)
        #expect(drifting.drift == true)
        #expect(drifting.text.contains("drift: +"), "\(drifting.text)")
        #expect(drifting.text.contains("against runs 1 to 10"), "\(drifting.text)")
        #expect(drifting.text.hasSuffix("\nREGRESS: 1 of 1 got slower\n"))
        let pinned = try program.run("history", "baseline", "set", "now", "--db", "h.sqlite")
        #expect(pinned.code == 0)
        try record(60..<75) { wobble($0) * 1.035 }
        let after = try gate()
        #expect(after.code != 1, "\(after.text)")
        #expect(after.drift == false)
    }
}
