import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct PacedProfileTests {
    private let workers = WorkerPool(threadCount: 1)

    /// Six repetitions.
    private func profile(
        isPaced: Bool, plan: RepetitionPlan = RepetitionPlan()
    ) throws -> (profile: Profile, loads: Int) {
        let opened = try OpenedModel.open(Fixtures.digits)
        let model = try opened.load(workers: workers)
        let sizes: NetworkSizes = [
            "batch": 1, "height": 8, "width": 8, "caption_tokens": 12,
        ]
        var options = Profile.Options(warmup: 1, repetitions: 6, plan: plan)
        options.isPaced = isPaced
        var loads = 0
        let profile = try Profile.run(
            model, SyntheticInputs.make(sizes, for: model.network), options, workers: workers,
            reload: {
                loads += 1
                return try opened.load(workers: workers)
            }, progress: { _, _ in })
        return (profile, loads)
    }

    /// Each but the first comes after a pause, with a forward of its own that does not count.
    @Test(.tags(.slow)) func pacedRepetitionsRunInOtherMemory() throws {
        let start = ContinuousClock.now
        let (paced, loads) = try profile(isPaced: true)
        #expect(ContinuousClock.now - start >= .seconds(5 * RepetitionPlan().interval))
        #expect(loads == 5)
        #expect(paced.repetitions.count == 6)
        #expect(!paced.layers.isEmpty)
        #expect(paced.layers.allSatisfy { $0.timing.samples.count % 6 == 0 })
        #expect(paced.layers.allSatisfy { [0, 6].contains($0.cpu.count) })
    }

    @Test func shortForwardsShareARepetition() throws {
        let plan = RepetitionPlan(budget: 8)
        let (paced, loads) = try profile(isPaced: true, plan: plan)
        #expect((1...5).contains(loads))
        #expect(paced.repetitions.count == 6)
        #expect(paced.repetitions.allSatisfy { $0.forwards > 1 })
        #expect(paced.repetitions.allSatisfy { $0.forwards <= RepetitionPlan.mostForwards })
        // A sum of forwards would be longer than the interval's part.
        #expect(paced.total.samples.allSatisfy { Double($0) / 1e9 < plan.busy / 2 })
    }

    @Test func aRepetitionIsTheMeanOfItsForwards() {
        func forward(_ wall: Int, load: Double?, distance: Double?) -> Profile.Repetition {
            Profile.Repetition(
                wall: wall, cpu: 2 * wall, process: 3 * wall,
                quantization: .nanoseconds(wall / 10),
                canary: .init(slices: 2, wall: wall / 2, cpu: wall), gflop: 0.001,
                otherLoad: load, coreDistance: distance)
        }
        let mean = Profile.Repetition(meanOf: [
            forward(1000, load: nil, distance: 60), forward(3000, load: 0.5, distance: nil),
        ])
        #expect(mean.forwards == 2)
        #expect(mean.nanoseconds == 2000)
        #expect(mean.cpuNanoseconds == 4000)
        #expect(mean.canaryCPUNanoseconds == 2000)
        #expect(mean.processNanoseconds == 4000)
        #expect(abs(mean.quantizationShare - 0.1) < 1e-12)
        // Operations over time, not the mean of rates.
        #expect(abs(mean.canaryGFLOPS / (0.004 / 2000e-9) - 1) < 1e-12)
        #expect(abs(mean.canaryCPUGFLOPS / (0.004 / 4000e-9) - 1) < 1e-12)
        #expect(mean.otherLoad == 0.5)
        #expect(mean.coreDistance == 60)
    }

    @Test func othersStayWhereTheyAre() throws {
        let (profile, loads) = try profile(isPaced: false)
        #expect(loads == 0)
        #expect(profile.repetitions.count == 6)
        #expect(profile.repetitions.allSatisfy { $0.forwards == 1 })
    }
}
