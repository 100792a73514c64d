/// A class of networks that the workbench knows: a row of its registry, made in the network's own
/// room.
public struct NetworkClass: Sendable {
    /// The class, as `_class_name` in `config.json` and a component in `model_index.json` have it;
    /// of transformers' classes, as `architectures` has it.
    public let name: String
    /// Other classes whose files hold its weights.
    let otherNames: [String]
    /// Names that it had in old files, which nobody reads any more.
    let formerNames: [String]
    /// What a message calls one of them: `transformer`.
    public let noun: String
    /// File name of its weights, without variant and extension.
    public let weightsStem: String
    /// Whether it is what a whole repository stands for as MODEL.
    public let isMain: Bool
    /// A tensor that no other network has.
    let marker: String
    /// What the weights beside a `config.json` are called: diffusers' name unless it is known to be
    /// of a class of transformers'.
    public static func stem(beside config: JSONValue?) -> String {
        let known = config.flatMap { try? of($0, file: "") }
        return known?.weightsStem ?? WeightFiles.stem
    }

    /// Reads the values of `config.json` alone, whether or not they fit each other.
    let configuration:
        @Sendable (JSONValue, String) throws(BadDataError) -> any NetworkConfiguration
    /// Whether a key may stand in `config.json`.
    public let knowsKey: @Sendable (String) -> Bool
    /// What was released with the shapes of a checkpoint, and with the values of a configuration
    /// where there is one.
    let likeness:
        @Sendable (any TensorSource, (any NetworkConfiguration)?, JSONValue) -> ReleaseLikeness

    init(
        _ name: String, otherNames: [String] = [], formerNames: [String] = [], noun: String,
        weightsStem: String = WeightFiles.stem, isMain: Bool = false, marker: String,
        configuration:
            @escaping @Sendable (JSONValue, String) throws(BadDataError)
            -> any NetworkConfiguration,
        knowsKey: @escaping @Sendable (String) -> Bool = { _ in true },
        likeness:
            @escaping @Sendable (any TensorSource, (any NetworkConfiguration)?, JSONValue)
            -> ReleaseLikeness = { _, _, _ in ReleaseLikeness() }
    ) {
        (self.name, self.otherNames, self.formerNames) = (name, otherNames, formerNames)
        (self.noun, self.weightsStem, self.marker) = (noun, weightsStem, marker)
        self.isMain = isMain
        (self.configuration, self.knowsKey, self.likeness) = (configuration, knowsKey, likeness)
    }

    /// Every class, in the order in which a repository's components are looked for.
    public static let all = SanaClass.all.map(\.networkClass) + [autoencoderDC, gemma2Model]

    /// What MODEL means by default in a repository of these components: the first that is of a main
    /// class, one in the usual directory before others.
    public static func mainComponent(_ components: [(name: String, className: String)]) -> String? {
        all.filter(\.isMain).lazy.compactMap { main in
            let names = components.filter { $0.className == main.name }.map(\.name)
            return names.first { $0 == main.noun } ?? names.first
        }.first
    }

    /// The class of `name`, whichever of its names that is; `nil` for a class that is not known.
    public static func named(_ name: String) -> NetworkClass? {
        all.first { $0.name == name || $0.otherNames.contains(name) }
    }

    /// The names, as the end of a sentence: `not "A", "B" or "C"`.
    public static var notAny: String {
        let names = all.map { "\"\($0.name)\"" }
        return "not " + names.dropLast().joined(separator: ", ") + " or " + names[names.count - 1]
    }

    /// The class of a checkpoint by its tensors; `nil` where they are of none.
    public static func of(_ source: any TensorSource) -> NetworkClass? {
        // Some have the tensors of an earlier one as well as their own.
        all.last { source.info($0.marker) != nil }
            ?? all.first { source.info("model." + $0.marker) != nil }
    }

    /// The class that `config.json` names, in diffusers' way or transformers'; `nil` where it names
    /// none.
    ///
    /// - Throws: `BadDataError` for a class that is not known.
    public static func of(
        _ json: JSONValue, file: String
    ) throws(BadDataError) -> NetworkClass? {
        let reader = ConfigReader(json: json, file: file)
        if let name = json["_class_name"] {
            if let known = name.string.flatMap(named) { return known }
            if let renamed = all.first(where: { $0.formerNames.contains(name.string ?? "") }) {
                throw BadDataError(
                    file: file,
                    reason: "_class_name is \(name.text().printable), a former name of "
                        + renamed.name,
                    remedy: "set \"_class_name\": \"\(renamed.name)\" in config.json")
            }
            throw reader.error("_class_name", "is \(name.text().printable), \(notAny)")
        }
        guard let list = json["architectures"], list != .null else {
            // transformers reads the family alone.
            return json["model_type"]?.string == "gemma2" ? .gemma2Model : nil
        }
        guard let known = list.array?.first?.string.flatMap(named) else {
            throw reader.error("architectures", "is \(list.text().printable), \(notAny)")
        }
        return known
    }

    /// Reads the values of `config.json` alone, whether or not they fit each other.
    ///
    /// - Throws: `BadDataError` for a value of the wrong type, out of range, or of a kind that the
    ///   class cannot run.
    public func readValues(
        _ json: JSONValue, file: String
    ) throws(BadDataError) -> any NetworkConfiguration { try configuration(json, file) }

    /// What was released with the shapes of `source`, and with the values of `config` where there
    /// is one.
    ///
    /// - Parameter json: what `config` was read from, for keys that it does not keep.
    public func likeness(
        of source: any TensorSource, _ config: (any NetworkConfiguration)?, json: JSONValue
    ) -> ReleaseLikeness { likeness(source, config, json) }

    /// The configuration of a checkpoint.
    ///
    /// - Parameter source: its tensors, for naming the key at fault where they contradict it, and
    ///   the class where `config.json` names none.
    /// - Parameter comparesShapes: whether shapes that contradict it are an error.
    /// - Throws: `BadDataError` for a value of the wrong type, out of range, of a kind that the
    ///   class cannot run, or that the shapes contradict.
    public static func configuration(
        _ json: JSONValue, file: String, source: (any TensorSource)? = nil,
        comparesShapes: Bool = true
    ) throws(BadDataError) -> any NetworkConfiguration {
        let known = try of(json, file: file) ?? source.flatMap(of) ?? all[0]
        let config = try known.configuration(json, file)
        let compared = comparesShapes ? source : nil
        let wrong = compared.map { config.disagreements(with: $0, json: json) } ?? []
        if let first = wrong.first {
            throw BadDataError(
                file: file, reason: wrong.map(\.reason).joined(separator: "; "),
                remedy: first.remedy)
        }
        try config.check(json, file: file)
        return config
    }
}

extension SanaClass {
    /// The rows of classes that a `SanaConfig` configures.
    public static let all = [transformer, controlNet]
}

extension NetworkClass: Equatable {
    public static func == (left: NetworkClass, right: NetworkClass) -> Bool {
        left.name == right.name
    }
}

/// Released models that a checkpoint is like.
public struct ReleaseLikeness: Sendable {
    /// Architecture of those with its shapes; `nil` where there are none.
    public var family: String?
    /// Their repositories: those with every value of the configuration; all with its shapes where
    /// there is no configuration.
    public var repositories: [String] = []
    /// Where none has every value, the nearest one's repository and the keys in which it differs.
    public var nearest: (repository: String, differences: [ConfigurationDifference])?
}

/// A key that a released configuration has another value of.
public struct ConfigurationDifference: Sendable, Equatable {
    public let key: String
    /// The other configuration's.
    public let value: String
    /// The released one's.
    public let released: String
}

/// A key of `config.json` that the shapes of the tensors contradict.
public struct ConfigurationDisagreement: Sendable, Equatable {
    public let key: String
    /// As configured.
    public let value: String
    /// What the key should be.
    public let expected: String
    /// The tensor that says so.
    public let tensor: String
    /// Whether `config.json` has the key; otherwise `value` is diffusers' default.
    public var isStated = true
    /// What else would fit the shapes.
    public var alternative: String?

    public var reason: String {
        (isStated ? "\(key) is \(value)" : "\(key) is absent, which makes it \(value)")
            + ", and by the shape of \(tensor) it is \(expected)"
            + (alternative.map { ", or else \($0)" } ?? "")
    }
    public var remedy: String { "set \"\(key)\": \(expected) in config.json" }
}
