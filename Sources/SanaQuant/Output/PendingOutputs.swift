import CSignalCleanup

/// Temporary files and new directories of this process, which a signal that ends it removes.
enum PendingOutputs {
    struct Registration {
        fileprivate let kind: signal_cleanup_kind
        fileprivate let number: Int32
    }

    static func addFile(_ path: String) -> Registration {
        add(path, SIGNAL_CLEANUP_FILE)
    }

    /// A directory, to be removed if it is empty then.
    static func addFolder(_ path: String) -> Registration {
        add(path, SIGNAL_CLEANUP_FOLDER)
    }

    /// Keeps the file, which has got its name.
    static func finish(_ registration: Registration?) {
        signal_cleanup_note_output()
        remove(registration)
    }

    static func remove(_ registration: Registration?) {
        guard let registration else { return }
        signal_cleanup_forget(registration.kind, registration.number)
    }

    private static func add(_ path: String, _ kind: signal_cleanup_kind) -> Registration {
        Registration(kind: kind, number: signal_cleanup_add(kind, path))
    }
}
