import SanaModel

/// A request that cannot be fulfilled as given.
package struct UsageError: DiagnosticError {
    package let description: String
    package let remedy: String?
    package let page: HelpPage?

    package init(_ description: String, remedy: String? = nil, page: HelpPage? = nil) {
        (self.description, self.remedy, self.page) = (description, remedy, page)
    }

    package var category: DiagnosticCategory { .usage }
}
