import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// `--format json` of every command against its schema in docs/reference/schemas.
@Suite(.tags(.process)) struct ResultDocumentTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    /// Expects what a command prints to be as its schema says, and returns the first result.
    @discardableResult private func check(
        _ kind: ResultDocument.Kind, code: Int32 = 0, count: Int? = nil, _ arguments: [String],
        sourceLocation: SourceLocation = #_sourceLocation
    ) throws -> JSONValue? {
        let outcome = try program.run(arguments + ["--format", "json"])
        #expect(outcome.code == code, "\(outcome.talk)", sourceLocation: sourceLocation)
        let document = try #require(outcome.document, sourceLocation: sourceLocation)
        let schema = try JSONSchema(kind)
        #expect(schema.complaints(document) == [], sourceLocation: sourceLocation)
        if let count {
            #expect(document["results"]?.array?.count == count, sourceLocation: sourceLocation)
        }
        return document["results"]?.array?.first
    }

    private static let plain = "fixtures/tiny/plain"
    private static let golden = "fixtures/goldens/tiny-plain.safetensors"

    @Test("inspect and digest")
    func inspections() throws {
        try check(.inspect, count: 1, ["inspect", Self.plain, "--stats", "--digest"])
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/tiny/plain", toPath: program.folder("m"))
        try program.folder.write("m/pytorch_model.bin", [1])
        try check(.inspect, code: 1, ["inspect", "m", "--strict"])
        try check(.inspect, ["inspect", "fixtures/sana-digits", "--deep"])
        try check(
            .inspectRules, count: LintRule.table.count, ["inspect", "--list-rules"])
        try check(.digest, count: 1, ["digest", Self.plain])
        try check(.error, code: 66, count: 0, ["digest", "nowhere"])
        try check(.error, code: 64, count: 0, ["digest", "--nonsense"])
    }

    @Test("convert, unpack and diff")
    func conversions() throws {
        let convert = ["convert", Self.plain, "--dtype", "int8"]
        try check(.convert, count: 2, convert + ["--dtype", "fp16", "--output", "archives"])
        let archive = "archives/plain-int8.safetensors.zst"
        try check(.inspect, count: 1, ["inspect", archive])
        try check(.digest, count: 1, ["digest", archive])
        try check(
            .convert, count: 1,
            ["convert", "fixtures/sana-digits", "--dtype", "fp16", "--output", "repo"])
        try check(
            .convert, count: 1,
            ["convert", "fixtures/pipelines/sana", "--dtype", "fp16", "--output", "whole"])
        try check(.convertPlan, count: 1, convert + ["--dry-run"])
        try check(
            .convertPlan, count: 1,
            ["convert", "fixtures/sana-digits", "--dtype", "int8", "--output", "new", "--dry-run"])
        try check(.convertTensor, count: 1, convert + ["--explain", "proj_out.weight"])
        try check(
            .convertGGUF, count: 1,
            convert + ["--container", "gguf", "--output", "model-Q8_0.gguf"])
        try check(.unpack, count: 1, ["unpack", archive, "--output", "unpacked"])
        try check(.diff, code: 1, count: 1, ["diff", Self.plain, archive])
    }

    @Test("verify and tune")
    func verifications() throws {
        let verify = ["verify", Self.plain, "--reference", Self.golden]
        try check(.verify, count: 1, verify)
        try check(.verify, count: 1, verify + ["--gate"])
        try check(.verify, code: 1, count: 1, verify + ["--tolerance", "0", "--isolated"])
        try check(.verify, code: 66, count: 2, verify + ["nowhere"])
        try check(
            .verify, code: 0, count: 1,
            [
                "verify", "fixtures/tiny/sprint", "--trajectory",
                "fixtures/trajectories/tiny-sprint-scm-2.safetensors",
            ])
        try check(
            .verify, count: 1,
            [
                "verify", "fixtures/pipelines/sana", "--reference",
                "fixtures/pipelines/sana.safetensors",
            ])
        try check(
            .tune, count: 1,
            ["tune", Self.plain, "--reference", Self.golden, "--tolerance", "0.5"])
        try check(
            .tune, count: 1,
            [
                "tune", "fixtures/pipelines/sprint", "--reference",
                "fixtures/pipelines/sprint.safetensors", "--psnr", "20",
            ])
    }

    @Test("profile and history")
    func runs() throws {
        let profile = ["profile", Self.plain, "--latent", "2x2", "--repeat", "5"]
        try check(.profile, count: 1, profile)
        try check(.profile, code: 3, count: 1, profile + ["--gate"])
        try check(.profile, count: 2, profile + [Self.plain])
        try check(
            .profileAgainst, code: 3, count: 1,
            ["profile", Self.plain, "--latent", "2x2", "--against", Self.plain, "--pairs", "2"])
        try check(
            .profilePipeline, count: 1,
            [
                "profile", "fixtures/pipelines/sprint", "--pipeline", "--repeat", "1", "--warmup",
                "0", "--no-record",
            ])
        try check(.historyList, count: 5, ["history", "list"])
        try check(.historyList, count: 1, ["history", "list", "--limit", "1"])
        try check(.historyShow, count: 1, ["history", "show"])
        try check(.historyGate, code: 3, count: 1, ["history", "gate"])
        try check(.historyCompare, count: 1, ["history", "compare", "1", "2"])
        #expect(try program.run("history", "baseline", "set", "release").code == 0)
        try check(.baselineList, ["history", "baseline", "list"])
    }

    @Test("lora, sample and tokenize")
    func others() throws {
        try check(
            .loraMerge, count: 1,
            [
                "lora", "merge", "fixtures/lora/style.safetensors", "--model",
                Self.plain, "--output", "merged.safetensors",
            ])
        #expect(
            try program.run(
                "convert", Self.plain, "--dtype", "fp32", "--lora",
                "fixtures/lora/style.safetensors", "--output", "tuned.safetensors.zst"
            ).code == 0)
        try check(
            .loraExtract, count: 1,
            [
                "lora", "extract", "tuned.safetensors.zst", Self.plain, "--rank", "4",
                "--output", "extracted.safetensors",
            ])
        try check(
            .sample, count: 1,
            [
                "sample", "fixtures/pipelines/sprint", "--prompt", "A cat", "--size", "64x64",
                "--steps", "1", "--output", "out.png",
            ])
        let tokenize = ["tokenize", "fixtures/tokenizer", "--prompt", "A cat"]
        try check(.tokenize, count: 1, tokenize)
        try check(.tokenize, count: 1, tokenize + ["--pipeline"])
    }

    @Test func kernelsAreMeasuredInEveryWay() throws {
        let result = try check(.kernels, count: 1, ["kernels", "--repeat", "1"])
        let products = try #require(result?["products"]?.array)
        #expect(products.count == 6)
        for product in products {
            let rates = product["gflops"]?.members ?? []
            #expect(rates.map(\.key) == ["fp32", "bf16", "fp16", "w8a16", "w8a8", "bf16_compute"])
            #expect(rates.allSatisfy { ($0.value.double ?? 0) > 0 })
            #expect((product["blas_gflops"]?.double ?? 0) > 0)
            #expect((product["peak_gflops"]?.double ?? 0) > 0)
            #expect((product["bf16_peak_gflops"]?.double ?? 0) > 0)
            #expect((product["int8_peak_gops"]?.double ?? 0) > 0)
        }
        #expect((result?["passes"]?.array ?? []).count == 4)
    }

    @Test("nightly and doctor")
    func nights() throws {
        try program.folder.write(
            ProjectFile.name, Array("model: \(Self.plain)\nresolution: 64\n".utf8))
        try check(.nightly, code: 3, count: 1, ["nightly", "--repeat", "2"])
        try check(.doctor, count: 1, ["doctor"])
    }

    @Test("json-v1 has one result by itself, several as an array, and lists as arrays")
    func version1() throws {
        func run(_ arguments: [String]) throws -> JSONValue {
            try #require(program.run(arguments + ["--format", "json-v1"]).document)
        }
        let verify = ["verify", Self.plain, "--reference", Self.golden]
        #expect(try run(verify)["verdict"]?.string == "pass")
        #expect(try run(verify + [Self.plain]).array?.count == 2)
        #expect(try run(["history", "list", "--limit", "1"]).array?.count == 1)
        let error = try run(["inspect", "nowhere"])
        #expect(error.members?.map(\.key) == ["error"])
    }

    @Test("every kind of result has a schema of its own name, and no other is there")
    func schemas() throws {
        let names = try JSONSchema.folder.folderEntries()
        #expect(
            names.sorted()
                == ResultDocument.Kind.allCases.map { "\($0.rawValue).schema.json" }.sorted())
        for kind in ResultDocument.Kind.allCases {
            #expect(try JSONSchema(kind).document["$id"]?.string == kind.schema)
        }
    }

    @Test("the check of schemas finds what is absent, unknown or of another type")
    func checker() throws {
        let schema = try JSONSchema(.doctor)
        func complaints(_ result: String) throws -> Int {
            let text = "{\"schema\":\"sana-tools/doctor/2\",\"results\":[\(result)]}"
            return schema.complaints(try JSONScanner.parse(text)).count
        }
        #expect(try complaints(#"{"verdict":"pass","version":"1","checks":[]}"#) == 0)
        #expect(try complaints(#"{"verdict":"good","version":"1","checks":[]}"#) == 1)
        #expect(try complaints(#"{"verdict":"pass","version":1,"checks":[]}"#) == 1)
        #expect(try complaints(#"{"verdict":"pass","checks":[]}"#) == 1)
        #expect(try complaints(#"{"verdict":"pass","version":"1","checks":[],"x":1}"#) == 1)
        #expect(try complaints(#"{"verdict":"pass","version":"1","checks":[{"x":1}]}"#) == 6)
    }
}

/// As much of JSON Schema as docs/reference/schemas uses. Readers accept fields that they do not
/// know; here these are complaints, so that every field is documented.
private struct JSONSchema {
    static let folder = Fixtures.path + "/../docs/reference/schemas"
    let document: JSONValue

    init(_ kind: ResultDocument.Kind) throws {
        let path = Self.folder + "/\(kind.rawValue).schema.json"
        document = try JSONScanner.parse(String(decoding: try fileBytes(path), as: UTF8.self))
    }

    func complaints(_ value: JSONValue) -> [String] { complaints(value, document, "$") }

    private func complaints(_ value: JSONValue, _ schema: JSONValue, _ path: String) -> [String] {
        if let reference = schema["$ref"]?.string {
            let name = reference.replacing("#/$defs/", with: "")
            guard let found = document["$defs"]?[name] else { return ["\(path): no \(reference)"] }
            return complaints(value, found, path)
        }
        if let choices = schema["anyOf"]?.array {
            let each = choices.map { complaints(value, $0, path) }
            return each.min { $0.count < $1.count } ?? []
        }
        var result: [String] = []
        if let types = schema["type"].map({ $0.array ?? [$0] })?.compactMap(\.string),
            !types.contains(where: { value.isOf($0) })
        {
            result.append("\(path): not of type \(types)")
        }
        if let values = schema["enum"]?.array ?? schema["const"].map({ [$0] }),
            !values.contains(value)
        {
            result.append("\(path): not one of the values")
        }
        if let items = value.array { result += complaints(items: items, schema, path) }
        if let members = value.members { result += complaints(members: members, schema, path) }
        return result
    }

    private func complaints(
        items: [JSONValue], _ schema: JSONValue, _ path: String
    ) -> [String] {
        var result: [String] = []
        if items.count < schema["minItems"]?.int ?? 0
            || items.count > schema["maxItems"]?.int ?? .max
        {
            result.append("\(path): \(items.count) items")
        }
        guard let each = schema["items"] else { return result }
        return result
            + items.enumerated().flatMap { complaints($0.element, each, "\(path)[\($0.offset)]") }
    }

    private func complaints(
        members: [JSONValue.Member], _ schema: JSONValue, _ path: String
    ) -> [String] {
        let required = (schema["required"]?.array ?? []).compactMap(\.string)
        var result = required.filter { name in !members.contains { $0.key == name } }
            .map { "\(path): no \($0)" }
        guard let properties = schema["properties"] ?? schema["additionalProperties"] else {
            return result
        }
        for member in members {
            let own = schema["properties"] == nil ? properties : properties[member.key]
            result +=
                own.map { complaints(member.value, $0, "\(path).\(member.key)") }
                ?? ["\(path).\(member.key): not in the schema"]
        }
        return result
    }
}

extension JSONValue {
    fileprivate func isOf(_ type: String) -> Bool {
        switch (type, self) {
        case ("null", .null), ("string", .string), ("boolean", .bool), ("array", .array),
            ("object", .object), ("number", .number):
            true
        case ("integer", .number(let digits)): Int(digits) != nil
        default: false
        }
    }
}
