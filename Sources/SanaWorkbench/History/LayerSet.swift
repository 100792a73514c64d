import Foundation
import GRDB
import SanaModel

/// Rows of layers that runs share: errors are the same to the bit from night to night, and the work
/// of a layer is that of its model.
package enum LayerSet {
    /// The set that holds just these rows of `table`; made where there is none.
    ///
    /// - Parameters:
    ///   - columns: names of the values.
    ///   - rows: by ascending layer.
    /// - Returns: its key, `nil` for no rows.
    package static func find(
        _ table: String, _ columns: [String], _ rows: [[DatabaseValue]], _ db: Database
    ) throws -> Int64? {
        guard !rows.isEmpty else { return nil }
        let names = columns.joined(separator: ", ")
        for attempt in 0... {
            let digest = digest(table, columns, rows, attempt)
            guard
                let known = try Int64.fetchOne(
                    db, sql: "SELECT id FROM layer_set WHERE digest = ?", arguments: [digest])
            else { return try insert(table, columns, rows, digest, db) }
            // Somebody may have changed rows by hand.
            let stored = try Row.fetchAll(
                db, sql: "SELECT \(names) FROM \(table) WHERE set_id = ? ORDER BY layer_id",
                arguments: [known])
            if stored.map({ Array($0.databaseValues) }) == rows { return known }
        }
        return nil
    }

    private static func insert(
        _ table: String, _ columns: [String], _ rows: [[DatabaseValue]], _ digest: Data,
        _ db: Database
    ) throws -> Int64 {
        try db.execute(sql: "INSERT INTO layer_set (digest) VALUES (?)", arguments: [digest])
        let id = db.lastInsertedRowID
        let names = (["set_id"] + columns).joined(separator: ", ")
        let places = Array(repeating: "?", count: columns.count + 1).joined(separator: ", ")
        let insert = try db.cachedStatement(
            sql: "INSERT INTO \(table) (\(names)) VALUES (\(places))")
        for row in rows {
            try insert.execute(arguments: StatementArguments([id.databaseValue] + row))
        }
        return id
    }

    /// Removes the sets that no run has.
    package static func removeUnused(_ db: Database) throws {
        try db.execute(
            sql: """
                DELETE FROM layer_set
                WHERE NOT EXISTS (SELECT 1 FROM run WHERE error_set = layer_set.id)
                    AND NOT EXISTS (SELECT 1 FROM run WHERE work_set = layer_set.id)
                """)
    }

    private static func digest(
        _ table: String, _ columns: [String], _ rows: [[DatabaseValue]], _ attempt: Int
    ) -> Data {
        let hash = ContentHash()
        func update(_ tag: UInt8, _ bytes: [UInt8]) {
            withUnsafeBytes(of: UInt64(bytes.count).littleEndian) {
                hash.update([tag] + $0)
            }
            hash.update(bytes)
        }
        for name in [table] + columns { update(0, Array(name.utf8)) }
        update(0, Array("\(attempt)".utf8))
        for value in rows.joined() {
            switch value.storage {
            case .null: update(1, [])
            case .int64(let number): update(2, withUnsafeBytes(of: number.littleEndian, Array.init))
            case .double(let number):
                // A column of whole numbers and of fractions has both kinds of storage.
                update(3, withUnsafeBytes(of: number.bitPattern.littleEndian, Array.init))
            case .string(let text): update(4, Array(text.utf8))
            case .blob(let data): update(5, Array(data))
            }
        }
        return Data(hash.digest)
    }
}
