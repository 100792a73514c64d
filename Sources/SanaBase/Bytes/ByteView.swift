import Libc

/// A run of immutable bytes that keeps its memory alive: a slice of a mapped file, or decoded data.
public struct ByteView: Sendable {
    private let memory: ByteMemory
    private let range: Range<Int>

    /// Maps the file at `path` for reading. Pages are loaded as they are touched.
    ///
    /// - Throws: `FileError`; `BadDataError` for a directory, pipe or device.
    public init(mapping path: String) throws {
        // Without O_NONBLOCK a named pipe would hang here until someone writes to it.
        let descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
        guard descriptor >= 0 else { throw FileError(.open, path, code: errno) }
        defer { close(descriptor) }
        var status = stat()
        guard fstat(descriptor, &status) == 0 else { throw FileError(.read, path, code: errno) }
        guard status.st_mode & S_IFMT == S_IFREG else {
            throw BadDataError(
                file: path,
                reason: status.st_mode & S_IFMT == S_IFDIR
                    ? "is a directory, not a file" : "is a pipe or device, not a regular file",
                remedy: "give a regular file")
        }
        let count = Int(status.st_size)
        guard count > 0 else {
            self.init(count: 0) { _ in }
            return
        }
        let address = mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0)
        guard let address, address != MAP_FAILED else {
            throw FileError(.map, path, code: errno)
        }
        let memory = ByteMemory(UnsafeRawPointer(address), count, isMapping: true)
        self.init(memory: memory, range: 0..<count)
    }

    /// Allocates `count` bytes, 64-byte aligned, and lets `fill` write them.
    ///
    /// See `AlignedMemory`: a wrong `count` costs address space only.
    public init(
        count: Int, filledBy fill: (UnsafeMutableRawBufferPointer) throws -> Void
    ) rethrows {
        let address = AlignedMemory.allocate(byteCount: count)
        memory = ByteMemory(UnsafeRawPointer(address), count, isMapping: false)
        range = 0..<count
        try fill(UnsafeMutableRawBufferPointer(start: address, count: count))
    }

    /// Copies `bytes`.
    public init(_ bytes: some Collection<UInt8>) {
        self.init(count: bytes.count) { $0.copyBytes(from: bytes) }
    }

    private init(memory: ByteMemory, range: Range<Int>) {
        self.memory = memory
        self.range = range
    }

    public var count: Int { range.count }

    /// The bytes from `start`, `count` of them; both must be inside the view.
    public func slice(_ start: Int, _ count: Int) -> ByteView {
        precondition(start >= 0 && count >= 0 && start <= self.count - count)
        let lower = range.lowerBound + start
        return ByteView(memory: memory, range: lower..<lower + count)
    }

    /// Calls `body` with the bytes, valid during the call.
    public func withUnsafeBytes<Result, Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Result
    ) throws(Failure) -> Result {
        try body(UnsafeRawBufferPointer(start: memory.address + range.lowerBound, count: count))
    }

    /// Gives back the physical memory of these bytes where they are mapped from a file; the next
    /// touch reads them from the file again. Does nothing to bytes that were allocated.
    ///
    /// Safe at any time, while others read the same bytes too: only time is lost then.
    public func releasePages() { memory.releasePages(range) }

    /// The address of the first byte, valid as long as this view or a copy of it lives.
    package var address: UnsafeRawPointer { memory.address + range.lowerBound }
}

extension ByteView {
    /// Bytes that `stream` hands out at once; whole elements of every type.
    private static let stretchByteCount = 4 << 20

    /// Calls `body` with the bytes in order, a stretch at a time, and lets go of the pages behind
    /// it: files larger than memory pass through.
    public func stream<Failure: Error>(
        _ body: (UnsafeRawBufferPointer) throws(Failure) -> Void
    ) throws(Failure) {
        for start in stride(from: 0, to: count, by: Self.stretchByteCount) {
            let part = slice(start, min(Self.stretchByteCount, count - start))
            defer { part.releasePages() }
            try part.withUnsafeBytes(body)
        }
    }
}

/// The owner behind byte views. Immutable after creation, hence sendable.
private final class ByteMemory: @unchecked Sendable {
    let address: UnsafeRawPointer
    private let count: Int
    /// Whether the bytes are a read-only mapping of a file; otherwise they were allocated.
    private let isMapping: Bool

    init(_ address: UnsafeRawPointer, _ count: Int, isMapping: Bool) {
        (self.address, self.count, self.isMapping) = (address, count, isMapping)
    }

    deinit {
        let address = UnsafeMutableRawPointer(mutating: address)
        if isMapping { munmap(address, count) } else { AlignedMemory.deallocate(address) }
    }

    /// Bytes that Linux maps at once around a page that is touched. Releasing whole runs drops
    /// those that a neighbour's first touch mapped behind our back.
    private static let mappedRun: UInt = 64 << 10

    func releasePages(_ range: Range<Int>) {
        guard isMapping, !range.isEmpty else { return }
        let (run, first) = (Self.mappedRun, UInt(bitPattern: address))
        let start = max(first, (first + UInt(range.lowerBound)) / run * run)
        let end = min(
            first + UInt(count), (first + UInt(range.upperBound) + run - 1) / run * run)
        // Mappings begin with a page and runs are whole pages, so `start` is one's first byte. The
        // pages are never written to: dropping one loses nothing, so a refusal is of no interest.
        madvise(UnsafeMutableRawPointer(bitPattern: start), Int(end - start), MADV_DONTNEED)
    }
}
