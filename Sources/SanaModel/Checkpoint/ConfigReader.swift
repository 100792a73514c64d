/// Typed access to `config.json`: absent keys keep the default, `null` where diffusers takes none
/// is an error.
struct ConfigReader {
    let json: JSONValue
    let file: String

    func error(_ key: String, _ problem: String) -> BadDataError {
        BadDataError(
            file: file, reason: "\(key) \(problem)",
            remedy: "restore config.json from the repository")
    }

    func read(_ key: String, into value: inout Int, _ range: ClosedRange<Int>) throws(BadDataError)
    {
        guard let json = json[key] else { return }
        guard let number = json.int, range.contains(number) else {
            throw error(key, "is \(json.text().printable), not an integer in \(range)")
        }
        value = number
    }

    func read(
        _ key: String, into value: inout Double, _ range: ClosedRange<Double>
    ) throws(BadDataError) {
        guard let json = json[key] else { return }
        guard let number = json.double, range.contains(number) else {
            throw error(key, "is \(json.text().printable), not a number in \(range)")
        }
        value = number
    }

    func read(_ key: String, into value: inout Bool) throws(BadDataError) {
        guard let json = json[key] else { return }
        guard let flag = json.bool else {
            throw error(key, "is \(json.text().printable), not true or false")
        }
        value = flag
    }

    func read(_ key: String, into value: inout String) throws(BadDataError) {
        guard let json = json[key] else { return }
        guard let text = json.string else {
            throw error(key, "is \(json.text().printable), not a string")
        }
        value = text
    }

    /// A list of integers; `nil` where the key is absent.
    func integers(_ key: String, _ range: ClosedRange<Int>) throws(BadDataError) -> [Int]? {
        guard let json = json[key] else { return nil }
        let values = json.array?.map(\.int)
        guard let values, values.allSatisfy({ $0.map(range.contains) == true }) else {
            throw error(key, "is \(json.text().printable), not a list of integers in \(range)")
        }
        return values.compactMap { $0 }
    }

    /// One name for each of `stages`, given as a list or as one for all; `nil` where the key is
    /// absent.
    ///
    /// - Parameter choice: `nil` for a name that is none.
    func choices<Choice>(
        _ key: String, stages: Int, _ choice: (String) -> Choice?
    ) throws(BadDataError) -> [Choice]? {
        guard let json = json[key] else { return nil }
        let list = json.array ?? [JSONValue](repeating: json, count: stages)
        guard list.count == stages else {
            throw error(key, "has \(list.count) entries, but there are \(stages) stages")
        }
        var choices: [Choice] = []
        for item in list {
            guard let value = item.string.flatMap(choice) else {
                throw error(key, "has \(item.text().printable), which is not supported")
            }
            choices.append(value)
        }
        return choices
    }
}
