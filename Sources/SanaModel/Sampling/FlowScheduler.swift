import Libc

/// Steps from noise to a latent along the flow that the model predicts.
///
/// Both kinds mirror diffusers 0.42.1 in fp32, scalars included, so that a trajectory can be
/// compared step by step.
public protocol FlowScheduler {
    /// What the model gets at each step, before the configuration's `timestep_scale`.
    var timesteps: [Float] { get }
    /// Noise level at each step, and 0 behind the last.
    var sigmas: [Float] { get }

    /// Takes the next step.
    ///
    /// - Parameters:
    ///   - output: the model's prediction, noise minus data.
    ///   - sample: the latent, replaced by that of the next step; as many values.
    mutating func step(_ output: DenseTensor, _ sample: DenseTensor)
}

/// Makes schedulers from diffusers' `scheduler_config.json`.
public enum FlowSchedulers {
    /// Steps a trajectory may have.
    public static let stepCounts = 1...1000

    /// - Parameters:
    ///   - json: the configuration; absent keys have diffusers' defaults.
    ///   - steps: in `stepCounts`.
    /// - Throws: `BadDataError` for another class, a value of the wrong type, or a switch that
    ///   Sana's pipelines do not use.
    public static func make(
        _ json: JSONValue, steps: Int, file: String
    ) throws(BadDataError) -> any FlowScheduler {
        let reader = SchedulerConfigReader(json: json, file: file)
        guard stepCounts.contains(steps) else {
            throw BadDataError(file: file, reason: "\(steps) steps are not in \(stepCounts)")
        }
        let trainSteps = try reader.number("num_train_timesteps", default: 1000, in: 1...1e6)
        switch json["_class_name"]?.string {
        case "FlowMatchEulerDiscreteScheduler":
            try reader.require([
                ("use_dynamic_shifting", .bool(false)), ("shift_terminal", .null),
                ("use_karras_sigmas", .bool(false)), ("use_exponential_sigmas", .bool(false)),
                ("use_beta_sigmas", .bool(false)), ("invert_sigmas", .bool(false)),
                ("stochastic_sampling", .bool(false)),
            ])
            let shift = try reader.number("shift", default: 1, in: 1e-3...1e3)
            return FlowMatchEulerDiscreteScheduler(
                steps: steps, shift: shift, trainSteps: trainSteps)
        case "DPMSolverMultistepScheduler":
            try reader.require([
                ("algorithm_type", .string("dpmsolver++")), ("thresholding", .bool(false)),
                ("use_karras_sigmas", .bool(false)), ("use_exponential_sigmas", .bool(false)),
                ("use_beta_sigmas", .bool(false)), ("use_lu_lambdas", .bool(false)),
                ("final_sigmas_type", .string("zero")), ("use_dynamic_shifting", .bool(false)),
            ])
            guard json["use_flow_sigmas"]?.bool == true,
                json["prediction_type"]?.string == "flow_prediction"
            else { throw reader.unsupported("use_flow_sigmas and prediction_type") }
            let order = try reader.number("solver_order", default: 2, in: 1...2)
            let type = json["solver_type"]?.string ?? "midpoint"
            guard let type = DPMSolverMultistepScheduler.SolverType(rawValue: type) else {
                throw reader.unsupported("solver_type")
            }
            return DPMSolverMultistepScheduler(
                steps: steps, shift: try reader.number("flow_shift", default: 1, in: 1e-3...1e3),
                trainSteps: trainSteps, order: Int(order), type: type)
        default:
            throw reader.unsupported("_class_name")
        }
    }
}

/// diffusers' `FlowMatchEulerDiscreteScheduler`.
struct FlowMatchEulerDiscreteScheduler: FlowScheduler {
    let timesteps: [Float]
    let sigmas: [Float]
    private var index = 0

    init(steps: Int, shift: Double, trainSteps: Double) {
        // The range is shifted in fp32 once, and what is between its ends once more.
        let smallest = Float(1) / Float(trainSteps)
        let low = Float(shift) * smallest / (1 + (Float(shift) - 1) * smallest)
        let levels = linearSpace(from: trainSteps, to: Double(low) * trainSteps, count: steps)
            .map { time -> Float in
                let sigma = time / trainSteps
                return Float(shift * sigma / (1 + (shift - 1) * sigma))
            }
        sigmas = levels + [0]
        timesteps = levels.map { $0 * Float(trainSteps) }
    }

    mutating func step(_ output: DenseTensor, _ sample: DenseTensor) {
        let change = sigmas[index + 1] - sigmas[index]
        let (values, slope) = (sample.values.pointer, output.values.pointer)
        for element in 0..<sample.count { values[element] += change * slope[element] }
        index += 1
    }
}

/// diffusers' `DPMSolverMultistepScheduler` with `dpmsolver++` and flow sigmas: Flow-DPM-Solver.
///
/// The first and the last step are of first order.
struct DPMSolverMultistepScheduler: FlowScheduler {
    enum SolverType: String { case midpoint, heun }

    let timesteps: [Float]
    let sigmas: [Float]
    private let order: Int
    private let type: SolverType
    private var index = 0
    /// Predicted data of the step before.
    private var previous: FloatBuffer?

    init(steps: Int, shift: Double, trainSteps: Double, order: Int, type: SolverType) {
        let alphas = linearSpace(from: 1, to: 1 / trainSteps, count: steps + 1)
        let levels = alphas.map { alpha -> Double in
            let sigma = 1 - alpha
            return shift * sigma / (1 + (shift - 1) * sigma)
        }
        // From noise to data; the level without noise comes last of all.
        let descending = levels.reversed().dropLast()
        sigmas = descending.map { Float($0) } + [0]
        timesteps = descending.map { Float(Int($0 * trainSteps)) }
        (self.order, self.type) = (order, type)
    }

    /// log(α / σ) with α = 1 − σ.
    private func lambda(_ index: Int) -> Float { log(1 - sigmas[index]) - log(sigmas[index]) }

    mutating func step(_ output: DenseTensor, _ sample: DenseTensor) {
        let sigma = sigmas[index]
        let data = FloatBuffer(count: sample.count)
        for element in 0..<sample.count {
            data.pointer[element] =
                sample.values.pointer[element] - sigma * output.values.pointer[element]
        }
        let h = lambda(index + 1) - lambda(index)
        let keep = sigmas[index + 1] / sigma
        let decay = exp(-h) - 1
        let scale = (1 - sigmas[index + 1]) * decay
        let values = sample.values.pointer
        if let previous, order == 2, index < timesteps.count - 1 {
            let ratio = (lambda(index) - lambda(index - 1)) / h
            let second: Float =
                switch type {
                case .midpoint: -0.5 * scale
                case .heun: (1 - sigmas[index + 1]) * (decay / h + 1)
                }
            for element in 0..<sample.count {
                let now = data.pointer[element]
                let change = (1 / ratio) * (now - previous.pointer[element])
                values[element] = keep * values[element] - scale * now + second * change
            }
        } else {
            for element in 0..<sample.count {
                values[element] = keep * values[element] - scale * data.pointer[element]
            }
        }
        previous = data
        index += 1
    }
}

/// numpy's `linspace`.
private func linearSpace(from start: Double, to end: Double, count: Int) -> [Double] {
    guard count > 1 else { return [start] }
    let step = (end - start) / Double(count - 1)
    return (0..<count - 1).map { start + Double($0) * step } + [end]
}

/// Typed access to `scheduler_config.json`.
private struct SchedulerConfigReader {
    let json: JSONValue
    let file: String

    func unsupported(_ key: String) -> BadDataError {
        BadDataError(
            file: file,
            reason: "scheduler: \(key) is not what Sana's pipelines use: "
                + "FlowMatchEulerDiscreteScheduler, or DPMSolverMultistepScheduler with flow sigmas",
            remedy: "record the trajectory with one of these schedulers")
    }

    func number(
        _ key: String, default value: Double, in range: ClosedRange<Double>
    ) throws(BadDataError) -> Double {
        guard let entry = json[key] else { return value }
        guard let number = entry.double, range.contains(number) else {
            throw BadDataError(
                file: file,
                reason: "scheduler: \(key) is \(entry.text().printable), not a number in \(range)",
                remedy: "record the trajectory again")
        }
        return number
    }

    /// Checks that keys, where present, have the given values.
    func require(_ values: [(String, JSONValue)]) throws(BadDataError) {
        for (key, value) in values {
            if let entry = json[key], entry != value, entry != .null { throw unsupported(key) }
        }
    }
}
