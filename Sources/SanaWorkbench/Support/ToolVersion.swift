import CBuildInfo

/// Which build of sana-tools this is.
package enum ToolVersion {
    /// Of the release; RELEASING.md says what else changes with it.
    package static let number = "0.1.0"

    /// The number with the commit that the program was built from, if the build knows it.
    package static var text: String {
        let commit = String(cString: sana_build_commit())
        return commit.isEmpty ? number : "\(number) (\(commit))"
    }
}
