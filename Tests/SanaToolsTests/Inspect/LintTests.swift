import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaTools
@testable import SanaWorkbench

/// Every rule of the lint with a repository that breaks it; the undamaged ones break none.
struct LintTests {
    /// A repository with one defect, and what must be said of it.
    struct Case: Sendable, CustomTestStringConvertible {
        let rule: LintRule
        /// Fixture below `fixtures/tiny` that becomes the transformer.
        var fixture = "plain"
        /// Where the problem lies.
        let location: String
        /// Words that its users search for.
        var words = ""
        /// Other rules that the same defect breaks.
        var also: Set<LintRule> = []
        let damage: @Sendable (TinyRepository) throws -> Void

        var testDescription: String { rule.rawValue }
    }

    private static let workers = WorkerPool(threadCount: 1)

    private func problems(_ repository: TinyRepository) throws -> [Problem] {
        try Inspector.run(repository.path, options: .init(), workers: Self.workers).problems
    }

    @Test(arguments: LintCases.all)
    func defectIsTold(_ item: Case) throws {
        let repository = try TinyRepository(item.fixture)
        #expect(try problems(repository).filter { $0.rule == item.rule } == [])
        try item.damage(repository)
        let found = try problems(repository)
        let own = found.filter { $0.rule == item.rule }
        #expect(own.contains { $0.location == item.location }, "\(found)")
        #expect(
            item.words.isEmpty || own.contains { $0.message.contains(item.words) }, "\(found)")
        #expect(own.allSatisfy { !$0.remedy.isEmpty && $0.severity == item.rule.entry.severity })
        #expect(Set(found.map(\.rule)) == item.also.union([item.rule]), "\(found)")
    }

    /// Rules about what a pipeline in one file cannot have, and one whose weights are too large.
    private static let foldersOnly: Set<LintRule> = [
        .modelIndexAbsent, .linkDangling, .fileUnreadable, .configReleased, .nameEncoding,
    ]

    /// The same defect in a pipeline of the same files is told in the same way.
    @Test(.tags(.slow), arguments: LintCases.all.filter { !foldersOnly.contains($0.rule) })
    func defectIsToldOfAPipelineInOneFile(_ item: Case) throws {
        let repository = try TinyRepository(item.fixture)
        let file = try repository.packed("whole.dduf")
        #expect(
            try Inspector.run(file, options: .init(), workers: Self.workers).problems.filter {
                $0.rule == item.rule
            } == [])
        try item.damage(repository)
        let expected = try Inspector.run(
            repository.path, options: .init(), workers: Self.workers)
        let found = try Inspector.run(
            repository.packed("damaged.dduf"), options: .init(), workers: Self.workers)
        func facts(_ inspection: Inspection) -> [String] {
            inspection.problems.map { "\($0.id) \($0.location) \($0.message)" }
        }
        #expect(facts(found) == facts(expected))
        #expect(found.components.map(\.name) == expected.components.map(\.name))
        #expect(found.components.map(\.isPresent) == expected.components.map(\.isPresent))
        #expect(found.tensors == expected.tensors)
        #expect(found.config?.summary == expected.config?.summary)
    }

    @Test(
        "a soft cap is only remarked on where it is left out",
        arguments: [
            "4.45.0", "4.47.1", "5.22.0", "5.24.0", "6.0.0", "new", "", "4", "-1.-1",
        ])
    func softCapIsApplied(_ version: String) throws {
        let config = try JSONScanner.parse(LintCases.softCap(version))
        #expect(SoftCapLint.caution(config) == nil)
        let without = try JSONScanner.parse(LintCases.softCap("4.48.0"))
            .setting("attn_logit_softcapping", to: .null)
        #expect(SoftCapLint.caution(without) == nil)
    }

    @Test("a deep inspection binds the tensors of every component")
    func deepInspection() throws {
        let repository = try TinyRepository("plain")
        #expect(try problems(repository) == [])
        var options = Inspection.Options()
        options.isDeep = true
        func deep() throws -> [Problem] {
            try Inspector.run(repository.path, options: options, workers: Self.workers).problems
        }
        let found = try deep()
        #expect(Set(found.map(\.rule)) == [.componentTensors])
        // Both are stand-ins of one tensor.
        #expect(found.contains { $0.location == "vae/config.json" })
        #expect(found.contains { $0.location == "text_encoder/config.json" })
        #expect(found.contains { $0.message.contains("'w' has no place in the network") })
        for name in ["vae", "text_encoder"] { try repository.remove(name) }
        // Whole ones; the golden files beside them are none of their weights.
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/dcae/sana", toPath: repository.folder("vae"))
        try FileManager.default.copyItem(
            atPath: Fixtures.path + "/gemma/plain", toPath: repository.folder("text_encoder"))
        let whole = try deep().filter {
            // The tokenizer is a stand-in, too.
            $0.rule == .componentTensors && !$0.location.hasPrefix("tokenizer/")
        }
        #expect(whole == [], "\(whole.map(\.message))")
    }

    @Test func everyRuleHasACaseAndAnEntry() {
        #expect(LintRule.table.map(\.rule).count == LintRule.allCases.count)
        #expect(Set(LintRule.table.map(\.rule)) == Set(LintRule.allCases))
        let covered = Set(LintCases.all.map(\.rule)).union(ValueLintCases.rules)
            .union([.componentTensors])
        #expect(Set(LintRule.allCases).subtracting(covered) == [])
        for entry in LintRule.table {
            #expect(!entry.what.isEmpty)
            #expect(!entry.remedy.isEmpty)
            #expect(entry.needsValues == entry.rule.rawValue.hasPrefix("value-"))
        }
    }

    /// Names of older diffusers and a lone variant are what these fixtures are made to have.
    @Test(arguments: [
        "plain", "positions", "patch2", "sprint", "qknorm", "bias-affine", "bias-qknorm",
        "odd-sizes", "wide", "sharded", "sharded-bf16", "variants-two", "variant",
        "variant-sharded", "variant-sharded-legacy",
    ])
    func fixturesBreakNoOtherRule(_ name: String) throws {
        let found = try Inspector.run(
            Fixtures.path + "/tiny/" + name, options: .init(), workers: Self.workers)
        let expected: Set<LintRule> =
            switch name {
            case "variant", "variant-sharded": [.variantOnly]
            case "variant-sharded-legacy": [.variantOnly, .nameLegacy]
            default: []
            }
        #expect(Set(found.problems.map(\.rule)) == expected, "\(found.problems)")
        #expect(found.config != nil)
        #expect(!found.tensors.isEmpty)
    }

    @Test func severalDefectsAreToldTogether() throws {
        let repository = try TinyRepository("sharded")
        try repository.remove("transformer/diffusion_pytorch_model-00002-of-00005.safetensors")
        try repository.truncate("transformer/diffusion_pytorch_model-00003-of-00005.safetensors")
        try repository.edit("transformer/config.json", "\"num_layers\": 2", "\"num_layers\": 1")
        try repository.edit("transformer/config.json", "\"dropout\"", "\"drop_out\"")
        let found = try Inspector.run(
            repository.path, options: .init(), workers: Self.workers)
        #expect(
            Set(found.problems.map(\.rule)).isSuperset(of: [
                .shardAbsent, .fileTruncated, .tensorUnexpected, .configUnknownKey,
            ]))
        // What lies in the absent shard is not told of a second time.
        #expect(!found.problems.contains { $0.rule == .tensorMissing }, "\(found.problems)")
    }

    @Test func variantIsChosenAsDiffusersWould() throws {
        let path = Fixtures.path + "/tiny/variants-two"
        var options = Inspection.Options()
        let plain = try Inspector.run(path, options: options, workers: Self.workers)
        #expect(plain.variant == "")
        #expect(plain.variants == ["", "fp16"])
        #expect(plain.tensors.allSatisfy { $0.dtype == .bf16 })
        options.variant = "fp16"
        let half = try Inspector.run(path, options: options, workers: Self.workers)
        #expect(half.tensors.allSatisfy { $0.dtype == .f16 })
        options.variant = "int4"
        #expect(throws: BadDataError.self) {
            try Inspector.run(path, options: options, workers: Self.workers)
        }
    }

    @Test func nothingToInspectIsAnError() throws {
        let folder = try TemporaryFolder()
        #expect(throws: BadDataError.self) {
            try Inspector.run(folder.path, options: .init(), workers: Self.workers)
        }
        #expect(throws: FileError.self) {
            try Inspector.run(folder("none"), options: .init(), workers: Self.workers)
        }
        let page = try folder.write("page.safetensors", Array("<html></html>".utf8))
        #expect(throws: SafetensorsError.self) {
            try Inspector.run(page, options: .init(), workers: Self.workers)
        }
    }
}

/// The lint as its users call it.
@Suite(.tags(.process)) struct LintCommandTests {
    private let program: BuiltProgram

    init() throws { program = try BuiltProgram() }

    @Test func rulesAreListed() throws {
        let json = try program.run("inspect", "--list-rules", "--format", "json")
        let listed = json.json?.array ?? []
        #expect(json.code == 0)
        #expect(
            listed.compactMap { $0["id"]?.string } == LintRule.table.map(\.rule.rawValue))
        // The page of rules is what the table prints.
        let page = URL(fileURLWithPath: Fixtures.path).deletingLastPathComponent()
            .appendingPathComponent("reports/lint.md").path
        let printed = try program.run("inspect", "--list-rules", "--format", "markdown").output
        #expect(String(decoding: try fileBytes(page), as: UTF8.self).contains(printed))
        let text = try program.run("inspect", "--list-rules").output
        #expect(LintRule.allCases.allSatisfy { text.contains($0.rawValue) })
    }

    @Test func warningsFailOnlyWhenStrict() throws {
        let arguments = ["inspect", "fixtures/tiny/variant-sharded-legacy"]
        let kind = try program.run(arguments)
        #expect(kind.code == 0)
        #expect(kind.output.contains("0 errors"))
        let strict = try program.run(arguments + ["--strict", "--format", "json"])
        #expect(strict.code == 1)
        let problem = try #require(strict.json?["problems"]?.array?.first)
        #expect(
            problem.members?.map(\.key) == ["id", "severity", "where", "message", "remedy"])
        #expect(strict.json?["variant"]?.string == "fp16")
        #expect(try program.run("inspect", "fixtures/sana-digits", "--strict").code == 0)
        // A pipeline in one file names components that are not in it.
        let repository = try TinyRepository("plain")
        try repository.remove("vae")
        let file = try repository.packed("pipeline.dduf")
        #expect(try program.run("inspect", file).code == 0)
        let pipeline = try program.run("inspect", file, "--strict")
        #expect(pipeline.code == 1)
        #expect(pipeline.output.contains("component-absent"))
        #expect(pipeline.output.contains("AutoencoderDC"))
        // --digest and the lint go together.
        let digest = try program.run("inspect", "fixtures/sana-digits", "--digest")
        #expect(digest.code == 0)
        #expect(digest.output.contains("digest "))
    }
}

/// Families of released models, told from shapes.
struct FamilyTests {
    private func inspect(_ folder: TemporaryFolder) throws -> Inspection {
        try Inspector.run(folder.path, options: .init(), workers: WorkerPool(threadCount: 1))
    }

    @Test func familyIsNamedInTextAndJSON() throws {
        let item = try ReleasedConfiguration.named("Sprint_0.6B_1024px_diffusers")
        let folder = try TemporaryFolder()
        try folder.write(item, isWhole: false)
        let bare = try inspect(folder)
        #expect(bare.family == "SANA-Sprint 0.6B")
        #expect(bare.released == [item.repository])
        #expect(Set(bare.problems.map(\.rule)) == [.fileTruncated, .configAbsent])
        #expect(bare.json["family"]?.string == "SANA-Sprint 0.6B")
        #expect(bare.text.contains("family SANA-Sprint 0.6B, as in \(item.repository)"))
        try folder.write(item, config: item.json)
        #expect(try inspect(folder).problems == [])
        // A latent of another size is another model of the same family.
        try folder.write(item, config: item.json.setting("sample_size", to: .int(16)))
        let other = try inspect(folder)
        #expect(other.family == "SANA-Sprint 0.6B")
        #expect(other.released == [])
        #expect(other.problems == [])
    }

    /// Every released configuration is clean, and with any of its values changed it is another's.
    @Test func everyKeyOfTheReleasedConfigurationCounts() throws {
        for item in ReleasedConfiguration.all {
            let folder = try TemporaryFolder()
            try folder.write(item, config: item.json)
            let whole = try inspect(folder)
            #expect(whole.problems == [])
            #expect(whole.released.contains(item.repository))
        }
        let changes: [(model: String, key: String, value: JSONValue)] = [
            ("Sprint_0.6B_1024px_diffusers", "timestep_scale", .double(1)),
            ("Sprint_1.6B_1024px_diffusers", "guidance_embeds_scale", .double(0.2)),
            ("4Kpx_BF16_diffusers", "interpolation_scale", .null),
            ("2Kpx_BF16_diffusers", "interpolation_scale", .double(2)),
            ("Sana_1600M_512px_diffusers", "interpolation_scale", .double(1)),
            ("SANA1.5_1.6B_1024px_diffusers", "norm_eps", .double(1e-5)),
            ("Sana_600M_512px_diffusers", "dropout", .double(0.1)),
            ("ControlNet_HED", "interpolation_scale", .double(1)),
        ]
        for (name, key, value) in changes {
            let item = try ReleasedConfiguration.named(name)
            let folder = try TemporaryFolder()
            try folder.write(item, config: item.json.setting(key, to: value))
            let found = try inspect(folder)
            #expect(found.released == [], "\(key)")
            #expect(!found.text.contains(", as in "), "\(key)")
            #expect(found.problems.map(\.rule) == [.configReleased], "\(key): \(found.problems)")
            #expect(found.problems.map(\.location) == [key])
            let released = item.json[key]?.text() ?? ""
            #expect(found.problems.first?.message.contains("it is \(released)") == true)
        }
        // The product alone is in the shapes; heads of another size attend otherwise.
        let item = try ReleasedConfiguration.named("Sana_600M_1024px_diffusers")
        let folder = try TemporaryFolder()
        let heads = item.json.setting("num_attention_heads", to: .int(18))
            .setting("attention_head_dim", to: .int(64))
        try folder.write(item, config: heads)
        #expect(
            try inspect(folder).problems.map(\.location)
                == ["attention_head_dim", "num_attention_heads"])
    }
}
