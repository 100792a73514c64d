/// A tensor and its values, wherever they are stored.
public struct StoredTensor: Sendable {
    public let info: TensorInfo
    public let bytes: ByteView

    public init(_ info: TensorInfo, _ bytes: ByteView) { (self.info, self.bytes) = (info, bytes) }
}

/// A state dictionary that torch.save wrote (since torch 1.6): a zip file with a pickle that says
/// what the tensors are and an entry for the values of each storage.
///
/// Nothing in the pickle is run, see `Unpickler`; values are views of the mapped file. Source of
/// the layout: torch's `torch/serialization.py` and `caffe2/serialize/inline_container.h`.
struct TorchFile {
    /// In the order of the state dictionary.
    let tensors: [StoredTensor]

    /// Keys under which training programs keep the model's weights; `state_dict_ema` is left alone,
    /// as diffusers' script for Sana does.
    static let dictionaryKey = "state_dict"

    /// - Throws: `BadDataError`.
    init(_ zip: ZipFile) throws {
        let suffix = "/data.pkl"
        let pickles = zip.entries.filter {
            $0.name.hasSuffix(suffix) && !$0.name.dropLast(suffix.count).contains("/")
        }
        guard let pickle = pickles.first, pickles.count == 1 else {
            throw BadDataError(
                file: zip.path, reason: "zip file holds no data.pkl, so torch did not write it",
                remedy: "give a file of torch.save, a .dduf pipeline or a .safetensors file")
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
        let nested = document.value(Self.dictionaryKey, in: document.root)
        guard case .dictionary(let index) = nested ?? document.root else {
            throw BadDataError(
                file: zip.path, reason: "pickle holds no state dictionary",
                remedy: "save model.state_dict() with torch.save")
        }
        var tensors: [StoredTensor] = []
        var names = Set<String>()
        for (key, value) in document.dictionaries[index] {
            guard case .string(let name) = key, case .tensor(let tensor) = value else {
                // Counters and settings may lie beside the tensors, but not among them.
                guard nested == nil else {
                    throw BadDataError(
                        file: zip.path,
                        reason: "state_dict holds something that is no tensor with a name")
                }
                continue
            }
            guard names.insert(name).inserted else {
                throw BadDataError(
                    file: zip.path, reason: "two tensors are called '\(name.printable)'")
            }
            tensors.append(
                try Self.tensor(name, document.tensors[tensor], document, zip, folder))
        }
        guard !tensors.isEmpty else { throw Self.noTensors(document, in: index, zip.path) }
        self.tensors = tensors
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
            reason: "weights are looked for at the top and under '\(dictionaryKey)'; here tensors "
                + "lie under \(list(inner))",
            remedy: "save the one you mean by itself: "
                + "torch.save(torch.load(FILE, weights_only=True)[\(first)], 'weights.pth')")
    }

    /// The values of a tensor, checked to lie row after row within its storage and its entry.
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
                    + "\(tensor.strides), not stored row after row",
                remedy: "save the state dictionary with .contiguous() tensors")
        }
        guard let entry = zip["\(folder)data/\(storage.key)"] else {
            throw error("has no values: entry '\(storage.key.printable)' is absent")
        }
        let width = storage.dtype.bitWidth / 8
        let (size, overflow) = storage.count.multipliedReportingOverflow(by: width)
        guard !overflow, size == entry.bytes.count else {
            throw error(
                "lies in a storage of \(storage.count) \(storage.dtype.rawValue) values, but the "
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
