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
}
