import SanaModel

/// Components other than the transformer.
extension RepositoryConverter {
    static func checkWeights(_ folder: String) throws {
        guard try folder.folderEntries().contains(where: { $0.hasSuffix(".safetensors") }) else {
            throw RepositoryError(folder, .noSafetensors)
        }
    }

    /// Converts every safetensors file of a component and copies the others, with sizes and types
    /// in its JSON files brought up to date.
    func stage(
        component name: String, _ target: ConversionTarget
    ) throws -> (conversions: [StagedConversion], files: [OutputFile]) {
        let (source, folder) = (repository.path.appendingPath(name), output.appendingPath(name))
        let names = try source.folderEntries()
        let options = options(of: name, as: target)
        if let network = try network(name, target) {
            return try stage(network, in: source, to: folder, names, options)
        }
        var (conversions, files): ([StagedConversion], [OutputFile]) = ([], [])
        var sizeByFile: [String: Int] = [:]
        var isUniform = true
        for name in names where name.hasSuffix(".safetensors") {
            let file = try SafetensorsFile(path: source.appendingPath(name))
            let conversion = try Converter.stage(
                ConversionSource(file), to: .file(folder.appendingPath(name)), options: options,
                workers: workers)
            sizeByFile[name] = conversion.result.valueByteCount
            isUniform =
                isUniform
                && conversion.result.tensors.allSatisfy {
                    !$0.to.isFloatWeight || $0.to == target.dtype
                }
            conversions.append(conversion)
        }
        for name in names where !name.hasSuffix(".safetensors") {
            let path = source.appendingPath(name)
            guard !path.isFolder else { throw RepositoryError(path, .folderInComponent) }
            let file = try OutputFile(
                folder.appendingPath(name), replaceExisting: options.replaceExisting)
            if let text = try updated(path, sizeByFile, isUniform ? target : nil) {
                try file.write(Array(text.utf8))
            } else {
                try ByteView(mapping: path).stream { try file.write($0) }
            }
            files.append(file)
        }
        return (conversions, files)
    }

    /// Converts the weights of a component by its network's own plan and copies its other files.
    private func stage(
        _ network: Checkpoint, in source: String, to folder: String, _ names: [String],
        _ options: Converter.Options
    ) throws -> (conversions: [StagedConversion], files: [OutputFile]) {
        let conversion = try Converter.stage(
            ConversionSource(network, for: options.target), to: .folder(folder), options: options,
            workers: workers)
        let files = try names.filter {
            $0 != "config.json" && !$0.hasSuffix(".safetensors")
                && !$0.contains(".safetensors.index")
        }.map { name in
            let path = source.appendingPath(name)
            guard !path.isFolder else { throw RepositoryError(path, .folderInComponent) }
            return try stage(copyOf: path, to: folder.appendingPath(name))
        }
        return ([conversion], files)
    }

    /// How another component is converted. The files of an unknown network are converted one by
    /// one.
    private func options(of name: String, as target: ConversionTarget) -> Converter.Options {
        var options = self.options
        options.target = target
        options.rules = rules(of: name)
        options.mayKeepAll = true
        if !networks.contains(name) {
            options.container = .safetensors(maximumShardByteCount: .max)
            options.variant = nil
        }
        return options
    }

    /// What will become of the other components; nothing is written.
    ///
    /// - Throws: see `Converter.plan`, and `RepositoryError`.
    public func componentPlans() throws -> [ComponentPlan] {
        try components.map { name, treatment in
            // What cannot be read matters only where it would be.
            let isRead = treatment != .link && treatment != .skip
            let sources = (isRead ? try copies(of: name) : (try? copies(of: name)) ?? [])
                .map(\.source)
            let sizes = sources.map { (try? ByteView(mapping: $0).count) ?? 0 }
            var plan = ComponentPlan(
                name: name, treatment: treatment, fileCount: sources.count,
                bytesBefore: sizes.reduce(0, +), bytesAfter: 0, plans: [])
            switch treatment {
            case .link, .skip: break
            case .copy: plan.bytesAfter = plan.bytesBefore
            case .convert(let target):
                plan.plans = try conversionSources(of: name, sources, target).map {
                    try Converter.plan(
                        for: $0, options: options(of: name, as: target), countsRounding: true,
                        workers: workers)
                }
                plan.bytesAfter = plan.plans.reduce(plan.bytesBefore) {
                    $0 - $1.bytesBefore + $1.bytesAfter
                }
            }
            return plan
        }
    }

    /// A component as a whole, where its files cannot be converted one by one: a network with a
    /// plan of its own, int8, which needs to know roles, adapters, and weights that another program
    /// has quantized.
    private func network(_ name: String, _ target: ConversionTarget) throws -> Checkpoint? {
        let folder = repository.path.appendingPath(name)
        let adapters = name == Self.textEncoder ? textEncoderAdapters : []
        let config = try? JSONFile.read(
            folder.appendingPath("config.json"), allowsNonFinite: true)
        let isQuantized = (config?[QuantizationCheck.key] ?? .null) != .null
        guard networks.contains(name) || target == .int8 || !adapters.isEmpty || isQuantized else {
            return nil
        }
        return try Checkpoint.open(folder).fusing(adapters)
    }

    /// The type that most of a component's weights have.
    static func storedType(_ folder: String) throws -> ConversionTarget {
        let tensors = try Checkpoint.open(folder).source.tensors
        let sizes = Dictionary(grouping: tensors, by: \.dtype)
            .mapValues { $0.reduce(0) { $0 + $1.byteCount } }
        let largest = sizes.max { ($0.value, $0.key.rawValue) < ($1.value, $1.key.rawValue) }?.key
        return ConversionTarget.allCases.first { $0.dtype == largest } ?? .bf16
    }

    /// What is converted of a component: the whole of it, else each of its files.
    private func conversionSources(
        of name: String, _ files: [String], _ target: ConversionTarget
    ) throws -> [ConversionSource] {
        if let network = try network(name, target) {
            return [try ConversionSource(network, for: target)]
        }
        return try files.filter { $0.hasSuffix(".safetensors") }.map {
            try ConversionSource(SafetensorsFile(path: $0))
        }
    }

    /// The new text of a component's JSON file; `nil` when it stays as it is.
    ///
    /// - Parameter target: the type of all floats; `nil` when some have another.
    private func updated(
        _ path: String, _ sizeByFile: [String: Int], _ target: ConversionTarget?
    ) throws -> String? {
        if path.hasSuffix(".json"), path.lastPathComponent.contains(".safetensors.index") {
            let index = try JSONFile.read(path, maximumByteCount: 64 << 20)
            let files = Set((index["weight_map"]?.members ?? []).compactMap(\.value.string))
            let total = files.reduce(0) { $0 + (sizeByFile[$1] ?? 0) }
            let metadata = (index["metadata"] ?? .object([])).setting("total_size", to: .int(total))
            return index.setting("metadata", to: metadata).text(indent: 2) + "\n"
        }
        guard path.lastPathComponent == "config.json", let target else { return nil }
        // transformers loads by this name, new or old.
        var config = try JSONFile.read(path, allowsNonFinite: true)
        var isChanged = false
        for key in ["torch_dtype", "dtype"] where config[key]?.string != nil {
            config = config.setting(key, to: .string(target.torchName))
            isChanged = true
        }
        return isChanged ? config.text(indent: 2) + "\n" : nil
    }
}

extension ConversionResult {
    /// Bytes of the converted values.
    var valueByteCount: Int {
        tensors.reduce(0) { $0 + $1.statistics.elements * $1.to.bitWidth / 8 }
    }
}

extension ConversionTarget {
    /// The type's name in torch.
    var torchName: String {
        switch self {
        case .fp16: "float16"
        case .bf16: "bfloat16"
        case .fp32: "float32"
        case .int8: "int8"
        }
    }
}
