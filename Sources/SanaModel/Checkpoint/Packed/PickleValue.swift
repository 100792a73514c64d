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
    /// Something of another library, such as a NumPy array: passed over, never built.
    case foreign
}

/// The globals that a pickle may name. None is looked up: each is just a word.
enum PickleSymbol: Equatable {
    case orderedDictionary
    case rebuildTensor
    case rebuildParameter
    case size
    /// A class of typed storages, such as `torch.FloatStorage`.
    case storage(DType)
    /// Storages without a type.
    case untypedStorage
    /// A `torch.dtype`; `nil` for one without a meaning here.
    case dtype(DType?)
    case rebuildTypedTensor
    /// A class or function of another library, whose values are passed over.
    case foreign

    /// The symbol that a module and a name stand for; `nil` for everything else.
    init?(module: String, name: String) {
        switch (module, name) {
        case ("collections", "OrderedDict"): self = .orderedDictionary
        case ("torch._utils", "_rebuild_tensor_v2"): self = .rebuildTensor
        case ("torch._utils", "_rebuild_parameter"): self = .rebuildParameter
        case ("torch._utils", "_rebuild_tensor_v3"): self = .rebuildTypedTensor
        case ("torch", "Size"): self = .size
        case ("torch.storage", "UntypedStorage"), ("torch", "UntypedStorage"):
            self = .untypedStorage
        case ("torch", _):
            if let type = Self.storages[name] {
                self = .storage(type)
            } else if let type = Self.types[name] {
                self = .dtype(type)
            } else if name == "device" {
                self = .foreign
            } else {
                return nil
            }
        default:
            guard Self.isData(module, name) else { return nil }
            self = .foreign
        }
    }

    /// The type of a class of typed storages.
    var storageType: DType? { if case .storage(let dtype) = self { dtype } else { nil } }

    private static let storages: [String: DType] = [
        "FloatStorage": .f32, "HalfStorage": .f16, "BFloat16Storage": .bf16, "DoubleStorage": .f64,
        "LongStorage": .i64, "IntStorage": .i32, "ShortStorage": .i16, "CharStorage": .i8,
        "ByteStorage": .u8, "BoolStorage": .bool,
    ]
    private static let types: [String: DType] = [
        "float32": .f32, "float16": .f16, "bfloat16": .bf16, "float64": .f64, "int64": .i64,
        "int32": .i32, "int16": .i16, "int8": .i8, "uint8": .u8, "bool": .bool,
        "float8_e4m3fn": .f8e4m3, "float8_e5m2": .f8e5m2, "float8_e4m3fnuz": .f8e4m3fnuz,
        "float8_e5m2fnuz": .f8e5m2fnuz,
    ]

    /// What trainers store along with weights: arrays, states of generators, settings.
    private static func isData(_ module: String, _ name: String) -> Bool {
        switch module {
        case "numpy", "numpy.core.multiarray", "numpy._core.multiarray":
            ["ndarray", "dtype", "_reconstruct", "scalar", "generic"].contains(name)
        case "_codecs": name == "encode"
        case "collections": ["defaultdict", "deque", "Counter"].contains(name)
        case "builtins", "__builtin__":
            ["set", "frozenset", "bytearray", "complex", "slice", "dict", "list", "int", "float"]
                .contains(name)
        case "argparse": name == "Namespace"
        // What Transformer Engine keeps as the extra state of a module.
        case "_io": name == "BytesIO"
        case "pathlib": ["PosixPath", "PurePosixPath", "WindowsPath"].contains(name)
        case "datetime": ["datetime", "date", "timedelta"].contains(name)
        case "torch.torch_version": name == "TorchVersion"
        default: false
        }
    }
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
