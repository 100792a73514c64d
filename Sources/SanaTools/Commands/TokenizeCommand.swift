import ArgumentParser
import Foundation
import SanaModel
import SanaWorkbench

/// `sana-tools tokenize`
struct TokenizeCommand: QuietableCommand {
    static let configuration = CommandConfiguration(
        commandName: "tokenize",
        abstract: "Show the token ids of a text, matching Hugging Face's tokenizers.",
        discussion: """
            Encodes the text exactly as given and adds special tokens. Nothing is lower-cased or \
            trimmed, and special tokens inside the text are recognized. With --pipeline, encodes \
            it as SanaPipeline does: lower-cased, stripped, placed after the complex human \
            instruction, and truncated to what the text encoder gets.

            MODEL is a Sana repository, a tokenizer directory or a tokenizer.json. Exits with 65 \
            if the tokenizer is of another kind or the text is not UTF-8, and with 66 if the file \
            does not exist.

            EXAMPLES
              sana-tools tokenize path/to/repo --prompt "a cyberpunk cat"
              sana-tools tokenize path/to/repo --prompt "A cat" --pipeline --format json
              sana-tools tokenize tokenizer.json --text-file prompt.txt
              git log -1 --format=%B | sana-tools tokenize org/name --text-file -
            """)

    @Argument(
        help: ArgumentHelp(
            "Sana repository, tokenizer directory or tokenizer.json.", valueName: "model"),
        completion: .file())
    var model: String

    @Option(help: ArgumentHelp("Text to encode.", valueName: "text"))
    var prompt: String?

    @Option(
        help: ArgumentHelp("File with the text to encode; - reads stdin.", valueName: "file"),
        completion: .file())
    var textFile: String?

    @Flag(help: "Encode the text as SanaPipeline encodes a prompt.")
    var pipeline = false

    @OptionGroup var format: FormatOption
    @OptionGroup var verbosity: VerbosityOptions

    func validate() throws {
        guard (prompt == nil) != (textFile == nil) else {
            throw ValidationError("give either --prompt or --text-file")
        }
    }

    func run() throws {
        let tokenizer = try Tokenizer.open(ModelPath.resolve(model))
        let text = try prompt ?? TextFile.read(textFile ?? "-")
        let tokens =
            pipeline ? try PromptEncoder.tokens(text, PromptOptions(), tokenizer) : nil
        let report = TokenizeReport(
            ids: tokens?.ids ?? tokenizer.encode(text), tokens: tokens, tokenizer: tokenizer)
        try format.show(
            ResultDocument(.tokenize, report.json), text: report.table.text,
            markdown: report.table.markdown)
    }
}

/// Text that a user gives in a file.
enum TextFile {
    private static let maximumByteCount = 64 << 20

    /// - Parameter path: `-` for stdin.
    /// - Throws: `FileError`; `BadDataError` for bytes that are not UTF-8, or too many.
    static func read(_ path: String) throws -> String {
        let (bytes, name) =
            path == "-" ? (try standardInput(), "stdin") : (try ByteView(mapping: path), path)
        guard bytes.count <= maximumByteCount else {
            throw BadDataError(
                file: name, reason: "text is larger than \(maximumByteCount >> 20) MiB")
        }
        guard let text = bytes.withUnsafeBytes({ String(validating: $0, as: UTF8.self) }) else {
            throw BadDataError(
                file: name, reason: "text is not UTF-8",
                remedy: "convert it, for example with iconv")
        }
        return text
    }

    private static func standardInput() throws -> ByteView {
        var data = Data()
        do {
            while data.count <= maximumByteCount,
                let part = try FileHandle.standardInput.read(upToCount: 1 << 20), !part.isEmpty
            {
                data += part
            }
        } catch { throw FileError(.read, "stdin", code: EIO) }
        return ByteView(data)
    }
}
