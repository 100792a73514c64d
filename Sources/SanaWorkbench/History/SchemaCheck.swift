import GRDB
import SanaModel

/// Whether the tables of a file are those of a history. Reads the schema, and no more.
package struct SchemaCheck {
    /// Migrations that the file has seen; 0 for one that never got further.
    package let version: Int
    /// Whether tables, indexes and view are of the newest version, to the letter. Tables and
    /// indexes of other names may be there, too.
    package let isOurs: Bool

    /// Why a file is not a history.
    package struct Failure: Error { let reason: String }
    package struct IsNewer: Error {}

    /// The schema that our own migrations make.
    package struct Reference: Sendable {
        /// Names of columns by table.
        package let columns: [String: [String]]
        /// Text by name, but for the table of migrations.
        package let texts: [String: String]
    }

    /// - Throws: `Failure`, `IsNewer`, `DatabaseError`.
    package init(_ db: Database) throws {
        let objects = try Row.fetchAll(
            db,
            sql: """
                SELECT type, name, tbl_name, CAST(sql AS TEXT) AS sql FROM sqlite_master
                WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\' LIMIT 201
                """)
        guard objects.count <= 200 else { throw Failure(reason: "it has too many tables") }
        var texts: [String: String] = [:]
        var tables = Set<String>()
        for object in objects {
            let (type, name): (String, String) = (object["type"] ?? "", object["name"] ?? "")
            let text: String = object["sql"] ?? ""
            texts[name] = text
            let isVirtual = text.uppercased().hasPrefix("CREATE VIRTUAL")
            switch type {
            case "table" where !isVirtual: tables.insert(name)
            case "index",
                "view" where name == Schema.viewName:
                break
            default:
                throw Failure(reason: "it has the \(isVirtual ? "virtual table" : type) '\(name)'")
            }
        }
        guard !tables.isEmpty else { (version, isOurs) = (0, false); return }
        guard tables.contains(Schema.migrationTable) else {
            throw Failure(reason: "it is not a sana-tools history database")
        }
        try Self.require(Schema.migrationTable, ["identifier"], db)
        switch try Schema.version(db) {
        case .newer: throw IsNewer()
        case .foreign: throw Failure(reason: "it is not a sana-tools history database")
        case .known(let count): version = count
        }
        guard version > 0 || tables.count == 1 else {
            throw Failure(reason: "it is not a sana-tools history database")
        }
        let reference = try Self.reference(version)
        for (table, columns) in reference.columns where table != Schema.migrationTable {
            guard tables.contains(table) else {
                throw Failure(reason: "it has no table '\(table)'")
            }
            try Self.require(table, columns, db)
            // Nothing executes it, but no table of ours has such text.
            if let text = texts[table], text != reference.texts[table], text.contains(";") {
                throw Failure(
                    reason: "the definition of table '\(table)' has more than one statement")
            }
        }
        isOurs =
            version == Schema.migrations.count
            && reference.texts.allSatisfy { texts[$0.key] == $0.value }
    }

    private static func require(_ table: String, _ columns: [String], _ db: Database) throws {
        let found = try Row.fetchAll(db, sql: "PRAGMA table_xinfo(\"\(table)\")")
        guard found.allSatisfy({ ($0["hidden"] as Int?) == 0 }),
            Set(found.map { $0["name"] as String? }) == Set(columns)
        else { throw Failure(reason: "table '\(table)' has unexpected columns") }
    }

    private static let newest = Result { try makeReference(Schema.migrations.count) }

    package static func reference(_ version: Int) throws -> Reference {
        try version == Schema.migrations.count ? newest.get() : makeReference(version)
    }

    private static func makeReference(_ version: Int) throws -> Reference {
        try DatabaseQueue().writeWithoutTransaction { db in
            try Schema.migrate(db, upTo: version)
            let objects = try Row.fetchAll(
                db,
                sql: """
                    SELECT type, name, sql FROM sqlite_master
                    WHERE name NOT LIKE 'sqlite\\_%' ESCAPE '\\'
                    """)
            var (columns, texts): ([String: [String]], [String: String]) = ([:], [:])
            for object in objects {
                let (type, name): (String, String) = (object["type"], object["name"])
                if type == "table" { columns[name] = try db.columns(in: name).map(\.name) }
                if name != Schema.migrationTable { texts[name] = object["sql"] }
            }
            return Reference(columns: columns, texts: texts)
        }
    }
}
