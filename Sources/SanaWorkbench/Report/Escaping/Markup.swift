import Mustache
import SanaModel

/// Text in an element or a quoted attribute of HTML, SVG or XML.
///
/// Works on scalars: a `Character` may be a `<` with what stands before or after it, and is no `<`
/// then.
package enum Markup {
    /// The text with markup escaped, and hidden scalars, among them all that XML forbids, shown as
    /// `\u{1b}`; tabs and line breaks stay what they are.
    package static func escaped(_ text: String) -> String {
        var result = ""
        for scalar in text.unicodeScalars {
            switch scalar {
            case "&": result += "&amp;"
            case "<": result += "&lt;"
            case ">": result += "&gt;"
            case "\"": result += "&quot;"
            case "'": result += "&#39;"
            case "\t", "\n", "\r": result += "&#\(scalar.value);"
            case _ where scalar.isHidden: result += scalar.escape
            default: result.unicodeScalars.append(scalar)
            }
        }
        return result
    }

    /// What a template's pragma calls the escaping of this type; Mustache's own works on
    /// Characters.
    package static let contentType: Void = MustacheContentTypes.register(
        ContentType(), named: "MARKUP")

    private struct ContentType: MustacheContentType {
        package func escapeText(_ text: String) -> String { Markup.escaped(text) }
    }
}
