import SanaModel
import SanaQuant

/// Bad data in a MODEL, with the command that shows everything that is wrong with it.
package struct ModelFault: DiagnosticError {
    /// The model as the user named it.
    package let model: String
    package let cause: any DiagnosticError

    package var category: DiagnosticCategory { cause.category }
    package var description: String { cause.description }
    package var remedy: String? {
        let inspect = "run 'sana-tools inspect \(model.printable)'"
        return cause.remedy.map { "\($0); to see all problems, \(inspect)" } ?? inspect
    }
    package var page: HelpPage? { cause.page }

    /// Runs what opens or reads `model`.
    ///
    /// - Throws: errors about the data with the advice to inspect the model, all others as they
    ///   are.
    package static func advising<Value>(_ model: String, _ body: () throws -> Value) throws -> Value
    {
        do { return try body() } catch let error as any DiagnosticError {
            throw of(model, error)
        }
    }

    /// An error of opening or reading `model` as it is shown, see `advising`.
    package static func of(_ model: String, _ error: any DiagnosticError) -> any DiagnosticError {
        guard error.category == .badData, !(error is ModelFault) else { return error }
        return ModelFault(model: model, cause: error)
    }
}
