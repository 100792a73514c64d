/// One thing that `doctor` looked at.
package struct HealthCheck: Sendable {
    package enum Status: String, Sendable { case ok, warning, error }

    /// `machine`, `libraries` or `project`.
    package let group: String
    /// What was looked at, such as `kernels`.
    package let name: String
    package let status: Status
    /// What was found.
    package let detail: String
    /// What to do about a warning or an error.
    package let hint: String?

    /// Nothing is wrong with it.
    package init(_ group: String, _ name: String, _ detail: String) {
        self.init(group, name, .ok, detail)
    }

    package init(
        _ group: String, _ name: String, _ status: Status, _ detail: String, hint: String? = nil
    ) {
        (self.group, self.name, self.status, self.detail, self.hint) = (
            group, name, status, detail, hint
        )
    }
}
