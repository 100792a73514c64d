import Foundation
import SanaModel
import SanaTestSupport
import Testing

/// The validator of libxml2.
private enum Xmllint {
    static let path = "/usr/bin/xmllint"
    static var isPresent: Bool { FileManager.default.isExecutableFile(atPath: path) }
}

/// What `verify --junit` writes against the schema of CI systems' readers, `fixtures/junit.xsd`.
@Suite(
    .tags(.process), .enabled(if: Xmllint.isPresent, "xmllint of libxml2-utils is not installed"))
struct JUnitSchemaTests {
    private let program: BuiltProgram
    private let golden = "fixtures/goldens/tiny-plain.safetensors"

    init() throws { program = try BuiltProgram() }

    /// What the validator says of a document; empty where it is valid.
    private func complaints(_ file: String) throws -> String {
        let process = try program.launch(
            ["--noout", "--nonet", "--schema", Fixtures.path + "/junit.xsd", file],
            program: Xmllint.path)
        let outcome = try program.finish(process)
        return outcome.code == 0 ? "" : outcome.talk
    }

    private func text(_ file: String) throws -> String {
        String(decoding: try fileBytes(program.folder(file)), as: UTF8.self)
    }

    private func check(
        _ arguments: [String], code: Int32, contains part: String
    ) throws {
        let outcome = try program.run(["verify", "--junit", "v.xml", "--no-record"] + arguments)
        #expect(outcome.code == code, "\(outcome.talk)")
        #expect(try complaints("v.xml") == "", "\(arguments)")
        #expect(try text("v.xml").contains(part), "\(arguments)")
    }

    @Test func everyVerdictIsValid() throws {
        let model = "fixtures/tiny/plain"
        try check([model, "--reference", golden], code: 0, contains: "value=\"pass\"")
        try check(
            [model, "--reference", golden, "--tolerance", "0"], code: 1, contains: "<failure ")
        try check(
            [model, "--reference", "fixtures/goldens/sana-digits-b1-t1.safetensors"], code: 1,
            contains: "name=\"contract.stale\"")
        try program.writeRoundedGolden("rounded.safetensors")
        try check(
            [model, "--reference", "rounded.safetensors", "--tolerance", "2e-3"], code: 3,
            contains: "<error type=\"inconclusive\"")
        try program.folder.write("bad.safetensors", Array("<html>".utf8))
        try check(
            ["bad.safetensors", model, "--reference", golden, "--reference", "bad.safetensors"],
            code: 65, contains: "<error type=\"badData\"")
        try check(
            [
                "fixtures/sana-digits", "--trajectory",
                "fixtures/trajectories/sana-digits-dpm-short-3.safetensors",
            ], code: 0, contains: "name=\"latents.0\"")
    }

    @Test(arguments: [
        "]]><x>", "\"'&amp;&<>\"", "\u{1}\u{1F}\u{7F}\t\n\r", "]]>", "<!--", "\u{FFFE}é𝛼", " ",
    ])
    func namesOfStrangersKeepTheDocumentValid(_ name: String) throws {
        try FileManager.default.createSymbolicLink(
            atPath: program.folder("m" + name), withDestinationPath: Fixtures.path + "/tiny/plain")
        try FileManager.default.createSymbolicLink(
            atPath: program.folder(name + ".safetensors"),
            withDestinationPath: Fixtures.path + "/goldens/tiny-plain.safetensors")
        try check(
            ["m" + name, "--reference", name + ".safetensors"], code: 0, contains: "<testcase ")
        try program.folder.write("b" + name + ".safetensors", Array("]]>".utf8))
        try check(
            ["b" + name + ".safetensors", "--reference", golden], code: 65, contains: "<error ")
    }

    /// A schema that takes everything would show nothing.
    @Test func schemaRefusesWhatReadersRefuse() throws {
        let outcome = try program.run(
            "verify", "fixtures/tiny/plain", "--reference", golden, "--tolerance", "0", "--junit",
            "v.xml", "--no-record")
        #expect(outcome.code == 1)
        let valid = try text("v.xml")
        for (old, new) in [
            (" classname=\"", " class=\""), ("<testsuite package", "<suite package"),
            ("</testsuite>", "<testcase/></testsuite>"), (" tests=\"", " tests=\"x"),
            ("</failure>", "</failure><failure/>"), (" hostname=\"localhost\"", ""),
            ("\" hostname", "Z\" hostname"), ("<system-out>", "<system-out><b/>"),
        ] {
            let broken = valid.replacingOccurrences(of: old, with: new)
            #expect(broken != valid)
            try program.folder.write("broken.xml", Array(broken.utf8))
            #expect(try complaints("broken.xml") != "", "\(old) → \(new)")
        }
    }
}

extension BuiltProgram {
    /// Writes the golden of `tiny/plain` as if its output had been computed in bfloat16.
    func writeRoundedGolden(_ name: String) throws {
        var builder = try SafetensorsBuilder(
            copying: Fixtures.path + "/goldens/tiny-plain.safetensors"
        ) { tensor, stored in
            var bytes = stored
            if tensor.name == "outputs.sample" {
                for index in bytes.indices where index % 4 < 2 { bytes[index] = 0 }
                for index in bytes.indices where index % 4 == 2 { bytes[index] &= 0xFC }
            }
            return (tensor.name, tensor.shape, bytes)
        }
        builder.replaceInContract(
            #""compute_dtype":"float32""#, #""compute_dtype":"bfloat16""#)
        try folder.write(name, builder.file)
    }
}
