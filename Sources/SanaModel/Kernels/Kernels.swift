import CSanaKernels

/// The C kernels of this processor.
///
/// `nonisolated(unsafe)`: the tables are constants of the C library.
enum Kernels {
    /// The fastest set that runs here; all sets give the same bits.
    nonisolated(unsafe) static let best: sk_kernels = sk_kernels_best().pointee

    /// Name of the set, for records: `avx2` or `portable`.
    static var name: String { String(cString: best.name) }
}

/// Name of the instruction set whose kernels run here, for records.
public var kernelInstructionSet: String { Kernels.name }
