/// One thing that `doctor` looked at.
struct HealthCheck: Sendable {
    enum Status: String, Sendable { case ok, warning, error }

    /// `machine`, `libraries` or `project`.
    let group: String
    /// What was looked at, such as `kernels`.
    let name: String
    let status: Status
    /// What was found.
    let detail: String
    /// What to do about a warning or an error.
    let hint: String?

    /// Nothing is wrong with it.
    init(_ group: String, _ name: String, _ detail: String) {
        self.init(group, name, .ok, detail)
    }

    init(
        _ group: String, _ name: String, _ status: Status, _ detail: String, hint: String? = nil
    ) {
        (self.group, self.name, self.status, self.detail, self.hint) = (
            group, name, status, detail, hint
        )
    }
}
