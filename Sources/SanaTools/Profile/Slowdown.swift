#if SLOWDOWN
    import Foundation
    import SanaModel

    /// Makes modules really slower, so that what finds a slow model can be measured.
    ///
    /// `SANA_SLOWDOWN=transformer_blocks.1=0.05` gives that block 5 % more work on the processors that
    /// it uses, `total=0.03` every outermost module 3 %. Only debug builds, and those with
    /// `-Xswiftc -DSLOWDOWN`, know it.
    final class Slowdown: LayerProbe {
        private let path: String
        private let share: Double
        private let inner: any LayerProbe
        private let workers: WorkerPool
        private var depth = 0
        private var started: (wall: ContinuousClock.Instant, cpu: Int)?

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
            if isMeant(path) { started = (.now, HostState.ownProcessorTime) }
        }

        func end(_ path: String, _ outputs: [Activation]) {
            if isMeant(path), let started {
                let wall = ContinuousClock.now - started.wall
                let cpu = Double(HostState.ownProcessorTime - started.cpu)
                spin(wall, processors: cpu / max(1, Double(wall.inNanoseconds)))
                self.started = nil
            }
            depth -= 1
            inner.end(path, outputs)
        }

        private func isMeant(_ path: String) -> Bool {
            self.path == Profile.totalPath ? depth == 1 : path == self.path
        }

        /// Keeps as many processors busy as the module did, so that both clocks rise by `share`.
        private func spin(_ wall: Duration, processors: Double) {
            let others = max(0, processors - 1) / Double(max(1, workers.threadCount - 1))
            let start = ContinuousClock.now
            workers.run(workers.threadCount) { index, _ in
                let end = start + wall * (index == 0 ? share : share * min(1, others))
                while ContinuousClock.now < end {}
            }
        }
    }
#endif
