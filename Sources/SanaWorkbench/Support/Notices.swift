import Synchronization

/// Hears what runners have to say meanwhile; the command shows it, nothing here writes to a
/// terminal.
package protocol NoticeListener: Sendable {
    /// A note that `--quiet` leaves out.
    func note(_ text: String)
    /// Something that may not be meant; the work goes on.
    func warn(_ text: String)
    /// The display of how far the work called `title` is.
    func progress(_ title: String) -> any ProgressDisplay
}

/// Shows how far work is.
package protocol ProgressDisplay: AnyObject, Sendable {
    /// Shows a text; may be called from any thread.
    func show(_ text: String)
    /// Shows `completed` of `total`; may be called from any thread.
    func update(_ completed: Int, of total: Int)
    /// The work has ended.
    func finish()
}

/// Where runners say what goes on. Without a listener nobody hears it.
package enum Notices {
    private static let current = Mutex<(any NoticeListener)?>(nil)

    /// Sends all further notices to `listener`.
    package static func listen(_ listener: any NoticeListener) {
        current.withLock { $0 = listener }
    }

    package static func note(_ text: String) { listener?.note(text) }

    package static func warn(_ text: String) { listener?.warn(text) }

    package static func progress(_ title: String) -> any ProgressDisplay {
        listener?.progress(title) ?? Unseen()
    }

    private static var listener: (any NoticeListener)? { current.withLock { $0 } }

    /// Progress that nobody looks at.
    private final class Unseen: ProgressDisplay {
        package func show(_ text: String) {}
        package func update(_ completed: Int, of total: Int) {}
        package func finish() {}
    }
}
