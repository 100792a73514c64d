import Foundation
import GRDB

/// Puts wrong values into a database that stays whole as one: what a stranger's history may hold.
enum DatabaseValues {
    /// Changes one to three values of any table.
    static func change(_ path: String, _ mutator: inout Mutator) throws {
        var configuration = Configuration()
        configuration.foreignKeysEnabled = false
        try DatabaseQueue(path: path, configuration: configuration).writeWithoutTransaction { db in
            try db.execute(sql: "PRAGMA ignore_check_constraints = ON")
            let tables = try String.fetchAll(
                db,
                sql: "SELECT name FROM sqlite_master WHERE type = 'table' "
                    + "AND name NOT LIKE 'sqlite_%' ORDER BY name")
            for _ in 0...mutator.below(3) {
                let table = tables[mutator.below(tables.count)]
                let columns = try db.columns(in: table).map(\.name)
                let column = columns[mutator.below(columns.count)]
                let (row, value) = (mutator.below(20), value(&mutator))
                // A strict column or a unique index may refuse it, and a table has fewer rows.
                try? db.execute(
                    sql: "UPDATE OR IGNORE \"\(table)\" SET \"\(column)\" = ? WHERE rowid = "
                        + "(SELECT rowid FROM \"\(table)\" LIMIT 1 OFFSET ?)",
                    arguments: [value, row])
            }
        }
    }

    private static func value(_ mutator: inout Mutator) -> (any DatabaseValueConvertible)? {
        switch mutator.below(5) {
        case 0: return nil
        case 1: return [0, -1, 1, 65536, Int64.max, Int64.min, 1 << 40][mutator.below(7)]
        case 2:
            return [0, -1, .infinity, -.infinity, 1e308, 1e-308, -0.5][mutator.below(7)] as Double
        case 3: return mutator.oddName()
        default: return (0..<mutator.below(64)).map { _ in UInt8(mutator.below(256)) }.databaseBlob
        }
    }
}

extension [UInt8] {
    fileprivate var databaseBlob: DatabaseValue { Data(self).databaseValue }
}
