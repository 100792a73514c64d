import SanaModel

/// What is wrong with a `config.json`, all at once.
struct ConfigurationLint {
    private(set) var problems: [Problem] = []
    /// `nil` unless every value can be.
    private(set) var config: SanaConfig?
    /// Whether the values fit each other.
    private(set) var isConsistent = true
    /// Class that it says it is of, where this is another.
    private(set) var foreignClass: String?

    /// - Parameters:
    ///   - location: the file below the model, for problems.
    ///   - expected: the class that model_index.json names; `nil`: any of Sana's.
    ///   - shapes: what the tensors say of the same keys.
    init(
        _ json: JSONValue, location: String, expected: SanaConfig.ModelClass? = nil,
        shapes: ShapeFacts? = nil
    ) {
        guard let members = json.members else {
            problems.append(Problem(.configInvalid, location, "config is not a JSON object"))
            return
        }
        let name = json["_class_name"]
        let found = name.map { $0.string.flatMap(SanaConfig.ModelClass.init) } ?? .transformer
        if let name, found == nil || expected.map({ $0 != found }) ?? false {
            foreignClass = name.string ?? name.text()
            let wanted = expected.map { "not \"\($0.rawValue)\"" } ?? SanaConfig.noClass
            problems.append(
                Problem(
                    .configClass, location, "_class_name is \(name.text().printable), \(wanted)"))
        }
        let modelClass = found ?? .transformer
        for member in members
        where !SanaConfig.isKnown(member.key, of: modelClass) && foreignClass == nil {
            problems.append(
                Problem(
                    .configUnknownKey, member.key.printable,
                    "The config attributes {'\(member.key.printable)': "
                        + "\(member.value.text().printable)} were passed to "
                        + "\(modelClass.rawValue), but are not expected and will be ignored"))
        }
        guard foreignClass == nil else { return }
        config = readValues(members, location)
        guard let config else { return }
        do throws(BadDataError) { try config.check(json, file: location) } catch {
            isConsistent = false
            // A key that the shapes contradict is the cause, and is told as that.
            guard shapes?.disagreements(with: config, json: json).isEmpty ?? true else { return }
            problems.append(Problem(.configInvalid, location, error.reason, remedy: error.remedy))
        }
    }

    /// Leaves out what cannot be, a key at a time, so that every one of them is told of.
    private mutating func readValues(
        _ members: [JSONValue.Member], _ location: String
    ) -> SanaConfig? {
        var members = members
        var isGood = true
        for _ in 0...members.count {
            do throws(BadDataError) {
                let config = try SanaConfig(values: .object(members), file: location)
                return isGood ? config : nil
            } catch {
                isGood = false
                problems.append(
                    Problem(.configInvalid, location, error.reason, remedy: error.remedy))
                let key = String(error.reason.prefix { $0 != " " })
                guard let index = members.firstIndex(where: { $0.key == key }) else { return nil }
                members.remove(at: index)
            }
        }
        return nil
    }
}
