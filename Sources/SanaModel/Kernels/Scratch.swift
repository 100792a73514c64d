import Synchronization

/// One of the scratch buffers of a forward: whoever asks a context for the same one gets the same
/// memory.
///
/// What needs memory of its own declares it next to itself, so that no other can write to it.
/// Layers that never run inside each other share those below.
struct Scratch: Hashable {
    private let number: Int
    private var index = 0

    private static let count = Atomic(0)

    /// A buffer distinct from all others.
    init() { number = Self.count.add(1, ordering: .relaxed).newValue }

    /// One of several of a kind.
    subscript(index: Int) -> Scratch {
        var scratch = self
        scratch.index = index
        return scratch
    }

    static let hidden = Scratch()
    static let norm = Scratch()
    static let branch = Scratch()
    static let query = Scratch()
    static let key = Scratch()
    static let value = Scratch()
    static let attended = Scratch()
    static let captions = Scratch()
    static let timestep = Scratch()
    static let timestepEmbedded = Scratch()
}
