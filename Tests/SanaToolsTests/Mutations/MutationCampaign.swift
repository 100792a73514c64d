import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// Breaks one kind of file again and again, and judges what the commands make of it.
struct MutationCampaign {
    /// What became of all mutations of a kind of file.
    struct Result: Codable, Sendable {
        let kind: String
        let file: String
        let bytes: Int
        var mutations = 0
        /// Commands by how they ended.
        var exitCodes: [String: Int] = [:]
        var crashes = 0
        var hangs = 0
        var overAllocations = 0
        /// Refusals without one clear message, wrong results, other exit codes.
        var otherFindings = 0
        var slowestSeconds = 0.0
        /// Resident memory beyond that of a command that does nothing.
        var peakNewResidentBytes = 0
        /// The first of the findings: seed, command, what happened.
        var findings: [String] = []
    }

    let target: MutationTarget
    let folder: TemporaryFolder
    let server: CommandServer
    private let original: [UInt8]
    private let idleResidentBytes: Int
    /// What the command that restores makes of the whole file.
    private let restored: [UInt8]?
    /// What `digest` says of the weights in the whole file.
    private let weightsDigest: JSONValue?

    /// - Throws: when a command does not do with the whole file what it should.
    init(_ target: MutationTarget, _ program: BuiltProgram, binary: URL) throws {
        (self.target, folder) = (target, program.folder)
        server = try CommandServer(binary, folder: folder.path)
        original = try fileBytes(folder(target.file))
        idleResidentBytes = try server.run(["--version"]).residentBytes
        var (restored, digest): ([UInt8]?, JSONValue?) = (nil, nil)
        for command in target.commands {
            Self.removeLeavings(target, folder)
            let outcome = try server.run(command, seconds: 20)
            try #require(target.wholeCodes.contains(outcome.code), "\(command): \(outcome.talk)")
            if let name = target.mustRestore, command.contains(name) {
                restored = try fileBytes(folder(name))
            }
            if command[0] == "digest", target.framing == .zip {
                digest = Self.json(outcome)["weights_digest"]
                try #require(digest?.string != nil, "\(command)")
            }
        }
        (self.restored, weightsDigest) = (restored, digest)
    }

    /// Bytes that a command may add to what the process has: ten times the file and 64 MiB.
    private func allowance(_ byteCount: Int) -> Int { 10 * byteCount + 64 << 20 }

    func run(_ count: Int, seed: UInt64) throws -> Result {
        var result = Result(kind: target.name, file: target.file, bytes: original.count)
        for file in target.known {
            for index in target.commands.indices { try step(file, index, &result) }
        }
        for number in 0..<count {
            var mutator = Mutator(original, target.framing, seed: seed &+ UInt64(number) &* 7919)
            if target.isNamed {
                try rename(mutator.oddName(), number, &result)
            } else if target.hasValues {
                Self.removeLeavings(target, folder)
                try write(original)
                try DatabaseValues.change(folder(target.file), &mutator)
                try step(fileBytes(folder(target.file)), number, &result)
            } else {
                try step(mutator.next(), number, &result)
            }
        }
        try write(original)
        return result
    }

    /// Gives the folder another name for one command.
    private func rename(_ odd: String, _ number: Int, _ result: inout Result) throws {
        // What separates the arguments of the server, and what no name has.
        let name = "n" + odd.filter { !"\t\n\r\n/\0".contains($0) }
        guard name.utf8.count < 200, !folder(name).pathExists,
            !name.unicodeScalars.contains(where: { "\t\n\r/\0".unicodeScalars.contains($0) })
        else { return result.mutations += 1 }
        let manager = FileManager.default
        try manager.moveItem(atPath: folder("NAME"), toPath: folder(name))
        defer { try? manager.moveItem(atPath: folder(name), toPath: folder("NAME")) }
        var named = target
        named.commands = target.commands.map { $0.map { $0.replacing("NAME", with: name) } }
        try step(original, named, number, &result)
    }

    private func step(_ bytes: [UInt8], _ number: Int, _ result: inout Result) throws {
        try write(bytes)
        try step(bytes, target, number, &result)
    }

    private func write(_ bytes: [UInt8]) throws {
        try Data(bytes).write(to: URL(fileURLWithPath: folder(target.file)))
    }

    private static func removeLeavings(_ target: MutationTarget, _ folder: TemporaryFolder) {
        for name in target.leavings { try? FileManager.default.removeItem(atPath: folder(name)) }
    }

    private func step(
        _ bytes: [UInt8], _ target: MutationTarget, _ number: Int, _ result: inout Result
    ) throws {
        let index = number % target.commands.count
        Self.removeLeavings(target, folder)
        let outcome = try server.run(
            target.commands[index],
            newBytes: allowance(max(bytes.count, original.count)) + target.fixedBytes)
        result.mutations += 1
        result.slowestSeconds = max(result.slowestSeconds, outcome.seconds)
        let newResident = outcome.residentBytes - idleResidentBytes
        result.peakNewResidentBytes = max(result.peakNewResidentBytes, newResident)
        result.exitCodes[outcome.code.map { "\($0)" } ?? "signal \(outcome.signal)", default: 0] +=
            1
        var finding: String?
        if let code = outcome.code {
            if newResident > allowance(max(bytes.count, original.count)) {
                result.overAllocations += 1
                finding = "\(newResident) bytes resident"
            } else if let fault = try fault(outcome, code, target.commands[index]) {
                result.otherFindings += 1
                finding = fault
            }
        } else if [SIGXCPU, SIGKILL, SIGALRM].contains(outcome.signal) {
            result.hangs += 1
            finding = "no end within 2 s"
        } else {
            // Memory refused by RLIMIT_DATA ends here, too.
            result.crashes += 1
            finding = "signal \(outcome.signal): \(outcome.talk.suffix(400))"
        }
        if let finding, result.findings.count < 20 {
            let command = target.commands[index].joined(separator: " ")
            result.findings.append("\(number): \(command): \(finding)")
            if let keep = ProcessInfo.processInfo.environment["SANA_MUTATIONS_KEEP"] {
                let name = "\(keep)/\(target.name.replacing(" ", with: "-"))-\(number)"
                try Data(bytes).write(to: URL(fileURLWithPath: name))
            }
        }
    }

    /// The one result of a command that writes JSON.
    private static func json(_ outcome: CommandServer.Outcome) -> JSONValue {
        let document = try? JSONScanner.parse(String(decoding: outcome.output, as: UTF8.self))
        return document?["results"]?.array?.first ?? .null
    }

    /// What is wrong with how a command ended; `nil` when it is right.
    private func fault(
        _ outcome: CommandServer.Outcome, _ code: Int32, _ command: [String]
    ) throws -> String? {
        let isRefusal = code == 65 || code == 66 || target.codes.contains(code)
        guard isRefusal || [0, 1, 3].contains(code) else {
            return "exit code \(code): \(outcome.talk.prefix(400))"
        }
        // Names drive no terminal.
        let shown = outcome.talk + String(decoding: outcome.output, as: UTF8.self)
        if let scalar = shown.unicodeScalars.first(where: { $0.isHidden && $0 != "\n" }) {
            return "shows \(scalar.escape) as it is"
        }
        let errors = outcome.talk.components(separatedBy: "sana-tools: error: ").count - 1
        if isRefusal {
            guard errors == 1 || target.namesSeveral && errors > 0, outcome.talk.utf8.count < 6000,
                outcome.talk.utf8.allSatisfy({ $0 < 0x7F && $0 >= 0x20 || $0 == 10 || $0 > 0x7F })
            else {
                return "exit code \(code) with \(errors) errors: \(outcome.talk.prefix(400))"
            }
            for noise in ["Optional(", "Swift.", "GRDB.", "Foundation.", "NSError", "Error("]
            where outcome.talk.contains(noise) { return "\(noise) in \(outcome.talk.prefix(400))" }
            // What is absent is told by its own name; weights that do not fit by that of their
            // folder, and those whose configuration no longer explains them by theirs.
            let names = [
                (target.file as NSString).lastPathComponent, "error: m: ",
                "error: m/w.safetensors: ",
            ]
            guard code != 65 || target.isNamed || names.contains(where: outcome.talk.contains)
            else {
                return "does not name the file: \(outcome.talk.prefix(400))"
            }
            return nil
        }
        if code == 0, errors > 0 { return "ends well with an error: \(outcome.talk.prefix(400))" }
        if command.contains("json"),
            (try? JSONScanner.parse(String(decoding: outcome.output, as: UTF8.self))) == nil
        {
            return "exit code \(code) and no JSON: \(outcome.talk.prefix(400))"
        }
        if let name = target.mustRestore, code == 0, command.contains(name),
            try fileBytes(folder(name)) != restored
        {
            return "restored another content"
        }
        // Where every entry has the sum it should have, the weights are those that were stored.
        let json = Self.json(outcome)
        if code == 0, let weightsDigest, command[0] == "digest", json["verdict"]?.string == "pass",
            json["weights_digest"] != weightsDigest
        {
            return "finds other weights and no damage"
        }
        return nil
    }
}
