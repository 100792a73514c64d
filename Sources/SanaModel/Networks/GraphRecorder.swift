/// Writes down a forward on shapes as a `ModuleGraph`.
///
/// Every pass says which buffers it reads and which one it writes. A buffer's values derive from
/// outputs of modules: those of the buffers that were read, until a module returns the buffer as
/// its own output. Buffers count as a whole, as passes write them.
final class GraphRecorder {
    /// A module that has begun and not ended.
    private struct Frame {
        let path: String
        let kind: String
        /// Its place among the modules.
        let index: Int
        let began: Int
        var isComposite = false
        var work = ModuleGraph.Work.none
        var inputs: [String] = []
    }

    private var frames: [Frame] = []
    private var modules: [ModuleGraph.Module?] = []
    private var completed: [String] = []
    /// Outputs that the values of a buffer derive from.
    private var sources: [ObjectIdentifier: [String]] = [:]
    /// When an output was completed.
    private var completion: [String: Int] = [:]
    private var time = 0
    /// Keeps identities from being used twice.
    private var buffers: [FloatBuffer] = []

    /// Names a tensor that the forward is given.
    func input(_ name: String, _ tensor: DenseTensor) {
        keep(tensor.values, [ModuleGraph.inputPrefix + name])
    }

    func begin(_ path: String, _ kind: String) {
        if !frames.isEmpty { frames[frames.count - 1].isComposite = true }
        time += 1
        frames.append(Frame(path: path, kind: kind, index: modules.count, began: time))
        modules.append(nil)
    }

    func end(_ outputs: [Activation]) {
        for output in outputs { read(origins(output.values.buffer)) }
        guard let frame = frames.popLast() else { return }
        time += 1
        let named = outputs.enumerated().map { index, output in
            ModuleGraph.Output(
                name: outputs.count > 1 ? "\(frame.path).\(index)" : frame.path,
                shape: output.shape, sources: origins(output.values.buffer))
        }
        for (output, activation) in zip(named, outputs) {
            keep(activation.values.buffer, [output.name])
            completion[output.name] = time
            completed.append(output.name)
        }
        modules[frame.index] = ModuleGraph.Module(
            path: frame.path, kind: frame.kind, parent: frames.last?.path,
            isComposite: frame.isComposite, work: frame.work, outputs: named,
            inputs: frame.inputs.filter { !ModuleGraph.isNetworkInput($0) })
    }

    /// A pass over buffers.
    func pass(_ reads: [FloatBuffer], into target: FloatBuffer, _ work: ModuleGraph.Work) {
        var all: [String] = []
        for source in reads.flatMap(origins) where !all.contains(source) { all.append(source) }
        read(all)
        for index in frames.indices { frames[index].work += work }
        keep(target, all)
    }

    /// What was recorded.
    ///
    /// - Parameter results: what the forward returned.
    func graph(_ results: [(name: String, tensor: DenseTensor)]) -> ModuleGraph {
        ModuleGraph(
            modules: modules.compactMap { $0 }, completed: completed,
            results: results.map {
                .init(
                    name: $0.name, shape: $0.tensor.shape, sources: origins($0.tensor.values))
            })
    }

    private func read(_ names: [String]) {
        for index in frames.indices {
            for name in names
            where completion[name, default: 0] < frames[index].began
                && !frames[index].inputs.contains(name)
            {
                frames[index].inputs.append(name)
            }
        }
    }

    private func origins(_ buffer: FloatBuffer) -> [String] {
        sources[ObjectIdentifier(buffer), default: []]
    }

    private func keep(_ buffer: FloatBuffer, _ names: [String]) {
        if sources.updateValue(names, forKey: ObjectIdentifier(buffer)) == nil {
            buffers.append(buffer)
        }
    }
}
