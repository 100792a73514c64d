import Testing

/// What keeps a suite or a test out of `make test-fast`.
extension Tag {
    /// Starts the built program or another process.
    @Tag public static var process: Self
    /// Computes for long.
    @Tag public static var slow: Self
}
