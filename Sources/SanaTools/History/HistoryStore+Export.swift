import GRDB
import SanaModel

extension HistoryStore {
    /// Hands out the rows of the view `layer_result`, by run and layer.
    ///
    /// - Parameter runs: numbers of runs; all where it is empty.
    func export(
        _ runs: [Int64], _ body: ([(name: String, value: JSONValue)]) throws -> Void
    ) throws {
        try translatingErrors {
            try queue.read { db in
                let places = runs.map { _ in "?" }.joined(separator: ",")
                let cursor = try Row.fetchCursor(
                    db,
                    sql: "SELECT * FROM layer_result"
                        + (runs.isEmpty ? "" : " WHERE run_id IN (\(places))")
                        + " ORDER BY run_id, path", arguments: StatementArguments(runs))
                while let row = try cursor.next() {
                    try body(row.map { ($0, JSONValue($1)) })
                }
            }
        }
    }
}

extension JSONValue {
    fileprivate init(_ value: DatabaseValue) {
        self =
            switch value.storage {
            case .int64(let number): .number("\(number)")
            case .double(let number): .double(number)
            case .string(let text): .string(text)
            case .null, .blob: .null
            }
    }
}
