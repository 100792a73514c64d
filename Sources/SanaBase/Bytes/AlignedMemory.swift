import CSignalCleanup
import Libc

/// Memory for values: on cache lines, and in huge pages where it is large, since a page that is
/// touched first costs more than the bytes that are put there.
public enum AlignedMemory {
    private static let hugePageByteCount = 2 << 20

    /// Uninitialised memory. A megabyte or more is untouched until written, so a count that is too
    /// large costs address space only. Ends the process with a message where there is none.
    public static func allocate(byteCount: Int) -> UnsafeMutableRawPointer {
        let isLarge = byteCount >= 2 * hugePageByteCount
        var address: UnsafeMutableRawPointer?
        guard posix_memalign(&address, isLarge ? hugePageByteCount : 64, max(byteCount, 1)) == 0,
            let address
        else { signal_cleanup_out_of_memory(byteCount) }
        #if os(Linux)
            if isLarge { madvise(address, byteCount, MADV_HUGEPAGE) }
        #endif
        return address
    }

    /// Releases what `allocate` returned.
    public static func deallocate(_ address: UnsafeMutableRawPointer) { free(address) }
}
