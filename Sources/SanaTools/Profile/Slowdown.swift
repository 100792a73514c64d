#if SLOWDOWN
    import Foundation
    import SanaModel

    /// Makes modules really slower, so that what finds a slow model can be measured.
    ///
    /// `SANA_SLOWDOWN=transformer_blocks.1=0.05` gives that block 5 % more work on the processors that
    /// it uses, `total=0.03` the forward 3 %, at its end. Only debug builds, and those with
    /// `-Xswiftc -DSLOWDOWN`, know it.
    final class Slowdown: LayerProbe {
        private let path: String
        private let share: Double
        private let inner: any LayerProbe
        private let workers: WorkerPool
        private var depth = 0
        /// Processor time of this thread and of all at the begin of the module.
        private var started: (mine: Int, all: Int)?

        var readsActivations: Bool { inner.readsActivations }

        private init(
            _ path: String, _ share: Double, _ inner: any LayerProbe, _ workers: WorkerPool
        ) {
            (self.path, self.share, self.inner, self.workers) = (path, share, inner, workers)
        }

        /// `inner`, behind the slowdown that the environment asks for.
        static func around(_ inner: any LayerProbe, _ workers: WorkerPool) -> any LayerProbe {
            let parts = ProcessInfo.processInfo.environment["SANA_SLOWDOWN"]?.split(separator: "=")
            guard let parts, parts.count == 2, let share = Double(parts[1]), 0 < share, share < 10
            else { return inner }
            return Slowdown(String(parts[0]), share, inner, workers)
        }

        func begin(_ path: String) {
            inner.begin(path)
            depth += 1
            if isTotal ? depth == 1 && started == nil : path == self.path {
                started = (Self.threadTime, HostState.ownProcessorTime)
            }
        }

        func end(_ path: String, _ outputs: [Activation]) {
            if path == (isTotal ? "proj_out" : self.path), let started {
                let mine = Self.threadTime - started.mine
                spin(mine, others: HostState.ownProcessorTime - started.all - mine)
                self.started = nil
            }
            depth -= 1
            inner.end(path, outputs)
        }

        private var isTotal: Bool { path == Profile.totalPath }

        /// Takes `share` more of the processor time that the module took on each thread, whatever
        /// else runs on the machine.
        private func spin(_ mine: Int, others: Int) {
            let theirs = others / max(1, workers.threadCount - 1)
            workers.run(workers.threadCount) { index, _ in
                let end = Self.threadTime + Int(share * Double(index == 0 ? mine : theirs))
                while Self.threadTime < end {}
            }
        }

        /// Nanoseconds that this thread has run.
        private static var threadTime: Int {
            var time = timespec()
            clock_gettime(CLOCK_THREAD_CPUTIME_ID, &time)
            return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
        }
    }
#endif
