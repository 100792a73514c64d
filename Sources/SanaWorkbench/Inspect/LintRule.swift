import SanaModel

/// Something that inspect looks for: the one home of every rule's id, severity and remedy.
///
/// Raw values are ids that scripts rely on: they may be added, not renamed.
package enum LintRule: String, CaseIterable, Sendable {
    case modelIndexAbsent = "model-index-absent"
    case modelIndexInvalid = "model-index-invalid"
    case transformerAbsent = "transformer-absent"
    case componentAbsent = "component-absent"
    case componentFileAbsent = "component-file-absent"
    case componentFileInvalid = "component-file-invalid"
    case componentClass = "component-class"
    case componentMismatch = "component-mismatch"
    case componentTensors = "component-tensors"
    case tokenizerAbsent = "tokenizer-absent"
    case linkDangling = "link-dangling"
    case lfsPointer = "lfs-pointer"
    case downloadUnfinished = "download-unfinished"
    case fileForeign = "file-foreign"
    case fileUnreadable = "file-unreadable"
    case fileTruncated = "file-truncated"
    case fileUnwritten = "file-unwritten"
    case fileZeroEnd = "file-zero-end"
    case fileInvalid = "file-invalid"
    case headerOdd = "header-odd"
    case byteOrderMark = "byte-order-mark"
    case nameEncoding = "name-encoding"
    case weightsAbsent = "weights-absent"
    case weightsEmpty = "weights-empty"
    case weightsTwice = "weights-twice"
    case pickleOnly = "pickle-only"
    case pickleBeside = "pickle-beside"
    case nameLegacy = "name-legacy"
    case nameForeign = "name-foreign"
    case nameWrapped = "name-wrapped"
    case variantOnly = "variant-only"
    case variantMixed = "variant-mixed"
    case indexInvalid = "index-invalid"
    case indexPath = "index-path"
    case indexTwice = "index-twice"
    case indexAbsent = "index-absent"
    case indexTensorAbsent = "index-tensor-absent"
    case indexTensorUnlisted = "index-tensor-unlisted"
    case indexTotalSize = "index-total-size"
    case shardAbsent = "shard-absent"
    case shardStray = "shard-stray"
    case tensorDuplicate = "tensor-duplicate"
    case configAbsent = "config-absent"
    case configInvalid = "config-invalid"
    case configClass = "config-class"
    case configUnknownKey = "config-unknown-key"
    case configShapes = "config-shapes"
    case configReleased = "config-released"
    case softCapVersion = "soft-cap-version"
    case quantizationUnsupported = "quantization-unsupported"
    case quantizationMismatch = "quantization-mismatch"
    case tensorMissing = "tensor-missing"
    case tensorUnexpected = "tensor-unexpected"
    case tensorMisshapen = "tensor-misshapen"
    case dtypeMixed = "dtype-mixed"
    case variantType = "variant-type"
    case valueNaN = "value-nan"
    case valueInfinite = "value-infinite"
    case valueSubnormal = "value-subnormal"
    case valueFP16Overflow = "value-fp16-overflow"
    case valueZero = "value-zero"

    /// How much a finding matters: errors keep a model from loading or computing.
    package enum Severity: String, Sendable { case error, warning }

    /// What the table says of a rule.
    package struct Entry: Sendable {
        package let rule: LintRule
        package let severity: Severity
        /// What is wrong when the rule speaks.
        package let what: String
        package let remedy: String
        /// Whether it takes the values, which only --stats reads.
        package let needsValues: Bool

        package init(
            _ rule: LintRule, _ severity: Severity, _ what: String, _ remedy: String,
            needsValues: Bool = false
        ) {
            (self.rule, self.severity) = (rule, severity)
            (self.what, self.remedy, self.needsValues) = (what, remedy, needsValues)
        }
    }

    /// The table's entry of this rule; a test keeps the table complete.
    package var entry: Entry { Self.entries[self] ?? Entry(self, .error, rawValue, "") }

    private static let entries = Dictionary(table.map { ($0.rule, $0) }) { first, _ in first }

    /// Every rule, in the order of the list.
    package static let table =
        repositoryRules + fileRules + indexRules + configurationRules + valueRules

    private static let repositoryRules = [
        Entry(
            .modelIndexAbsent, .error, "a repository without model_index.json",
            "restore model_index.json, or give the component directory as MODEL"),
        Entry(
            .modelIndexInvalid, .error, "model_index.json is not what diffusers reads",
            "restore model_index.json from the repository"),
        Entry(
            .transformerAbsent, .error,
            "model_index.json names no Sana transformer or ControlNet, or its directory is missing",
            "download the transformer's directory, or choose a component with --subfolder"),
        Entry(
            .componentAbsent, .warning,
            "model_index.json names a component whose directory is missing",
            "download the directory if the pipeline is to run from here"),
        Entry(
            .componentFileAbsent, .error, "a component lacks a file that it is loaded from",
            "download the file from the repository"),
        Entry(
            .componentFileInvalid, .error, "a component's settings or vocabulary cannot be read",
            "download the file again, or restore it from the repository"),
        Entry(
            .componentClass, .warning,
            "model_index.json names a class that does not fit the pipeline or its files",
            "restore model_index.json from the repository, or name the class there"),
        Entry(
            .componentMismatch, .error, "two components of a pipeline do not match",
            "download both components from the same repository"),
        Entry(
            .componentTensors, .error,
            "a component's weights do not match its configuration (--deep)",
            "check that config.json and the weights come from the same revision of the same model"),
        Entry(
            .tokenizerAbsent, .warning,
            "a tokenizer without tokenizer.json or tokenizer_config.json",
            "download tokenizer.json; building it from the other files needs more Python packages"),
        Entry(
            .linkDangling, .error, "a symlink is dangling",
            "download the file again: the cache has lost the blob it points to"),
        Entry(
            .lfsPointer, .error, "a Git LFS pointer is where the file should be",
            "fetch the content with 'git lfs pull', or download with 'hf download'"),
    ]

    private static let fileRules = [
        Entry(
            .downloadUnfinished, .error,
            "a leftover of a downloader says that a download is unfinished",
            UnfinishedDownload.remedy),
        Entry(
            .fileForeign, .error,
            "a weights file is something else: a web page, an error message, a pickle, zeros",
            "download the file again"),
        Entry(
            .fileUnreadable, .error, "a file cannot be read",
            "check the permissions of the file and its directory"),
        Entry(
            .fileTruncated, .error, "a weights file ends before the data its header describes",
            "download the file again and compare its size with the repository's"),
        Entry(
            .fileUnwritten, .error,
            "a weights file ends in zeros that are a whole weight: a download has not written it",
            ZeroTail.remedy),
        Entry(
            .fileZeroEnd, .warning, "a weights file ends in zeros that are a part of a weight",
            "compare the file with the repository's, by 'sana-tools digest' or its size and hash"),
        Entry(
            .fileInvalid, .error, "a weights file violates a rule of safetensors",
            "write the file again with the safetensors library, or download it again"),
        Entry(
            .headerOdd, .warning,
            "a safetensors header has members that the format does not define",
            "write the file again with the safetensors library"),
        Entry(
            .byteOrderMark, .warning, "a JSON file begins with a byte order mark",
            "save the file as UTF-8 without a byte order mark: Python's json does not read it"),
        Entry(
            .nameEncoding, .warning, "a file name is not valid UTF-8, so the file is ignored",
            "rename the file"),
        Entry(
            .weightsAbsent, .error, "no safetensors weights in the component's directory",
            "download the weights, or give a .safetensors file as MODEL"),
        Entry(
            .weightsEmpty, .error, "a weights file holds no tensors",
            "download the file again, or save the model again"),
        Entry(
            .weightsTwice, .warning, "a single file and an index hold the same variant",
            "remove the one that is stale; diffusers loads the shards of the index"),
        Entry(
            .pickleOnly, .error, "weights exist only as pickles (.bin, .pth, .pt, .ckpt)",
            "save them with save_pretrained(safe_serialization=True)"),
        Entry(
            .pickleBeside, .warning,
            "pickle files (which can execute code) are next to the weights",
            "remove them; the safetensors files hold the weights"),
        Entry(
            .nameLegacy, .warning, "files are named as in older diffusers or by other tools",
            "save the variant again with save_pretrained(), or rename the files"),
        Entry(
            .nameForeign, .warning, "safetensors files whose name diffusers does not look for",
            "rename the file to diffusion_pytorch_model.safetensors if it holds the weights"),
        Entry(
            .nameWrapped, .warning,
            "a wrapper, trainer or adapter added something to the names of the tensors",
            "save the state dictionary of the model itself, or convert the file: convert writes plain names"
        ),
        Entry(
            .variantOnly, .warning, "weights exist only as a variant",
            "load them with variant=, or also save them without a variant"),
        Entry(
            .variantMixed, .warning, "an index or a pipeline mixes variants",
            "save all of it in one variant"),
        Entry(
            .tensorDuplicate, .error, "two shards hold a tensor with the same name",
            "remove stale shards, or write shards and index again"),
    ]

    private static let indexRules = [
        Entry(
            .indexInvalid, .error, "an index is not a JSON object with a weight_map",
            "restore the index from the repository"),
        Entry(
            .indexPath, .error, "an index names a file outside its directory",
            "do not load it elsewhere; shards belong in the directory of their index"),
        Entry(
            .indexTwice, .warning, "two indexes for the same variant",
            "remove the index that is stale"),
        Entry(
            .indexAbsent, .error, "shards without an index", "download the index of the shards"),
        Entry(
            .indexTensorAbsent, .error, "an index places a tensor in a file that does not have it",
            "download the shard again, or write the index again with the shards"),
        Entry(
            .indexTensorUnlisted, .error,
            "a shard holds a tensor that the index does not place there",
            "remove stale shards, or write the index again with the shards"),
        Entry(
            .indexTotalSize, .warning,
            "metadata.total_size of an index is not the size of its tensors",
            "write the index again with the shards"),
        Entry(
            .shardAbsent, .error, "an index names a missing file",
            "download the missing shards"),
        Entry(
            .shardStray, .warning, "a shard is in no index",
            "remove it: it is left over from another download or conversion"),
    ]

    private static let configurationRules = [
        Entry(
            .configAbsent, .error, "no config.json",
            "put the model's config.json into the directory of the weights"),
        Entry(
            .configInvalid, .error, "config.json is unreadable or has an impossible value",
            "restore config.json from the repository"),
        Entry(
            .configClass, .error,
            "_class_name is not a Sana class, or not what model_index.json says",
            "give the transformer's directory as MODEL, or restore config.json"),
        Entry(
            .configUnknownKey, .warning, "config.json has a key that its class does not know",
            "remove the key, or check its spelling"),
        Entry(
            .configShapes, .error, "a key of config.json contradicts the tensors' shapes",
            "set the key to what the shapes say, or restore the right revision's config.json"),
        Entry(
            .configReleased, .warning,
            "a key of config.json differs from the released model with the same shapes",
            "set the key to the released value, unless the model was trained with another"),
        Entry(
            .softCapVersion, .warning,
            "the transformers version that saved a text encoder ignores its soft cap",
            "load it with attn_implementation=\"eager\", and compare only goldens of one version"),
        Entry(
            .quantizationUnsupported, .error,
            "weights are quantized by an unsupported method or recipe",
            "use the float checkpoint it was made from; 'sana-tools convert --dtype int8' quantizes it"
        ),
        Entry(
            .quantizationMismatch, .error,
            "quantization_config and the stored tensors contradict each other",
            "restore the config.json that was written with these weights, or the weights that belong to it"
        ),
        Entry(
            .tensorMissing, .error, "the configuration calls for a tensor that is missing",
            "check that config.json and the weights come from the same revision of the same model"),
        Entry(
            .tensorUnexpected, .error, "the configuration has no place for a tensor",
            "check that config.json and the weights come from the same revision of the same model"),
        Entry(
            .tensorMisshapen, .error, "a tensor's shape or type differs from the configuration's",
            "check that config.json and the weights come from the same revision of the same model"),
        Entry(
            .dtypeMixed, .warning, "float weights of several types",
            "convert all of them to one type, unless a few are kept on purpose"),
        Entry(
            .variantType, .warning, "a variant named after a 16-bit type holds F32",
            "convert it to that type, or save it without the variant"),
    ]

    private static let valueRules = [
        Entry(
            .valueNaN, .error, "a tensor holds NaN",
            "download it again, or go back to a training step before it diverged",
            needsValues: true),
        Entry(
            .valueInfinite, .error, "a tensor holds infinity",
            "save it in a wider type: a cast to fp16 may have overflowed", needsValues: true),
        Entry(
            .valueSubnormal, .warning, "BF16 or F32 weights are subnormal (denormal) numbers",
            "set them to 0: they are slow on some CPUs and lost in fp16",
            needsValues: true),
        Entry(
            .valueFP16Overflow, .warning, "weights overflow fp16",
            "keep these tensors in bf16 or fp32", needsValues: true),
        Entry(
            .valueZero, .warning, "a weight is all zeros",
            "check that the file was written to its end, and that the layer was trained",
            needsValues: true),
    ]
}

/// Something a user should know, in the order it was found.
package struct Problem: Sendable, Equatable {
    package let rule: LintRule
    /// File below the model, tensor, or configuration key.
    package let location: String
    package let message: String
    package let remedy: String

    package var id: String { rule.rawValue }
    package var severity: LintRule.Severity { rule.entry.severity }

    /// - Parameter remedy: by default the rule's own.
    package init(_ rule: LintRule, _ location: String, _ message: String, remedy: String? = nil) {
        (self.rule, self.location, self.message) = (rule, location, message)
        self.remedy = remedy ?? rule.entry.remedy
    }
}
