import Synchronization

#if canImport(Glibc)
    import Glibc
#elseif canImport(Musl)
    import Musl
#elseif canImport(Darwin)
    import Darwin
#endif

/// Temporary files and new folders of this process, so that a signal handler can remove them.
public enum PendingOutputs {
    struct Registration {
        fileprivate let list: List
        fileprivate let slot: Int
    }

    enum List { case files, folders }

    private static let slotCount = 1024
    private typealias Slot = Atomic<UnsafeMutablePointer<CChar>?>
    /// `nonisolated(unsafe)`: allocated once and never changed; the slots are atomic.
    nonisolated(unsafe) private static let files = makeSlots()
    nonisolated(unsafe) private static let folders = makeSlots()

    private static func makeSlots() -> UnsafeMutablePointer<Slot> {
        let slots = UnsafeMutablePointer<Slot>.allocate(capacity: slotCount)
        for index in 0..<slotCount { (slots + index).initialize(to: Atomic(nil)) }
        return slots
    }

    private static func slots(_ list: List) -> UnsafeMutablePointer<Slot> {
        switch list {
        case .files: files
        case .folders: folders
        }
    }

    /// Makes `removeAll()` safe to call from a signal handler. Call before the handler is
    /// installed.
    public static func prepare() { _ = (files, folders) }

    /// Unlinks every temporary file and removes new folders that are then empty.
    /// Async-signal-safe after `prepare()`; the process should end after it.
    public static func removeAll() {
        for index in 0..<slotCount {
            if let path = files[index].exchange(nil, ordering: .sequentiallyConsistent) {
                unlink(path)
            }
        }
        // A folder comes after those above it, unless it has taken a slot that became free.
        for _ in 0..<2 {
            for index in (0..<slotCount).reversed() {
                if let path = folders[index].load(ordering: .sequentiallyConsistent) {
                    rmdir(path)
                }
            }
        }
    }

    /// `nil` when all slots are taken: the file is then only removed by its owner.
    static func add(_ path: String, to list: List = .files) -> Registration? {
        guard let copy = strdup(path) else { return nil }
        let slots = slots(list)
        for index in 0..<slotCount {
            let (exchanged, _) = slots[index].compareExchange(
                expected: nil, desired: copy, ordering: .sequentiallyConsistent)
            if exchanged { return Registration(list: list, slot: index) }
        }
        free(copy)
        return nil
    }

    static func remove(_ registration: Registration?) {
        guard let registration else { return }
        let slots = slots(registration.list)
        free(slots[registration.slot].exchange(nil, ordering: .sequentiallyConsistent))
    }
}
