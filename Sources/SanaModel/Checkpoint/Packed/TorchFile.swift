/// Which weights of a training checkpoint are meant.
public enum TrainedWeights: String, Sendable, CaseIterable {
    /// Those that were trained.
    case model
    /// Their exponential moving average.
    case ema
}

/// A state dictionary that torch.save wrote (since torch 1.6): a zip file with a pickle that says
/// what the tensors are and an entry for the values of each storage.
///
/// Nothing in the pickle is run, see `Unpickler`; values are views of the mapped file. Source of
/// the layout: torch's `torch/serialization.py` and `caffe2/serialize/inline_container.h`.
struct TorchFile {
    /// In the order of the state dictionary.
    let tensors: [StoredTensor]

    /// What was left out, for people.
    let notes: [String]

    /// Keys under which training programs keep the model's weights, the first of which is told
    /// where there are none.
    private static let dictionaryKeys: [TrainedWeights: [String]] = [
        .model: ["state_dict", "model_state_dict", "model"],
        .ema: ["state_dict_ema", "ema_state_dict", "model_ema", "ema"],
    ]

    /// - Throws: `BadDataError`.
    init(_ zip: ZipFile, weights: TrainedWeights = .model) throws {
        let suffix = "/data.pkl"
        let pickles = zip.entries.filter {
            $0.name.hasSuffix(suffix) && !$0.name.dropLast(suffix.count).contains("/")
        }
        guard let pickle = pickles.first, pickles.count == 1 else {
            throw BadDataError(
                file: zip.path, reason: "zip file has no data.pkl, so torch did not write it",
                remedy: "give a torch.save file, a .dduf pipeline or a .safetensors file")
        }
        let folder = String(pickle.name.dropLast("data.pkl".count))
        if let order = zip[folder + "byteorder"]?.bytes {
            guard order.withUnsafeBytes({ $0.elementsEqual("little".utf8) }) else {
                throw BadDataError(
                    file: zip.path, reason: "values are not stored in little-endian order",
                    remedy: "save the file again on a little-endian machine")
            }
        }
        let document = try pickle.bytes.withUnsafeBytes { try Unpickler.read($0, file: zip.path) }
        let keys = Self.dictionaryKeys[weights] ?? []
        let nested = keys.lazy.compactMap { key -> PickleValue? in
            guard let value = document.value(key, in: document.root), case .dictionary = value
            else { return nil }
            return value
        }.first
        if weights != .model, nested == nil {
            throw BadDataError(
                file: zip.path,
                reason: "holds no averaged weights: there is nothing under "
                    + keys.map { "'\($0)'" }.joined(separator: ", "),
                remedy: "leave out --weights \(weights.rawValue)")
        }
        guard case .dictionary(let index) = nested ?? document.root else {
            throw BadDataError(
                file: zip.path, reason: "pickle holds no state dictionary",
                remedy: "save model.state_dict() with torch.save")
        }
        var tensors: [StoredTensor] = []
        var (names, others) = (Set<String>(), [String]())
        for (key, value) in document.dictionaries[index] {
            // Counters, settings and `_extra_state` are stored among the tensors.
            guard case .string(let name) = key, case .tensor(let tensor) = value,
                !name.hasSuffix("_extra_state")
            else {
                others.append(Self.describe(key, value))
                continue
            }
            guard names.insert(name).inserted else {
                throw BadDataError(
                    file: zip.path, reason: "two tensors are named '\(name.printable)'")
            }
            tensors.append(
                try Self.tensor(name, document.tensors[tensor], document, zip, folder))
        }
        notes = Self.notes(others, document, nested == nil ? nil : weights)
        guard !tensors.isEmpty else { throw Self.noTensors(document, in: index, zip.path) }
        self.tensors = tensors
    }

    /// A value that is not a tensor, for people.
    private static func describe(_ key: PickleValue, _ value: PickleValue) -> String {
        let name = if case .string(let name) = key { "'\(name.printable)'" } else { "a key" }
        let kind =
            switch value {
            case .none: "None"
            case .bool: "a bool"
            case .int: "an int"
            case .float: "a float"
            case .string: "a string"
            case .bytes: "bytes"
            case .tuple, .list: "a list"
            case .dictionary: "a dictionary"
            case .tensor: "state of a module"
            default: "not a tensor"
            }
        return "\(name) (\(kind))"
    }

    private static func notes(
        _ others: [String], _ document: PickleDocument, _ weights: TrainedWeights?
    ) -> [String] {
        var notes: [String] = []
        if !others.isEmpty {
            let more = others.count > 4 ? " and \(others.count - 4) more" : ""
            notes.append(
                "left out of the state dictionary: " + others.prefix(4).joined(separator: ", ")
                    + more)
        }
        let hasAverage = (dictionaryKeys[.ema] ?? []).contains {
            if case .dictionary? = document.value($0, in: document.root) { true } else { false }
        }
        if weights == .model, hasAverage {
            notes.append("a training checkpoint; --weights ema takes the averaged weights")
        }
        return notes
    }

    /// Says where tensors lie instead, as far down as training programs put them.
    private static func noTensors(
        _ document: PickleDocument, in index: Int, _ path: String
    ) -> BadDataError {
        func holdsTensors(_ value: PickleValue) -> Bool {
            guard case .dictionary(let index) = value else { return false }
            return document.dictionaries[index].contains {
                if case .tensor = $0.value { true } else { false }
            }
        }
        func names(_ isWanted: (PickleValue) -> Bool) -> [String] {
            document.dictionaries[index].prefix(1000).compactMap { key, value in
                guard case .string(let name) = key, isWanted(value) else { return nil }
                return "'\(name.printable)'"
            }
        }
        func list(_ names: [String]) -> String {
            names.prefix(8).joined(separator: ", ") + (names.count > 8 ? " …" : "")
        }
        let inner = names(holdsTensors)
        guard let first = inner.first else {
            let all = names { _ in true }
            return BadDataError(
                file: path,
                reason: "state dictionary holds no tensor"
                    + (all.isEmpty ? "" : "; its keys are \(list(all))"),
                remedy: "save model.state_dict() with torch.save")
        }
        return BadDataError(
            file: path,
            reason:
                "weights must be at the top level or under 'state_dict' or 'model', but tensors "
                + "are under \(list(inner))",
            remedy: "save the one you mean by itself: "
                + "torch.save(torch.load(FILE, weights_only=True)[\(first)], 'weights.pth')")
    }

    /// The values of a tensor, checked to be row after row within its storage and its entry.
    private static func tensor(
        _ name: String, _ tensor: PickleTensor, _ document: PickleDocument, _ zip: ZipFile,
        _ folder: String
    ) throws -> StoredTensor {
        func error(_ reason: String) -> BadDataError {
            BadDataError(file: zip.path, reason: "tensor '\(name.printable)' \(reason)")
        }
        let storage = document.storages[tensor.storage]
        guard let info = TensorInfo(name: name, dtype: storage.dtype, shape: tensor.shape) else {
            throw error("has the impossible shape \(tensor.shape)")
        }
        guard isContiguous(tensor) else {
            throw BadDataError(
                file: zip.path,
                reason:
                    "tensor '\(name.printable)' of shape \(tensor.shape) is a view with strides "
                    + "\(tensor.strides), not stored contiguously",
                remedy: "save the state dictionary with .contiguous() tensors")
        }
        guard let entry = zip["\(folder)data/\(storage.key)"] else {
            throw error("has no values: entry '\(storage.key.printable)' is absent")
        }
        let width = storage.dtype.bitWidth / 8
        let (size, overflow) = storage.count.multipliedReportingOverflow(by: width)
        guard !overflow, size == entry.bytes.count else {
            throw error(
                "is in a storage of \(storage.count) \(storage.dtype.rawValue) values, but the "
                    + "file has \(entry.bytes.count) bytes of it")
        }
        guard tensor.offset >= 0, tensor.offset <= storage.count,
            info.byteCount / width <= storage.count - tensor.offset
        else { throw error("reaches past its storage of \(storage.count) values") }
        return StoredTensor(info, entry.bytes.slice(tensor.offset * width, info.byteCount))
    }

    private static func isContiguous(_ tensor: PickleTensor) -> Bool {
        guard tensor.strides.count == tensor.shape.count else { return false }
        guard !tensor.shape.contains(0) else { return true }
        var expected = 1
        for (size, stride) in zip(tensor.shape, tensor.strides).reversed() {
            guard size == 1 || stride == expected else { return false }
            // The product was checked for overflow with the shape.
            expected *= size
        }
        return true
    }
}
