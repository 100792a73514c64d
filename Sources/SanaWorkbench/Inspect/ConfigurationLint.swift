import SanaModel

/// What is wrong with a `config.json`, all at once.
package struct ConfigurationLint {
    package private(set) var problems: [Problem] = []
    /// `nil` unless every value can be.
    package private(set) var config: (any NetworkConfiguration)?
    /// Whether the values fit each other.
    package private(set) var isConsistent = true
    /// Class that it says it is of, where this is another.
    package private(set) var foreignClass: String?

    /// - Parameters:
    ///   - location: the file below the model, for problems.
    ///   - expected: the class that model_index.json names; `nil`: any that is known.
    ///   - source: the tensors, which tell the class where nothing else does.
    ///   - isWhole: whether they are all there: what their shapes say counts.
    package init(
        _ json: JSONValue, location: String, expected: NetworkClass? = nil,
        source: any TensorSource, isWhole: Bool
    ) {
        guard let members = json.members else {
            problems.append(Problem(.configInvalid, location, "config is not a JSON object"))
            return
        }
        let networkClass: NetworkClass
        do throws(BadDataError) {
            let found = try NetworkClass.of(json, file: location)
            if let found, let expected, found != expected {
                throw BadDataError(
                    file: location,
                    reason: "\(Self.key(json)) is \(Self.name(json)), "
                        + "not \"\(expected.name)\"")
            }
            networkClass = found ?? expected ?? NetworkClass.of(source) ?? NetworkClass.all[0]
        } catch {
            foreignClass = Self.name(json)
            problems.append(
                Problem(.configClass, location, error.reason, remedy: error.remedy))
            return
        }
        for member in members
        where !networkClass.knowsKey(member.key) {
            problems.append(
                Problem(
                    .configUnknownKey, member.key.printable,
                    "The config attributes {'\(member.key.printable)': "
                        + "\(member.value.text().printable)} were passed to "
                        + "\(networkClass.name), but are not expected and will be ignored"))
        }
        config = readValues(members, networkClass, location)
        guard let config else { return }
        if config is Gemma2Config, let message = SoftCapLint.caution(json) {
            problems.append(Problem(.softCapVersion, location, message))
        }
        do throws(BadDataError) { try config.check(json, file: location) } catch {
            isConsistent = false
            // A key that the shapes contradict is the cause, and is told as that.
            guard !isWhole || config.disagreements(with: source, json: json).isEmpty else {
                return
            }
            problems.append(Problem(.configInvalid, location, error.reason, remedy: error.remedy))
        }
    }

    /// Removes impossible values one key at a time, so that each of them is reported.
    private mutating func readValues(
        _ members: [JSONValue.Member], _ networkClass: NetworkClass, _ location: String
    ) -> (any NetworkConfiguration)? {
        var members = members
        var isGood = true
        for _ in 0...members.count {
            do throws(BadDataError) {
                let config = try networkClass.readValues(.object(members), file: location)
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

    /// The key that names the class.
    private static func key(_ json: JSONValue) -> String {
        json["_class_name"] == nil ? "architectures" : "_class_name"
    }

    private static func name(_ json: JSONValue) -> String {
        json[key(json)]?.text().printable ?? ""
    }
}
