import GRDB

/// The tables of the history, built by named migrations that are only ever appended to.
package enum Schema {
    /// A step from one version of the schema to the next.
    package struct Migration: Sendable {
        package let name: String
        package let migrate: @Sendable (Database) throws -> Void
    }

    package static let migrations = [
        Migration(name: "1 runs", migrate: addRuns),
        Migration(name: "2 causes", migrate: addCauses),
        Migration(name: "3 gate", migrate: addGate),
        Migration(name: "4 problems", migrate: addProblems),
        Migration(name: "5 series and packed samples", migrate: addSeries),
        Migration(name: "6 core distances", migrate: addCoreDistances),
        Migration(name: "7 sizes", migrate: addSizes),
    ]

    package static let migrationTable = "grdb_migrations"
    package static let viewName = "layer_result"

    /// What the table of migrations says.
    package enum Version: Equatable {
        /// So many migrations took place; 0 in a new database.
        case known(Int)
        /// All that are known here, and others.
        case newer
        /// Not the migrations of a history.
        case foreign
    }

    package static func version(_ db: Database) throws -> Version {
        guard try db.tableExists(migrationTable) else { return .known(0) }
        let done = try Set(
            String.fetchAll(db, sql: "SELECT identifier FROM grdb_migrations LIMIT 1000"))
        let names = migrations.map(\.name)
        if done.count > names.count, done.isSuperset(of: names) { return .newer }
        return done == Set(names.prefix(done.count)) ? .known(done.count) : .foreign
    }

    /// Brings a database up to date, in one transaction that keeps other writers out from the first
    /// look on: several processes may start on a new file at once.
    ///
    /// - Parameter count: migrations that the database shall have seen.
    package static func migrate(_ db: Database, upTo count: Int = migrations.count) throws {
        try db.execute(sql: "PRAGMA foreign_keys = OFF")
        try db.inTransaction(.immediate) {
            try db.execute(
                sql:
                    "CREATE TABLE IF NOT EXISTS grdb_migrations (identifier TEXT NOT NULL PRIMARY KEY)"
            )
            guard case .known(let done) = try version(db), done < count else { return .commit }
            for migration in migrations[done..<count] {
                try migration.migrate(db)
                try db.execute(
                    sql: "INSERT INTO grdb_migrations (identifier) VALUES (?)",
                    arguments: [migration.name])
            }
            try db.checkForeignKeys()
            return .commit
        }
        try db.execute(sql: "PRAGMA foreign_keys = ON")
    }
}
