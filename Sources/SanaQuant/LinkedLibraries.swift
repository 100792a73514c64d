import CZstd

/// Versions of the libraries that this program runs with.
public enum LinkedLibraries {
    /// Version of libzstd, such as `1.5.4`.
    public static var zstdVersion: String { String(cString: ZSTD_versionString()) }
}
