import SanaModel

/// An error about a value that sana-tools.yaml gave, which therefore says where it stands.
package struct ProjectValueError: DiagnosticError {
    package let file: String
    package let key: String
    package let cause: any DiagnosticError

    package var category: DiagnosticCategory { cause.category }
    package var description: String { "\(cause.description) ('\(key)' in \(file.printable))" }
    package var remedy: String? { cause.remedy }
    package var page: HelpPage? { cause.page }
}

extension ProjectFile? {
    /// Runs what works with the value of `key`; its errors name the file and the key.
    ///
    /// - Parameter categories: which errors can be the value's fault.
    package func blaming<Value>(
        _ key: String, for categories: Set<DiagnosticCategory>? = nil, _ body: () throws -> Value
    ) throws -> Value {
        guard let project = self else { return try body() }
        do { return try body() } catch let error as any DiagnosticError {
            guard categories?.contains(error.category) ?? true else { throw error }
            throw ProjectValueError(file: project.label, key: key, cause: error)
        }
    }
}
