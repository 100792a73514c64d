/// Rows as the first versions of the history have them, before runs belonged to series.
public enum OldHistory {
    /// Statements that make run 7, of model `m` with the digest `d` on machine `f`, and layer 5.
    ///
    /// - Parameters:
    ///   - kind: `verify`, `profile` or, from the second version on, `trajectory`.
    ///   - layer: path of the layer.
    ///   - sizes: batch, rows and columns of the latent, tokens; 0 for what a network does not
    ///     have.
    public static func run(
        _ kind: String, layer: String, sizes: (Int, Int, Int, Int) = (1, 8, 8, 12)
    ) -> String {
        """
        INSERT INTO machine VALUES (1, 'f', 'c', 2, 3, 's', 'i');
        INSERT INTO model VALUES (1, 'd', 'BF16', 'm');
        INSERT INTO layer VALUES (5, '\(layer)');
        INSERT INTO run (id, uuid, kind, started_at, tool_version, machine_id, model_id, model_path,
            threads, compute, numerics, batch, height, width, caption_tokens, peak_rss_bytes, seconds)
        VALUES (7, 'u', '\(kind)', '2026-01-01T00:00:00Z', '0.1.0', 1, 1, 'm', 2, 'fp32', 'fp32',
            \(sizes.0), \(sizes.1), \(sizes.2), \(sizes.3), 5, 0.5);

        """
    }
}
