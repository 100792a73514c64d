import Foundation
import SanaTestSupport
import Testing

/// Where memory is short a command ends, and says so: it neither waits for ever nor is ended by a
/// signal.
@Suite(.tags(.process)) struct LittleMemoryTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    private static let model = "fixtures/sana-digits"
    private static let commands: [[String]] = [
        ["inspect", model], ["inspect", model, "--stats"], ["digest", model],
        ["convert", model, "--dtype", "int8", "--output", "x.safetensors.zst", "--force"],
        [
            "verify", model, "--reference", "fixtures/goldens/sana-digits-b1-t1.safetensors",
            "--no-record",
        ],
        ["profile", model, "--repeat", "1", "--no-record"], ["diff", model, model],
    ]

    /// Those that multiply with OpenBLAS.
    private static let products: [[String]] = [
        [
            "verify", "fixtures/tiny/plain", "--reference",
            "fixtures/goldens/tiny-plain.safetensors", "--no-record", "--kernels", "portable",
        ],
        [
            "convert", "fixtures/tiny/plain", "--lora", "fixtures/lora/style.safetensors",
            "--dtype", "bf16", "--output", "l.safetensors.zst", "--force",
        ],
    ]

    /// Kilobytes of address space. Below the least the program itself cannot be loaded.
    @Test(arguments: [60, 90, 120, 140, 160, 180, 200, 230, 260, 300, 400, 600, 1000])
    func everyCommandEnds(megabytes: Int) throws {
        for command in Self.commands + Self.products {
            let limits = "ulimit -c 0; ulimit -v \(megabytes)000"
            let process = try program.launch(
                [
                    "-c", "\(limits); exec timeout -s KILL 60 \"$0\" \"$@\"", program.binary.path,
                ] + command, program: "/bin/bash")
            let outcome = try program.finish(process)
            // 127 is the loader's, which says which library it could not map.
            #expect(
                [0, 70, 74, 127].contains(outcome.code),
                "\(megabytes) MB: \(command): \(outcome.code) \(outcome.talk.suffix(300))")
            if outcome.code != 0 { #expect(!outcome.talk.isEmpty) }
            if outcome.code == 74 { #expect(outcome.talk.contains("memory")) }
        }
    }

    /// Everything but one large allocation fits into the limit; the error must state its size.
    @Test("what asks for more memory than there is says how much")
    func largeAllocation() throws {
        let process = try program.launch(
            [
                "-c", "ulimit -c 0; ulimit -v 1500000; exec \"$0\" \"$@\"", program.binary.path,
                "profile", Self.model, "--latent", "2048x1024", "--repeat", "1", "--no-record",
            ], program: "/bin/bash")
        let outcome = try program.finish(process)
        #expect(outcome.code == 74, "\(outcome.talk.suffix(300))")
        #expect(outcome.talk.contains("not enough memory"))
        #expect(outcome.talk.contains("bytes were asked for"), "\(outcome.talk.suffix(300))")
    }

    /// It maps 128 MiB for each thread, and waits for ever where it does not get them.
    @Test(
        "OpenBLAS is loaded where a product needs it, and nowhere else",
        .enabled(if: FileManager.default.fileExists(atPath: "/proc/self/maps"), "no /proc here"))
    func openBLASIsLoadedWhereItIsNeeded() throws {
        // glibc's loader then names every library that it loads.
        func isLoaded(_ command: [String]) throws -> Bool {
            let outcome = try program.finish(
                program.launch(command, environment: ["LD_DEBUG": "files"]))
            #expect(outcome.code == 0, "\(command): \(outcome.talk.suffix(300))")
            #expect(outcome.talk.contains("libzstd"), "\(command)")
            return outcome.talk.contains("libopenblas")
        }
        for command in Self.commands where !["verify", "profile"].contains(command[0]) {
            #expect(try !isLoaded(command), "\(command)")
        }
        for command in Self.products { #expect(try isLoaded(command), "\(command)") }
    }
}
