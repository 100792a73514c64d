import COpenBLAS
import CSanaKernels

/// The C kernels of this processor.
///
/// `nonisolated(unsafe)`: the tables are constants of the C library, and one is chosen before
/// threads start.
enum Kernels {
    /// The fastest set that runs here, or the one that was chosen; all sets give the same bits.
    nonisolated(unsafe) fileprivate(set) static var best: sk_kernels = sk_kernels_best().pointee

    /// Name of the set, for records: `avx2` or `portable`.
    static var name: String { String(cString: best.name) }
}

/// What runs the arithmetic on this processor.
public enum Arithmetic {
    /// Our own kernels, and those that OpenBLAS chose where it multiplies, for records: `avx2`, or
    /// `portable, OpenBLAS Prescott`.
    public static var description: String {
        guard Kernels.best.multiplies_f32 == 0 else { return Kernels.name }
        return "\(Kernels.name), OpenBLAS \(blasCore)"
    }

    /// The sets of kernels that this processor runs, the fastest first.
    public static var available: [String] {
        var names: [String] = []
        while let set = sk_kernels_at(names.count) {
            names.append(String(cString: set.pointee.name))
        }
        return names
    }

    /// Whether products of bf16 are faster than those of fp32.
    public static var hasFastBF16: Bool { Kernels.best.rounds_to_pairs != 0 }

    /// Computes with the set called `name` from now on, before anything else does.
    ///
    /// - Returns: `false` where it is none of `available`.
    public static func choose(_ name: String) -> Bool {
        guard sk_kernels_choose(name) != 0 else { return false }
        Kernels.best = sk_kernels_best().pointee
        return true
    }

    /// Gets ready to multiply on as many threads as `workers` has.
    ///
    /// - Parameter needsBLAS: whether OpenBLAS will be called even where our own kernels multiply.
    /// - Throws: `MemoryError`.
    public static func prepare(for workers: WorkerPool, needsBLAS: Bool = false) throws(MemoryError)
    {
        guard needsBLAS || Kernels.best.multiplies_f32 == 0 else { return }
        try prepareBLAS(callers: workers.threadCount)
    }

    /// Loads OpenBLAS for that many calls at a time.
    static func prepareBLAS(callers: Int) throws(MemoryError) {
        guard let problem = blas_prepare(Int32(clamping: callers)) else { return }
        throw MemoryError(String(cString: problem))
    }

    /// The processor that OpenBLAS takes this one for; `Prescott` where it knows none of it.
    public static var blasCore: String { String(cString: blas_core()) }

    /// The version of OpenBLAS; `nil` where it does not tell.
    public static var blasVersion: String? {
        let words = String(cString: blas_config()).split(separator: " ")
        return words.count > 1 && words[0] == "OpenBLAS" ? String(words[1]) : nil
    }
}
