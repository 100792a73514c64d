import SanaModel

/// A request that cannot be fulfilled as given.
package struct UsageError: DiagnosticError {
    package let description: String
    package let remedy: String?

    package init(_ description: String, remedy: String? = nil) {
        (self.description, self.remedy) = (description, remedy)
    }

    package var category: DiagnosticCategory { .usage }
}
