// libFuzzer on the parsers of untrusted files: `sana-fuzz TARGET CORPUS… [-flag=value …]`.
// An input is good when it is read or refused with a DiagnosticError; everything else is a finding.
import CLibFuzzer
import Foundation
import SanaModel
import SanaQuant
import SanaWorkbench

/// One thread: libFuzzer counts what the thread that calls back covers.
let workers = WorkerPool(threadCount: 1)

/// Reads a safetensors file: the header, and every tensor's bytes.
func readSafetensors(_ content: ByteView) throws {
    let file = try SafetensorsFile(content: content, path: "fuzz.safetensors")
    for tensor in file.tensors { _ = try file.bytes(of: tensor).withUnsafeBytes { $0.first } }
}

/// Reads an archive: table, manifest and header, every tensor by itself and all at once.
func readArchive(_ content: ByteView) throws {
    let archive = try Archive(content: content, path: "fuzz.safetensors.zst")
    for tensor in archive.tensors { _ = try archive.bytes(of: tensor) }
    _ = try archive.resident(using: workers)
    if archive.manifest != nil { try archive.verify(using: workers) }
}

/// Reads a file of torch.save or a DDUF pipeline: the zip file, the pickle, names and
/// configuration.
func readZip(_ content: ByteView) throws {
    let weights = try Checkpoint.weights(content: content, path: "fuzz.pth")
    for tensor in weights.tensors { _ = try weights.bytes(of: tensor).withUnsafeBytes { $0.first } }
    _ = try Checkpoint(content: content, path: "fuzz.pth").config()
}

/// Takes the bytes for the name of a tensor and for a document of JSON: what is read shows nothing
/// hidden and is the same when it is written and read again.
func readNames(_ content: ByteView) throws {
    let text = content.withUnsafeBytes { String(decoding: $0, as: UTF8.self) }
    let shown = text.printable + text.printableLines.split(separator: "\n").joined()
    precondition(!shown.unicodeScalars.contains(where: \.isHidden))
    let key = JSONValue.string(text).text()
    precondition(!key.unicodeScalars.contains(where: \.isHidden))
    let header = Array("{\(key):{\"dtype\":\"U8\",\"shape\":[1],\"data_offsets\":[0,1]}}".utf8)
    let length = (0..<8).map { UInt8(truncatingIfNeeded: header.count >> (8 * $0)) }
    if let file = try? SafetensorsFile(content: ByteView(length + header + [0]), path: "fuzz") {
        precondition(file.tensors.isEmpty || file.tensors[0].name.utf8.elementsEqual(text.utf8))
    }
    let document = try JSONFile.parse(content, path: "fuzz.json")
    let again = try JSONScanner.parse(document.text(indent: 2))
    precondition(again == document)
}

/// Reads a GGUF file: settings, names, and the values of every block.
func readGGUF(_ content: ByteView) throws {
    let weights = try Checkpoint.weights(content: content, path: "fuzz.gguf")
    for tensor in weights.tensors { _ = try weights.bytes(of: tensor).withUnsafeBytes { $0.first } }
}

/// Reads quantized weights as a file describes them that holds its own configuration, and int8 as
/// numbers.
func readEncodings(_ content: ByteView) throws {
    let source = try Checkpoint.weights(content: content, path: "fuzz.safetensors")
    for tensor in source.tensors { _ = try source.bytes(of: tensor) }
    let floats = source.tensors.filter { $0.dtype != .i8 }.map { JSONValue.string($0.name) }
    let settings = JSONValue.object([
        .init("quant_method", .string("sdnq")), .init("quant_conv", .bool(true)),
        .init("modules_to_not_convert", .array(floats)),
    ])
    let model = try Checkpoint(
        unpacking: source, content: content, path: "fuzz.safetensors",
        config: .object([.init("quantization_config", settings)]))
    let decoded = try model.decodingInt8().source
    for tensor in decoded.tensors where tensor.dtype == .f32 {
        _ = try decoded.bytes(of: tensor)
    }
}

/// Reads a tokenizer.json, and takes a text apart with what opens.
func readTokenizer(_ content: ByteView) throws {
    let tokenizer = try Tokenizer(content: content, path: "fuzz.json")
    let ids = tokenizer.encode("a b ab <unk>\u{1F600}a\u{301}\u{0} ▁ab\n")
    precondition(ids.allSatisfy { 0 <= $0 && $0 < tokenizer.count })
    for id in ids { precondition(!tokenizer.piece(id).isEmpty) }
}

/// Reads a history as the commands do, and adds its runs to an empty one: the file and what is next
/// to it stay as they are.
func readHistory(_ content: ByteView) throws {
    let folder = URL(fileURLWithPath: "/dev/shm/sana-fuzz-\(getpid())", isDirectory: true)
    try? FileManager.default.removeItem(at: folder)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let bytes = content.withUnsafeBytes { Data($0) }
    let theirs = folder.appendingPathComponent("theirs")
    let ours = folder.appendingPathComponent("ours")
    try bytes.write(to: theirs)
    var failure: (any Error)?
    for read in [{ try show(theirs.path) }, { try merge(theirs.path, into: ours.path) }] {
        do { try read() } catch { failure = error }
    }
    let after = try ByteView(mapping: theirs.path)
    precondition(after.withUnsafeBytes { $0.elementsEqual(bytes) })
    let names = try FileManager.default.contentsOfDirectory(atPath: folder.path)
    precondition(Set(names).isSubset(of: ["theirs", "ours"]), "\(names)")
    if let failure { throw failure }
}

/// What `history list`, `show`, `gate` and `report` do.
func show(_ path: String) throws {
    let store = try HistoryStore(path: path, creating: false)
    for run in try store.runs(limit: 20) { _ = try store.run(run.joined.id) }
    let outcome = try Gate(store: store).outcome()
    _ = try ReportPage(store: store, outcome: outcome).html()
}

func merge(_ path: String, into ours: String) throws {
    _ = try HistoryStore(path: ours, creating: true).merge(path)
}

/// Reads the config.json of any network, and what a tensor of none but its name asks for.
func readConfigurations(_ content: ByteView) throws {
    let json = try JSONFile.parse(content, path: "fuzz.json")
    let config = try NetworkClass.configuration(json, file: "fuzz.json")
    precondition(!config.summary.isEmpty)
    precondition(config.expectedTensors.all.count < 1 << 20)
}

func attempt(
    _ data: UnsafePointer<UInt8>?, _ count: Int, _ read: (ByteView) throws -> Void
) -> Int32 {
    do {
        try read(ByteView(UnsafeBufferPointer(start: data, count: count)))
    } catch let error as any DiagnosticError {
        precondition(!error.fullMessage.isEmpty)
    } catch {
        preconditionFailure("refused with \(error), which no user can read")
    }
    return 0
}

var count = CommandLine.argc - 1
var arguments = CommandLine.unsafeArgv + 1
var list: UnsafeMutablePointer<UnsafeMutablePointer<CChar>?>? = arguments
switch CommandLine.arguments.dropFirst().first {
case "safetensors":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readSafetensors) }
case "archive":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readArchive) }
case "zip":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readZip) }
case "names":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readNames) }
case "gguf":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readGGUF) }
case "encodings":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readEncodings) }
case "tokenizer":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readTokenizer) }
case "history":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readHistory) }
case "configurations":
    LLVMFuzzerRunDriver(&count, &list) { attempt($0, $1, readConfigurations) }
default:
    fatalError(
        "usage: sana-fuzz safetensors|archive|zip|names|gguf|encodings|tokenizer|history|"
            + "configurations CORPUS… [-flag=value …]")
}
