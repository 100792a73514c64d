import SanaModel

/// What is wrong with the files of a pipeline's component that is not the transformer.
///
/// Sources: the loaders of diffusers 0.42.1 (`config.json`, `scheduler_config.json`, weights called
/// `diffusion_pytorch_model*`) and of transformers (`config.json`, `model*`, `tokenizer.json`).
package struct ComponentLint {
    package private(set) var problems: [Problem] = []
    /// Variants of its weights, the plain one as an empty text.
    package private(set) var variants: [String] = []

    /// Its weights, as far as they can be read.
    package private(set) var files: [PartialFile] = []

    private let component: RepositoryLint.Component
    private let scan: FolderScan

    /// - Parameter pipeline: class that model_index.json is of.
    package init(_ component: RepositoryLint.Component, _ scan: FolderScan, pipeline: String) {
        (self.component, self.scan) = (component, scan)
        checkClass(pipeline)
        let className = component.className
        if className.contains("Scheduler") {
            require("scheduler_config.json")
            checkSavedClass("scheduler_config.json", "_class_name")
        } else if className.contains("Tokenizer") {
            checkTokenizer()
            checkSavedClass("tokenizer_config.json", "tokenizer_class")
        } else if className.contains("Processor") || className.contains("FeatureExtractor") {
            require("preprocessor_config.json")
        } else {
            checkModel()
        }
        checkOtherFiles()
    }

    private mutating func add(_ rule: LintRule, _ name: String, _ message: String) {
        problems.append(Problem(rule, (scan.prefix + name).printable, message.printable))
    }

    // MARK: Files

    /// Files that were read already, or that `WeightFolderLint` reads.
    private var checked = Set<String>()

    /// - Returns: the keys of a JSON file that has to be there; `nil` and a problem where it cannot
    ///   be read.
    @discardableResult
    private mutating func require(_ name: String) -> Set<String>? {
        guard scan.exists(name) else {
            add(.componentFileAbsent, name, "\(component.className) is loaded from this file")
            return nil
        }
        return keys(name)
    }

    private mutating func keys(_ name: String) -> Set<String>? {
        guard checked.insert(name).inserted, !scan.unusable.contains(name) else { return nil }
        do {
            return try JSONFile.keys(scan.content(name), path: scan.file(name))
        } catch let error as any DiagnosticError {
            add(.componentFileInvalid, name, PartialFile.reason(error, scan.file(name)))
        } catch {}
        return nil
    }

    /// Optional settings, and vocabularies: each can be read as what it
    /// is.
    private mutating func checkOtherFiles() {
        for name in scan.files where !checked.contains(name) {
            if name.hasSuffix(".json"), !name.hasSuffix(".index.json"),
                !name.contains(".safetensors.index.")
            {
                _ = keys(name)
            } else if name.hasSuffix(".model"), let content = try? scan.content(name),
                let foreign = ForeignContent(content)
            {
                add(.componentFileInvalid, name, "is \(foreign.description)")
            }
        }
    }

    // MARK: Kinds

    private mutating func checkTokenizer() {
        let settings = "tokenizer_config.json"
        if !scan.exists(settings) {
            problems.append(
                Problem(
                    .tokenizerAbsent, scan.prefix + settings,
                    "is absent, so that the defaults of \(component.className.printable) apply",
                    remedy: "download tokenizer_config.json"))
        }
        let name = "tokenizer.json"
        if scan.exists(name) {
            if let keys = keys(name), !keys.contains("model") {
                add(.componentFileInvalid, name, "holds no \"model\", so no vocabulary")
            }
            return
        }
        let sources = ["tokenizer.model", "spiece.model", "vocab.json", "vocab.txt"]
        guard let source = sources.first(where: scan.exists) else {
            return add(
                .componentFileAbsent, name, "\(component.className) is loaded from this file")
        }
        add(.tokenizerAbsent, name, "is absent, so it has to be made from \(source)")
    }

    private mutating func checkModel() {
        require("config.json")
        checkConfiguredClass()
        let usual =
            component.library == "transformers"
            ? WeightFiles.transformersStem : WeightFiles.stem
        let stem =
            [usual, WeightFiles.stem, WeightFiles.transformersStem].first { stem in
                scan.files.contains { WeightName($0, stem: stem) != nil }
            } ?? usual
        let lint = WeightFolderLint(scan, stem: stem, isModel: false)
        problems += lint.problems
        (variants, files) = (lint.variants, lint.files)
    }

    /// diffusers notes the class in the configuration, and loads by it; transformers its family and
    /// its version.
    private mutating func checkConfiguredClass() {
        let (name, className) = ("config.json", component.className)
        guard let json = document(name) else { return }
        if component.library == "transformers" {
            if let message = SoftCapLint.caution(json) { add(.softCapVersion, name, message) }
            func plain(_ text: String) -> String {
                text.lowercased().filter { $0.isLetter || $0.isNumber }
            }
            guard let family = json["model_type"]?.string else {
                if json["architectures"] == nil { addNotAConfiguration(name, "model_type") }
                return
            }
            guard !className.hasPrefix("Auto"),
                !plain(className).hasPrefix(plain(family))
            else { return }
            return add(
                .configClass, name,
                "model_type is \(family), and model_index.json names \(className)")
        }
        guard let found = json["_class_name"]?.string else {
            return addNotAConfiguration(name, "_class_name")
        }
        guard found != className else { return }
        add(
            .configClass, name,
            "_class_name is \(found), and model_index.json names \(className)")
    }

    /// JSON of something else, such as a server's error, of which the libraries take nothing and
    /// all defaults.
    private mutating func addNotAConfiguration(_ name: String, _ key: String) {
        add(
            .componentFileInvalid, name,
            "has no \(key), so it is not a configuration of \(component.className)")
    }

    /// Classes of tokenizers that read what others saved.
    private static let generalClasses: Set = [
        "AutoTokenizer", "PreTrainedTokenizer", "TokenizersBackend",
    ]

    /// The class that saved settings, where model_index.json names another to read them.
    private mutating func checkSavedClass(_ name: String, _ key: String) {
        guard let json = document(name) else { return }
        guard let found = json[key]?.string else {
            if key == "_class_name" { addNotAConfiguration(name, key) }
            return
        }
        // transformers had two classes for a tokenizer.
        let classes = [found, component.className].map {
            $0.hasSuffix("Fast") ? String($0.dropLast("Fast".count)) : $0
        }
        guard classes[0] != classes[1], Self.generalClasses.isDisjoint(with: classes) else {
            return
        }
        add(
            .componentClass, name,
            "\(key) is \(found), and model_index.json names \(component.className)")
    }

    /// A JSON file of the component; `nil` where it cannot be read, which is reported as that.
    private func document(_ name: String) -> JSONValue? {
        guard scan.files.contains(name) else { return nil }
        return try? JSONFile.parse(scan.content(name), path: name, allowsNonFinite: true)
    }

    /// Classes that Sana's pipelines cannot use, though they load.
    private mutating func checkClass(_ pipeline: String) {
        guard pipeline.hasPrefix("Sana") else { return }
        let className = component.className
        let expected: String? =
            switch component.name {
            case "text_encoder" where className != "Gemma2Model": "Gemma2Model"
            case "vae" where !className.contains("Autoencoder"): "AutoencoderDC"
            case "tokenizer" where !className.contains("Tokenizer"): "GemmaTokenizerFast"
            case "scheduler" where !className.contains("Scheduler"):
                "FlowMatchEulerDiscreteScheduler or another scheduler"
            default: nil
            }
        guard let expected else { return }
        problems.append(
            Problem(
                .componentClass, component.name.printable,
                "model_index.json names \(className), and \(pipeline) works with \(expected)"
                    .printable))
    }
}
