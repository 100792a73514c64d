import class Foundation.ProcessInfo
import CSanaKernels
import Libc
import Synchronization

/// A fixed number of threads that share the iterations of a loop.
///
/// Callers split their work the same way whatever `threadCount` is and each iteration writes its
/// own output, so results do not depend on the number of threads, to the bit. For the same reason
/// OpenBLAS, where it multiplies, runs single-threaded inside each worker.
///
/// Each worker starts with a run of iterations of its own, since what neighbours write is next to
/// each other in memory and lines that two cores write in turn travel between their caches; who is
/// done helps the others.
public final class WorkerPool: @unchecked Sendable {
    /// Threads that work on a loop, the caller included.
    public let threadCount: Int

    private let mutex = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
    private let wake = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private let done = UnsafeMutablePointer<pthread_cond_t>.allocate(capacity: 1)
    private var threads: [pthread_t] = []
    private var clocks: [clockid_t] = []
    private let runs: [WorkerRun]
    /// What threads spent on looking for work and for the end of others', by worker.
    private let looks: [LookTime]

    private let progress = LoopProgress()

    // Guarded by `mutex`.
    private var stopping = false
    private var loop: ((Int, Int) -> Void)?

    /// - Parameter threadCount: at least 1; by default one per processor of this process.
    public init(threadCount: Int = WorkerPool.processorCount) {
        self.threadCount = max(1, threadCount)
        runs = (0..<self.threadCount).map { _ in WorkerRun() }
        looks = (0..<self.threadCount).map { _ in LookTime() }
        // Before threads race for it: in a forked child, Swift's lock around an initialiser spins
        // when two threads meet there, since it knows them by the thread numbers of the parent.
        _ = Kernels.best
        pthread_mutex_init(mutex, nil)
        pthread_cond_init(wake, nil)
        pthread_cond_init(done, nil)
        for worker in 1..<max(1, self.threadCount) {
            var thread = pthread_t()
            let start = WorkerStart(pool: self, worker: worker)
            let created = pthread_create(
                &thread, nil,
                { argument in
                    guard let argument else { return nil }
                    let start = Unmanaged<WorkerStart>.fromOpaque(argument).takeRetainedValue()
                    start.serve()
                    return nil
                }, Unmanaged.passRetained(start).toOpaque())
            // With fewer threads than asked for the loops still complete: the caller works too.
            guard created == 0 else { continue }
            threads.append(thread)
            var clock = clockid_t()
            if pthread_getcpuclockid(thread, &clock) == 0 { clocks.append(clock) }
        }
    }

    /// Nanoseconds of CPU time that the pool's threads and the calling one have spent, without what
    /// they spent on waiting for each other.
    ///
    /// The sum of the threads' own clocks: the process's clock counts other running threads at the
    /// scheduler's ticks only, 4 ms apart, where modules take 0.1 to 6 ms. The pool's threads are
    /// the only ones that compute, since OpenBLAS has none of its own. To be read on the thread
    /// that calls `run`, between loops.
    public var cpuNanoseconds: Int {
        progress.countsLooks.store(true, ordering: .relaxed)
        let spent = clocks.reduce(Self.threadNanoseconds) { $0 + Self.nanoseconds(of: $1) }
        return spent - looks.reduce(0) { $0 + $1.nanoseconds.load(ordering: .relaxed) }
    }

    /// CPU time of the current thread.
    fileprivate static var threadNanoseconds: Int { nanoseconds(of: CLOCK_THREAD_CPUTIME_ID) }

    private static func nanoseconds(of clock: clockid_t) -> Int {
        var time = timespec()
        clock_gettime(clock, &time)
        return Int(time.tv_sec) * 1_000_000_000 + Int(time.tv_nsec)
    }

    deinit {
        pthread_mutex_lock(mutex)
        stopping = true
        pthread_cond_broadcast(wake)
        pthread_mutex_unlock(mutex)
        for thread in threads {
            precondition(pthread_join(thread, nil) == 0, "a pool went away on one of its threads")
        }
        pthread_mutex_destroy(mutex)
        pthread_cond_destroy(wake)
        pthread_cond_destroy(done)
        mutex.deallocate()
        wake.deallocate()
        done.deallocate()
    }

    /// Processors this process may use at a time.
    public static var processorCount: Int {
        let present = ProcessInfo.processInfo.activeProcessorCount
        return min(present, quota ?? present)
    }

    /// Processors that the control group leaves this process at a time; `nil` without a limit.
    public static var quota: Int? { ProcessorQuota.count }

    /// Calls `body(index, worker)` once for every index below `count` and returns when all are
    /// done.
    ///
    /// `worker` is below `threadCount` and no two calls that run at the same time share it. One
    /// caller at a time, and none from inside a loop: the pool traps rather than mix two loops.
    public func run(_ count: Int, _ body: (_ index: Int, _ worker: Int) -> Void) {
        guard count > 1, !threads.isEmpty else {
            for index in 0..<max(count, 0) { body(index, 0) }
            return
        }
        withoutActuallyEscaping(body) { body in
            pthread_mutex_lock(mutex)
            precondition(loop == nil, "two loops at once on one WorkerPool")
            for (worker, run) in runs.enumerated() {
                run.end = count * (worker + 1) / threadCount
                run.next.store(count * worker / threadCount, ordering: .relaxed)
            }
            loop = body
            progress.running.store(threads.count, ordering: .relaxed)
            progress.generation.add(1, ordering: .releasing)
            pthread_cond_broadcast(wake)
            pthread_mutex_unlock(mutex)
            work(body, worker: 0)
            progress.look(looks[0]) { $0.running.load(ordering: .acquiring) == 0 }
            pthread_mutex_lock(mutex)
            while progress.running.load(ordering: .relaxed) > 0 { pthread_cond_wait(done, mutex) }
            loop = nil
            pthread_mutex_unlock(mutex)
        }
    }

    /// The results of `body` for every index below `count`, in order; the error of the lowest index
    /// that failed.
    public func map<Element: Sendable>(
        _ count: Int, _ body: (Int) throws -> Element
    ) throws -> [Element] {
        let slots = UnsafeMutableBufferPointer<Result<Element, any Error>?>.allocate(
            capacity: count)
        slots.initialize(repeating: nil)
        defer {
            slots.deinitialize()
            slots.deallocate()
        }
        nonisolated(unsafe) let results = slots
        run(count) { index, _ in results[index] = Result { try body(index) } }
        return try slots.compactMap { try $0?.get() }
    }

    private func work(_ body: (Int, Int) -> Void, worker: Int) {
        for other in 0..<threadCount {
            let run = runs[(worker + other) % threadCount]
            while let index = run.take() { body(index, worker) }
        }
    }

    /// Runs the loops of `pool` on the current thread until the pool goes away.
    ///
    /// The thread must not keep the pool alive, so it holds it unowned: `deinit` joins the thread.
    fileprivate static func serve(_ pool: Unmanaged<WorkerPool>, worker: Int) {
        var seen = 0
        while pool._withUnsafeGuaranteedRef({ $0.serveOneLoop(after: &seen, worker: worker) }) {
            pool._withUnsafeGuaranteedRef { pool in
                pthread_mutex_lock(pool.mutex)
                let left = pool.progress.running.subtract(1, ordering: .releasing).newValue
                if left == 0 { pthread_cond_signal(pool.done) }
                pthread_mutex_unlock(pool.mutex)
            }
        }
    }

    /// Waits for the loop after the one numbered `seen` and works on it; `false` when the pool goes
    /// away.
    ///
    /// A function of its own so that no reference to the caller's closure is left when the loop is
    /// reported done.
    @inline(never)
    private func serveOneLoop(after seen: inout Int, worker: Int) -> Bool {
        // What looks may be retained, and the pool must not be.
        let (progress, last, time) = (progress, seen, looks[worker])
        progress.look(time) { $0.generation.load(ordering: .acquiring) != last }
        pthread_mutex_lock(mutex)
        while progress.generation.load(ordering: .relaxed) == last && !stopping {
            pthread_cond_wait(wake, mutex)
        }
        seen = progress.generation.load(ordering: .relaxed)
        let loop = stopping ? nil : loop
        pthread_mutex_unlock(mutex)
        guard let loop else { return false }
        work(loop, worker: worker)
        return true
    }
}

/// Where the loops of a pool are: written under its mutex, read without it by those who look before
/// they sleep.
private final class LoopProgress: Sendable {
    /// Numbers the loops.
    let generation = Atomic<Int>(0)
    /// Threads that have not finished the last one.
    let running = Atomic<Int>(0)
    /// Whether somebody reads CPU time: a look takes a microsecond longer then.
    let countsLooks = Atomic<Bool>(false)

    /// Looks for `condition` a short while: loops follow each other closely, and waking a thread
    /// takes longer than most of the time between them.
    func look(_ time: LookTime, for condition: (LoopProgress) -> Bool) {
        // By the thread's own clock: a hypervisor may take a thread that looks off its CPU for
        // longer than it wants to look.
        let start = countsLooks.load(ordering: .relaxed) ? WorkerPool.threadNanoseconds : nil
        defer { if let start { time.add(WorkerPool.threadNanoseconds - start) } }
        let end = ContinuousClock.now + .microseconds(50)
        repeat {
            for _ in 0..<32 {
                if condition(self) { return }
                sk_relax()
            }
        } while ContinuousClock.now < end
    }
}

/// CPU time that one thread of a pool spent on looking.
private final class LookTime: Sendable {
    let nanoseconds = Atomic<Int>(0)

    func add(_ length: Int) { nanoseconds.wrappingAdd(length, ordering: .relaxed) }
}

/// The iterations of a loop that a worker starts with.
private final class WorkerRun: Sendable {
    let next = Atomic<Int>(0)
    /// Written only while no worker is at work.
    nonisolated(unsafe) var end = 0

    func take() -> Int? {
        let index = next.wrappingAdd(1, ordering: .relaxed).oldValue
        return index < end ? index : nil
    }
}

/// What a new thread is handed.
private final class WorkerStart: @unchecked Sendable {
    private let pool: Unmanaged<WorkerPool>
    private let worker: Int

    init(pool: WorkerPool, worker: Int) {
        self.pool = .passUnretained(pool)
        self.worker = worker
    }

    func serve() { WorkerPool.serve(pool, worker: worker) }
}
