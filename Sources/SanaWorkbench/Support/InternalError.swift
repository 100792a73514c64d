import SanaModel

/// A defect of the program.
package struct InternalError: DiagnosticError {
    package let description: String

    /// - Parameter reason: what happened.
    package init(_ reason: String) { description = "internal error: \(reason)" }

    package var category: DiagnosticCategory { .internalError }
    package var remedy: String? { "report it, with the command and this message" }
    package var page: HelpPage? { .internalError }
}
