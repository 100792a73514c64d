import SanaModel

extension Profile {
    /// The best rates that this machine showed.
    package struct Peaks: Sendable, Equatable {
        package let sgemmGFLOPS: Double
        /// Multiply-adds on registers, which no product of fp32 can beat.
        package let multiplyAddGFLOPS: Double
        /// The same for bf16.
        package let bf16MultiplyAddGFLOPS: Double
        /// The same for int8.
        package let int8MultiplyAddGOPS: Double
        /// A product of fp32 that waits for no memory.
        package let tileGFLOPS: Double
        package let int8GOPS: Double
        /// Billions of bytes read a second, from memory beyond the caches.
        package let readBandwidth: Double
        /// The same from as few bytes as the smallest layers move, which caches may hold.
        package let cacheBandwidth: Double

        /// The slope of the roofline.
        package var roofBandwidth: Double { max(readBandwidth, cacheBandwidth) }

        /// Billions of operations a second that a roofline allows for `work` on `bytes`.
        func attainable(_ work: ModuleGraph.Work, bytes: Int, _ compute: ComputeMode) -> Double {
            let peak =
                switch compute {
                case .fp32: multiplyAddGFLOPS
                case .bf16: bf16MultiplyAddGFLOPS
                case .int8, .int8BF16: int8MultiplyAddGOPS
                }
            let operations = Double(work.operations)
            return min(
                peak * operations / Double(max(work.leastOperations, 1)),
                operations / Double(max(bytes, 1)) * roofBandwidth)
        }

        /// Rates of multiply-adds on registers, for each type of product.
        package static func multiplyAdds(
            _ workers: WorkerPool, rounds: Int = 1
        ) -> [ComputeMode: Double] {
            var best: [ComputeMode: Double] = [:]
            for _ in 0..<rounds {
                for mode in ComputeMode.pure {
                    let rate = MultiplyAddCanary(workers: workers, mode).measure()
                    best[mode] = max(best[mode, default: 0], rate)
                }
            }
            return best
        }

        /// Takes turns, so that a host whose speed varies shows its best for all of them.
        ///
        /// - Parameters:
        ///   - workingSets: bytes that layers move.
        ///   - earlier: multiply-adds as they were measured before: cores that share a host's core
        ///     show half of their rate, for seconds.
        package static func measure(
            _ workers: WorkerPool, workingSets: [Int], earlier: [ComputeMode: Double]
        ) -> Peaks {
            let (sgemm, int8) = (SGEMMCanary(workers: workers), Int8Canary(workers: workers))
            let (tile, memory) = (TileCanary(workers: workers), MemoryCanary(workers: workers))
            let cache = MemoryCanary(workers: workers, bytes: workingSets.min() ?? 0)
            let canaries: [() -> Double] = [
                sgemm.measure, tile.measure, int8.measure, memory.measure, cache.measure,
            ]
            var best = canaries.map { _ in 0.0 }
            for _ in 0..<4 {
                for (index, measure) in canaries.enumerated() {
                    best[index] = max(best[index], measure())
                }
            }
            let adds = multiplyAdds(workers, rounds: 4).merging(earlier) { max($0, $1) }
            return Peaks(
                sgemmGFLOPS: best[0], multiplyAddGFLOPS: adds[.fp32] ?? 0,
                bf16MultiplyAddGFLOPS: adds[.bf16] ?? 0, int8MultiplyAddGOPS: adds[.int8] ?? 0,
                tileGFLOPS: best[1], int8GOPS: best[2], readBandwidth: best[3],
                cacheBandwidth: best[4])
        }
    }

    /// Part by which a layer may be above the roof, which clocks do not tell from it.
    package static let roofTolerance = 0.02

    /// What the roofline allows for a layer; `nil` where it has no matrix products, and where the
    /// roof is withheld.
    package func attainable(_ layer: Layer) -> Double? {
        layersAboveRoof.isEmpty ? roof(layer) : nil
    }

    /// Layers that ran faster than the peaks allow, so that the peaks are too low.
    package var layersAboveRoof: [Layer] {
        layers.filter { layer in
            guard let roof = roof(layer), let rate = layer.gflops else { return false }
            return rate > roof * (1 + Self.roofTolerance)
        }
    }

    /// Why no roof is shown; `nil` where one is.
    package var roofDoubt: String? {
        let above = layersAboveRoof
        guard let first = above.first else { return nil }
        return "roofline withheld: \(above.count) of \(layers.count) layers, such as "
            + "\(first.module.path.printable), ran faster than the measured peaks allow; profile on an "
            + "idle machine"
    }

    private func roof(_ layer: Layer) -> Double? {
        guard layer.module.operations > 0 else { return nil }
        return peaks.attainable(layer.module.work, bytes: layer.bytes, layer.compute)
    }
}
