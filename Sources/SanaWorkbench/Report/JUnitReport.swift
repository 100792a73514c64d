import Foundation
import SanaModel

/// A JUnit XML document as CI systems read it: the elements, attributes and order that Ant's schema
/// (windyroad's JUnit.xsd) asks for, which Jenkins, GitLab and GitHub's readers accept, too.
package struct JUnitReport {
    /// One line of a viewer.
    package struct Case {
        package enum Outcome {
            case passed
            /// A check that says no.
            case failed(type: String, message: String)
            /// A check that could not take place.
            case error(type: String, message: String)
        }
        package let name: String
        package let outcome: Outcome
    }

    /// The cases of one comparison.
    package struct Suite {
        package let name: String
        package let startedAt: Date
        package let seconds: Double
        package var properties: [(name: String, value: String)] = []
        package let cases: [Case]
        /// Shown with the suite.
        package var output = ""
    }

    package let suites: [Suite]

    /// The document.
    package var text: String {
        var lines = [#"<?xml version="1.0" encoding="UTF-8"?>"#, "<testsuites>"]
        for (index, suite) in suites.enumerated() { lines += suite.lines(id: index) }
        return (lines + ["</testsuites>"]).joined(separator: "\n")
    }
}

extension JUnitReport.Suite {
    fileprivate func lines(id: Int) -> [String] {
        var (failures, errors) = (0, 0)
        for item in cases {
            switch item.outcome {
            case .passed: break
            case .failed: failures += 1
            case .error: errors += 1
            }
        }
        let package = "sana-tools.verify"
        // The schema wants a time without zone, and a host; ours is of no interest.
        let time = startedAt.formatted(.iso8601).prefix(19)
        let opening =
            "<testsuite package=\"\(package)\" id=\"\(id)\" name=\"\(Markup.escaped(name))\" "
            + "timestamp=\"\(time)\" hostname=\"localhost\" tests=\"\(cases.count)\" "
            + "failures=\"\(failures)\" errors=\"\(errors)\" time=\"\(Format.decimal(seconds, digits: 3))\">"
        let each = Format.decimal(seconds / Double(max(cases.count, 1)), digits: 6)
        return ["  " + opening, "    <properties>"]
            + properties.map {
                "      <property name=\"\(Markup.escaped($0.name))\" value=\"\(Markup.escaped($0.value))\"/>"
            } + ["    </properties>"]
            + cases.map { "    " + $0.element(classname: package + "." + name, time: each) }
            + [
                "    <system-out>\(Markup.escaped(output))</system-out>",
                "    <system-err></system-err>",
                "  </testsuite>",
            ]
    }
}

extension JUnitReport.Case {
    fileprivate func element(classname: String, time: String) -> String {
        let opening =
            "<testcase name=\"\(Markup.escaped(name))\" classname=\"\(Markup.escaped(classname))\" time=\"\(time)\""
        func outcome(_ element: String, _ type: String, _ message: String) -> String {
            let text = Markup.escaped(message)
            return
                "\(opening)><\(element) type=\"\(Markup.escaped(type))\" message=\"\(text)\">\(text)"
                + "</\(element)></testcase>"
        }
        switch self.outcome {
        case .passed: return opening + "/>"
        case .failed(let type, let message): return outcome("failure", type, message)
        case .error(let type, let message): return outcome("error", type, message)
        }
    }
}

extension Verification {
    /// One case for each way in which a golden may not fit, whatever it is about, and one for each
    /// layer.
    package var junit: JUnitReport.Suite {
        let contract = Problem.Kind.ofComparisons.map { kind -> JUnitReport.Case in
            let messages = problems.filter { $0.kind == kind }.map(\.message)
            return .init(
                name: "contract." + kind.rawValue,
                outcome: messages.isEmpty
                    ? .passed
                    : .failed(type: kind.rawValue, message: messages.joined(separator: "; ")))
        }
        let faults = Dictionary(grouping: problems.filter { $0.path != nil }) { $0.path ?? "" }
        let layers = compared.map(\.path)
        let uncompared = problems.compactMap(\.path).filter { !layers.contains($0) }
        var seen = Set<String>()
        let cases =
            compared.map { .init(name: $0.path, outcome: outcome($0, faults[$0.path] ?? [])) }
            + uncompared.filter { seen.insert($0).inserted }.map {
                JUnitReport.Case(name: $0, outcome: outcome(nil, faults[$0] ?? []))
            }
        return .init(
            name: "\(model) against \(reference)", startedAt: startedAt, seconds: seconds,
            properties: [
                ("verdict", verdict.rawValue), ("metric", metric.rawValue),
                ("tolerance", Format.scientific(tolerance)), ("compute", compute),
                ("numerics", numerics.rawValue), ("cause", cause ?? ""),
            ], cases: contract + cases, output: explanation.joined(separator: "\n"))
    }

    /// What became of a layer: its comparison, `nil` where there is none, and what is wrong with
    /// its golden.
    private func outcome(_ layer: Layer?, _ faults: [Problem]) -> JUnitReport.Case.Outcome {
        if let fault = faults.first {
            return .failed(
                type: fault.kind.rawValue, message: faults.map(\.message).joined(separator: "; "))
        }
        guard let layer, !layer.passes else { return .passed }
        let value = metric.value(layer.comparison)
        let message =
            "\(metric.rawValue) \(Format.scientific(value)) > \(Format.scientific(layer.tolerance))"
            + (layer.comparison.nonfinite > 0
                ? ", \(Format.counted(layer.comparison.nonfinite, "value")) not finite" : "")
            + (layer.path == attribution?.cause ? "; the cause" : "")
        return verdict == .inconclusive
            ? .error(type: Verdict.inconclusive.rawValue, message: message)
            : .failed(type: metric.rawValue, message: message)
    }
}
