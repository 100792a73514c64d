import GRDB

/// Sizes of a forward as its network calls them.
extension Schema {
    /// The seventh migration: `sizes` takes the place of a column for each size that transformers
    /// have, so that another network's need no column.
    package static func addSizes(_ db: Database) throws {
        let kept = """
            id, architecture, kind, model, dtype, reference, machine, threads, compute, numerics,
            clock
            """
        try db.execute(
            sql: """
                DROP VIEW layer_result;
                -- Runs that may be compared. Columns that do not bear on a kind are empty or 0.
                CREATE TABLE series_7 (
                    id INTEGER PRIMARY KEY,
                    architecture TEXT NOT NULL,
                    kind TEXT NOT NULL,
                    model TEXT NOT NULL,
                    dtype TEXT NOT NULL,
                    reference TEXT NOT NULL,
                    machine TEXT NOT NULL,
                    threads INTEGER NOT NULL,
                    compute TEXT NOT NULL,
                    numerics TEXT NOT NULL,
                    clock TEXT NOT NULL,
                    -- As in run.
                    sizes TEXT NOT NULL,
                    UNIQUE (architecture, kind, model, dtype, reference, machine, threads, compute,
                        numerics, clock, sizes)
                ) STRICT;
                INSERT INTO series_7 (\(kept), sizes) SELECT \(kept), \(sizesOfColumns) FROM series;
                DROP TABLE series;
                ALTER TABLE series_7 RENAME TO series;
                -- A JSON object without white space: names in order, whole numbers above 0.
                ALTER TABLE run ADD COLUMN sizes TEXT NOT NULL DEFAULT '{}';
                UPDATE run SET sizes = \(sizesOfColumns);
                ALTER TABLE run DROP COLUMN batch;
                ALTER TABLE run DROP COLUMN height;
                ALTER TABLE run DROP COLUMN width;
                ALTER TABLE run DROP COLUMN caption_tokens;
                """)
        try db.execute(
            sql: layerResult(
                sizes: """
                    \(size("batch")), \(size("height")), \(size("width")), run.sizes
                    """))
    }

    /// The text of `RunSizes` from the columns of old versions, where 0 stands for what a network
    /// does not have. One without a latent is a text encoder, which has tokens, but no captions.
    private static let sizesOfColumns = """
        '{' || rtrim(
            CASE WHEN batch > 0 THEN '"batch":' || batch || ',' ELSE '' END
            || CASE WHEN caption_tokens > 0 AND height > 0
                THEN '"caption_tokens":' || caption_tokens || ',' ELSE '' END
            || CASE WHEN height > 0 THEN '"height":' || height || ',' ELSE '' END
            || CASE WHEN caption_tokens > 0 AND height = 0
                THEN '"tokens":' || caption_tokens || ',' ELSE '' END
            || CASE WHEN width > 0 THEN '"width":' || width || ',' ELSE '' END, ',') || '}'
        """

    /// A size as a column of its own, 0 where the network does not have it. SQLite does not trust a
    /// view with its functions for JSON: a number ends where its digits do.
    private static func size(_ name: String) -> String {
        let key = "\"\(name)\":"
        return """
            CASE WHEN instr(run.sizes, '\(key)') > 0
                THEN CAST(substr(run.sizes, instr(run.sizes, '\(key)') + \(key.count)) AS INTEGER)
                ELSE 0 END AS \(name)
            """
    }
}
