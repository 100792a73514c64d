import ArgumentParser
import CSignalCleanup
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

/// `sana-tools`
struct SanaToolsCommand: ParsableCommand {
    static let configuration = CommandConfiguration(
        commandName: "sana-tools",
        abstract: "Inspect, convert, verify and profile Sana checkpoints, without PyTorch.",
        discussion: """
            Answers three questions every night: is this checkpoint intact, did conversion \
            preserve its values, and did it get slower?

            MODEL is a diffusers repository, a component directory, a .safetensors file, an \
            archive (.safetensors.zst), an NVlabs original (.pth), a pipeline in one file (.dduf), \
            or org/name[@revision] in the local Hugging Face cache (HF_HUB_CACHE, HF_HOME). Models \
            are never downloaded. Without MODEL, commands read sana-tools.yaml from the current \
            directory or a parent.

            EXAMPLES
              sana-tools inspect path/to/repo
              sana-tools inspect org/name@main
              sana-tools convert path/to/repo --dtype int8 --output archives
              sana-tools verify repo-int8.safetensors.zst --reference golden.safetensors
              sana-tools profile path/to/repo --size 1024
              sana-tools diff path/to/repo repo-int8.safetensors.zst --tolerance 2e-2
              sana-tools sample path/to/repo --prompt "a cat" --output cat.png
              sana-tools history list

            EXIT CODES
              0   success
              1   a check failed
              3   inconclusive
              64  usage error
              65  bad data
              66  input not found
              69  Python packages are missing (capture)
              70  internal error
              73  cannot create output
              74  input/output error
            """,
        version: ToolVersion.text,
        subcommands: [
            InspectCommand.self, DigestCommand.self, ConvertCommand.self, UnpackCommand.self,
            DiffCommand.self, VerifyCommand.self, TuneCommand.self, ProfileCommand.self,
            HistoryCommand.self,
            LoraCommand.self, CaptureCommand.self, SampleCommand.self, TokenizeCommand.self,
            KernelsCommand.self, NightlyCommand.self, InitCommand.self, DoctorCommand.self,
        ])
}

extension SanaToolsCommand {
    /// Reports an unknown command, and suggests the closest name.
    ///
    /// - Throws: `UsageError`.
    static func checkName(_ arguments: [String]) throws {
        var (command, path): (any ParsableCommand.Type, String) = (Self.self, "sana-tools")
        for (depth, name) in arguments.enumerated() {
            let children = command.configuration.subcommands
            guard !children.isEmpty, !name.hasPrefix("-"), depth > 0 || name != "help" else {
                return
            }
            if let child = children.first(where: { $0._commandName == name }) {
                (command, path) = (child, path + " " + name)
                continue
            }
            let names = children.map { $0._commandName }
            throw UsageError(
                "unknown command '\(name.printable)'\(depth > 0 ? " of '\(path)'" : "")",
                remedy: name.nearest(in: names).map {
                    "did you mean '\($0)'? '\(path) --help' lists all"
                } ?? "'\(path) --help' lists the commands")
        }
    }

    /// The names of files are bytes, and text here: a name that is not UTF-8 would be another one
    /// when it is opened.
    ///
    /// - Throws: `UsageError`.
    static func checkEncoding() throws {
        for index in 1..<max(Int(CommandLine.argc), 1) {
            guard let argument = CommandLine.unsafeArgv[index],
                String(validatingCString: argument) == nil
            else { continue }
            throw UsageError(
                "argument '\(String(cString: argument).printable)' is not valid UTF-8",
                remedy: "rename the file, or give a symlink to it (ln -s) with another name")
        }
    }

    /// The arguments with a negative number joined to the option before it: for the parser a dash
    /// begins another option, and the number would be told to be missing.
    static func joiningNumbers(_ arguments: [String]) -> [String] {
        var result: [String] = []
        for argument in arguments {
            if argument.hasPrefix("-"), Double(argument) != nil, let option = result.last,
                option.hasPrefix("--"), option.count > 2, !option.contains("="),
                !result.contains("--")
            {
                result[result.count - 1] = option + "=" + argument
            } else {
                result.append(argument)
            }
        }
        return result
    }
}

/// `sana-tools` as a whole process.
package enum Program {
    /// Runs a command line.
    ///
    /// - Parameters:
    ///   - arguments: without the program's name; `nil`: the process's own.
    ///   - perform: runs the command that was parsed.
    package static func run(
        _ arguments: [String]? = nil,
        _ perform: (inout any ParsableCommand) throws -> Void = { try $0.run() }
    ) -> Never {
        // A file-size limit and a closed pipe become errors of the write, with a message and a
        // code.
        signal(SIGXFSZ, SIG_IGN)
        signal(SIGPIPE, SIG_IGN)
        // An interrupted command leaves nothing half-written.
        signal_cleanup_install()
        Notices.listen(ConsoleListener())
        var command: any ParsableCommand
        do {
            if arguments == nil { try SanaToolsCommand.checkEncoding() }
            let arguments = OldSpellings.replaced(
                in: SanaToolsCommand.joiningNumbers(
                    arguments ?? Array(CommandLine.arguments.dropFirst())))
            ErrorDocument.wish.store(
                ErrorDocument.wish(arguments), ordering: .relaxed)
            try SanaToolsCommand.checkName(arguments)
            command = try SanaToolsCommand.parseAsRoot(arguments)
        } catch let error as UsageError {
            fail(error)
        } catch {
            endParsing(error)
        }
        if let command = command as? any QuietableCommand {
            Console.isQuiet.store(command.verbosity.quiet, ordering: .relaxed)
        }
        do {
            try perform(&command)
            end(.success)
        } catch let error as any DiagnosticError {
            fail(error)
        } catch let code as ExitCode {
            end(code)
        } catch let error where SanaToolsCommand.exitCode(for: error) != .failure {
            endParsing(error)
        } catch {
            fail(InternalError("\(error)"))
        }
    }

    /// Reports an error once: annotations are read where messages are.
    private static func fail(_ error: any DiagnosticError) -> Never {
        if ErrorDocument(error).show() != .github { Console.report(error) }
        end(ExitCode(error.category.exitCode))
    }

    /// Shows what the parser has to say: help, or what is wrong with arguments, which a shell may
    /// have made of names of files.
    private static func endParsing(_ error: any Error) -> Never {
        let code = SanaToolsCommand.exitCode(for: error)
        if code == .success { SanaToolsCommand.exit(withError: error) }
        let document = ErrorDocument(
            usage: SanaToolsCommand.message(for: error), code: code.rawValue)
        if document.show() != .github {
            Console.error(
                SanaToolsCommand.fullMessage(for: error).printableLines
                    .replacing(#/^Error: /#, with: ""))
        }
        end(code)
    }

    /// Ends the process at once, all output being written.
    ///
    /// The exit handler of OpenBLAS joins threads that never started where address space is limited
    /// (`ulimit -v`), and would wait forever.
    private static func end(_ code: ExitCode) -> Never { _exit(code.rawValue) }
}
