import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct PacedProfileTests {
    private let workers = WorkerPool(threadCount: 1)

    /// Six forwards.
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
    @Test(.tags(.slow)) func pacedForwardsRunInOtherMemory() throws {
        let start = ContinuousClock.now
        let (paced, loads) = try profile(isPaced: true)
        #expect(ContinuousClock.now - start >= .seconds(5 * RepetitionPlan().interval))
        #expect(loads == 5)
        #expect(paced.repetitions.count == 6)
        #expect(!paced.layers.isEmpty)
        #expect(paced.layers.allSatisfy { $0.timing.samples.count % 6 == 0 })
    }

    @Test func shortForwardsArePairsWhereThereAreMany() throws {
        var plan = RepetitionPlan()
        plan.fewest = 3
        let (paced, loads) = try profile(isPaced: true, plan: plan)
        #expect(loads == 2)
        #expect(paced.repetitions.count == 6)
    }

    @Test func turnsAreOfTwoWhereForwardsAreShort() {
        let plan = RepetitionPlan()
        let short = plan.interval / 2
        #expect(plan.turn(ofForward: short, repetitions: nil) == 2)
        #expect(plan.turn(ofForward: short * 1.01, repetitions: nil) == 1)
        #expect(plan.turn(ofForward: short, repetitions: 2 * plan.fewest) == 2)
        #expect(plan.turn(ofForward: short, repetitions: 2 * plan.fewest - 1) == 1)
    }

    @Test func othersStayWhereTheyAre() throws {
        let (profile, loads) = try profile(isPaced: false)
        #expect(loads == 0)
        #expect(profile.repetitions.count == 6)
    }
}
