import Libc

/// diffusers 0.42.1's `SCMScheduler` in fp32: a few steps along TrigFlow, with fresh noise between
/// them.
public struct SCMScheduler: Sendable {
    /// Angles from noise to data, one more than steps, the last of them 0.
    public let timesteps: [Float]
    /// Standard deviation of latents and of the noise between steps.
    public let sigmaData: Float

    public var steps: Int { timesteps.count - 1 }

    /// Arguments of `set_timesteps` other than the number of steps.
    public struct Range: Sendable {
        /// Angle of the first step; `SanaSprintPipeline` has 1.5708.
        public let maxTimestep: Double
        /// Angle of the second of two steps, which no other number of steps has.
        public let intermediateTimestep: Double?

        public init(maxTimestep: Double, intermediateTimestep: Double?) {
            (self.maxTimestep, self.intermediateTimestep) = (maxTimestep, intermediateTimestep)
        }
    }

    /// - Parameters:
    ///   - json: `scheduler_config.json`; absent keys have diffusers' defaults.
    ///   - steps: positive, and no more than `num_train_timesteps`.
    /// - Throws: `BadDataError` for another class or prediction type, or for steps that diffusers
    ///   refuses.
    public init(_ json: JSONValue, steps: Int, _ range: Range, file: String) throws(BadDataError) {
        func bad(_ reason: String) -> BadDataError {
            BadDataError(file: file, reason: reason, remedy: "record the trajectory again")
        }
        func number(_ key: String, default value: Double) throws(BadDataError) -> Double {
            guard let entry = json[key] else { return value }
            guard let number = entry.double, (1e-6...1e6).contains(number) else {
                throw bad("scheduler: \(key) is \(entry.text().printable), not a positive number")
            }
            return number
        }
        let type = json["prediction_type"]?.string ?? "trigflow"
        guard json["_class_name"]?.string == "SCMScheduler", type == "trigflow" else {
            throw bad("scheduler: a Sprint model needs SCMScheduler with trigflow")
        }
        let trainSteps = try number("num_train_timesteps", default: 1000)
        guard steps >= 1, Double(steps) <= trainSteps, FlowSchedulers.stepCounts.contains(steps)
        else { throw bad("\(steps) steps, and SCMScheduler takes 1 to \(Int(trainSteps))") }
        guard (0...2).contains(range.maxTimestep) else {
            throw bad("max_timesteps is \(range.maxTimestep), not an angle from noise to data")
        }
        if let intermediate = range.intermediateTimestep {
            guard steps == 2 else {
                throw bad("intermediate_timesteps need 2 steps, not \(steps)")
            }
            guard (0...2).contains(intermediate) else {
                throw bad("intermediate_timesteps is \(intermediate), not an angle")
            }
            timesteps = [Float(range.maxTimestep), Float(intermediate), 0]
        } else {
            timesteps = Self.linearSpace(from: Float(range.maxTimestep), steps: steps)
        }
        sigmaData = Float(try number("sigma_data", default: 0.5))
    }

    /// torch's `linspace` down to 0, which counts from the nearer end.
    private static func linearSpace(from start: Float, steps: Int) -> [Float] {
        let step = -start / Float(steps)
        return (0...steps).map { index in
            index < (steps + 1) / 2
                ? start + step * Float(index) : 0 - step * Float(steps - index)
        }
    }

    /// Takes step `index`.
    ///
    /// - Parameters:
    ///   - output: the TrigFlow prediction, as many values as `sample`.
    ///   - sample: the latent, replaced by that of the next step.
    ///   - noise: standard normal values; `nil` for the last step, where their factor is sin 0.
    func step(_ index: Int, _ output: DenseTensor, _ sample: DenseTensor, noise: DenseTensor?) {
        let (time, next) = (timesteps[index], timesteps[index + 1])
        let (keep, remove) = (cos(time), sin(time))
        let (data, fresh) = (cos(next), sin(next))
        let values = sample.values.pointer
        for element in 0..<sample.count {
            let denoised = keep * values[element] - remove * output.values.pointer[element]
            let drawn = noise.map { $0.values.pointer[element] * sigmaData } ?? 0
            values[element] = data * denoised + fresh * drawn
        }
    }
}
