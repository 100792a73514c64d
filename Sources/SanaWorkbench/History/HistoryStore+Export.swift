import GRDB
import SanaModel

extension HistoryStore {
    /// Hands out the rows of the view `layer_result`, by run and layer.
    ///
    /// - Parameter runs: numbers of runs; all where it is empty.
    package func export(
        _ runs: [Int64], _ body: ([(name: String, value: JSONValue)]) throws -> Void
    ) throws {
        try reading { db in
            let all = try runs.isEmpty ? Int64.fetchAll(db, sql: "SELECT id FROM run") : runs
            for run in all.sorted() {
                let cursor = try Row.fetchCursor(
                    db, sql: "SELECT * FROM layer_result WHERE run_id = ? ORDER BY path",
                    arguments: [run])
                while let row = try cursor.next() {
                    try row.requireFinite()
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
