import Foundation
import Synchronization

/// The one process that a command may have started, which should not outlive it.
enum ChildProcess {
    /// Its number; 0 while there is none.
    static let current = Atomic<Int32>(0)

    /// Passes a signal on. Safe in a signal handler.
    static func forward(_ number: Int32) {
        let child = current.load(ordering: .relaxed)
        if child > 0 { kill(child, number) }
    }
}
