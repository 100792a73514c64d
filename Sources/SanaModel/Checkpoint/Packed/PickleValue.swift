/// What a pickle may hold here: plain values, containers, and tensors that torch saved.
///
/// Containers and tensors are indices into a `PickleDocument`, so that values that refer to one
/// another cost nothing, whatever circles they form.
enum PickleValue: Equatable {
    case none
    case bool(Bool)
    case int(Int)
    case float(Double)
    case string(String)
    /// Bytes are counted, not kept: no tensor is made of them.
    case bytes(count: Int)
    case symbol(PickleSymbol)
    case tuple(Int)
    case list(Int)
    case dictionary(Int)
    case storage(Int)
    case tensor(Int)
}

/// The globals that a pickle may name. None is looked up: each is just a word.
enum PickleSymbol: Equatable {
    case orderedDictionary
    case rebuildTensor
    case rebuildParameter
    case size
    /// A class of typed storages, such as `torch.FloatStorage`.
    case storage(DType)
    /// A `torch.dtype`.
    case dtype

    /// The symbol that a module and a name stand for; `nil` for everything else.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch", "Size"): self = .size
        case ("torch", _):
            if let type = Self.storages[name] {
                self = .storage(type)
            } else if Self.types.contains(name) {
                self = .dtype
            } else {
                return nil
            }
        default: return nil
        }
    }

    private static let storages: [String: DType] = [
        "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16, "DoubleStorage": .f64,
        "LongStorage": .i64, "IntStorage": .i32, "ShortStorage": .i16, "CharStorage": .i8,
        "ByteStorage": .u8, "BoolStorage": .bool,
    ]
    private static let types: Set = [
        "float32", "float16", "bfloat16", "float64", "int64", "int32", "int16", "int8", "uint8",
        "bool",
    ]
}

/// A run of typed values in an entry of its own, as a pickle refers to it.
struct PickleStorage: Equatable {
    let dtype: DType
    /// Name of the entry below `data/`.
    let key: String
    /// Number of values.
    let count: Int
}

/// A tensor as a pickle describes it, unchecked.
struct PickleTensor: Equatable {
    let storage: Int
    /// First value in the storage.
    let offset: Int
    let shape: [Int]
    let strides: [Int]
}

/// Everything that one pickle made.
struct PickleDocument {
    var root = PickleValue.none
    /// Items of tuples and lists.
    var sequences: [[PickleValue]] = []
    /// Keys and values, in the order of their assignment.
    var dictionaries: [[(key: PickleValue, value: PickleValue)]] = []
    var storages: [PickleStorage] = []
    var tensors: [PickleTensor] = []

    /// The value under a text key of a dictionary, the last one assigned.
    func value(_ key: String, in dictionary: PickleValue) -> PickleValue? {
        guard case .dictionary(let index) = dictionary else { return nil }
        return dictionaries[index].last { $0.key == .string(key) }?.value
    }
}
