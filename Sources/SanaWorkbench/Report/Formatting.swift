import Foundation
import SanaModel

/// Numbers as people read them.
package enum Format {
    /// Three significant digits with exponent, `0` for zero.
    package static func scientific(_ value: Double) -> String {
        value == 0 ? "0" : String(format: "%.2e", value)
    }

    /// Three significant digits that are no less than the value: a tolerance that it keeps.
    package static func roundedUp(_ value: Double) -> String {
        let text = scientific(value)
        guard let rounded = Double(text), rounded < value else { return text }
        let step = pow(10, (log10(value)).rounded(.down) - 2)
        return scientific(rounded + step)
    }

    /// A number of things, whose plural ends with s: `1 error`, `2 errors`.
    package static func counted(_ count: Int, _ thing: String) -> String {
        "\(count) \(thing)\(count == 1 ? "" : "s")"
    }

    package static func decimal(_ value: Double, digits: Int = 2) -> String {
        String(format: "%.\(digits)f", value)
    }

    /// Bytes in powers of 1000: `2.46 MB`.
    package static func bytes(_ count: Int) -> String {
        let units = ["B", "kB", "MB", "GB", "TB"]
        var (value, unit) = (Double(count), 0)
        while value >= 999.5, unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return unit == 0 ? "\(count) B" : String(format: "%.3g %@", value, units[unit])
    }

    /// Parameters: `1.22 M`.
    package static func count(_ value: Int) -> String {
        switch value {
        case 1_000_000_000...: String(format: "%.2f G", Double(value) / 1e9)
        case 1_000_000...: String(format: "%.2f M", Double(value) / 1e6)
        case 10_000...: String(format: "%.1f k", Double(value) / 1e3)
        default: String(value)
        }
    }

    /// A duration given in nanoseconds.
    package static func nanoseconds(_ value: Double) -> String {
        switch value {
        case 1e9...: String(format: "%.2f s", value / 1e9)
        case 1e6...: String(format: "%.2f ms", value / 1e6)
        default: String(format: "%.1f µs", value / 1e3)
        }
    }

    package static func percent(_ share: Double) -> String {
        String(format: "%.1f %%", share * 100)
    }
}

extension JSONValue {
    /// A string or `null`.
    package static func text(_ value: String?) -> JSONValue { value.map { .string($0) } ?? .null }

    /// Both ends, or `null`.
    package static func interval(_ value: Interval?) -> JSONValue {
        value.map { .array([.double($0.low), .double($0.high)]) } ?? .null
    }

    /// An object in the given order of keys.
    package static func fields(_ members: KeyValuePairs<String, JSONValue>) -> JSONValue {
        .object(members.map { Member($0.key, $0.value) })
    }
}
