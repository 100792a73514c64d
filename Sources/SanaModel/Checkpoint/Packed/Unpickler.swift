/// Reads a pickle without running anything: it makes plain values and torch's tensors, and whatever
/// else a pickle may ask for is refused.
///
/// What the opcodes mean: CPython's `Lib/pickletools.py`, protocols 2 to 4. torch.save writes
/// protocol 2.
struct Unpickler {
    /// Longest pickle that is read; the one of a state dictionary takes some hundred kilobytes.
    static let maximumByteCount = 16 << 20
    /// Most values on the stack, in the memo, and in all containers together.
    static let maximumStackCount = 1 << 16
    static let maximumMemoCount = 1 << 19
    static let maximumItemCount = 1 << 19
    /// Most containers and tensors.
    static let maximumObjectCount = 1 << 18
    /// Most open marks, which is how deep tuples and filled containers nest.
    static let maximumDepth = 256
    /// Longest integer; what does not fit in 64 bits is passed over.
    private static let maximumLongByteCount = 64
    /// Longest module or name of a global.
    private static let maximumLineByteCount = 256

    private let file: String
    private var cursor: ByteCursor
    private var document = PickleDocument()
    private var stack: [PickleValue] = []
    private var marks: [Int] = []
    private var memo: [Int: PickleValue] = [:]
    private var itemCount = 0
    /// Where the current opcode stands.
    private var position = 0

    /// - Parameter file: for messages.
    /// - Throws: `BadDataError` for everything that is not a plain state dictionary.
    static func read(_ bytes: UnsafeRawBufferPointer, file: String) throws -> PickleDocument {
        guard bytes.count <= maximumByteCount, let cursor = ByteCursor(bytes) else {
            throw BadDataError(
                file: file,
                reason: "pickle of \(bytes.count) bytes is over the limit of \(maximumByteCount)",
                remedy: "save the state dictionary alone")
        }
        var unpickler = Unpickler(file: file, cursor: cursor)
        return try unpickler.run()
    }

    private init(file: String, cursor: ByteCursor) { (self.file, self.cursor) = (file, cursor) }

    private mutating func run() throws -> PickleDocument {
        while true {
            position = cursor.offset
            let opcode = try number(UInt8.self)
            if opcode == UInt8(ascii: ".") { break }
            let isKnown =
                try plainValue(opcode) || container(opcode) || memoized(opcode) || object(opcode)
            guard isKnown else {
                throw refused("opcode \(Self.name(opcode)), which plain weights do not need")
            }
            guard stack.count <= Self.maximumStackCount, memo.count <= Self.maximumMemoCount,
                document.sequences.count + document.dictionaries.count + document.tensors.count
                    + document.storages.count <= Self.maximumObjectCount
            else { throw refused("more values than the limits allow") }
        }
        guard stack.count == 1, marks.isEmpty, cursor.remaining == 0 else {
            throw broken("it does not end with one value")
        }
        document.root = stack[0]
        return document
    }

    // MARK: Values

    private mutating func plainValue(_ opcode: UInt8) throws -> Bool {
        switch opcode {
        case UInt8(ascii: "N"): stack.append(.none)
        case 0x88: stack.append(.bool(true))
        case 0x89: stack.append(.bool(false))
        case UInt8(ascii: "K"): stack.append(.int(Int(try number(UInt8.self))))
        case UInt8(ascii: "M"): stack.append(.int(Int(try number(UInt16.self))))
        case UInt8(ascii: "J"): stack.append(.int(Int(try number(Int32.self))))
        case 0x8A: try long(Int(number(UInt8.self)))
        case 0x8B: try long(Int(number(Int32.self)))
        case UInt8(ascii: "G"):
            stack.append(.float(Double(bitPattern: try number(UInt64.self).byteSwapped)))
        case UInt8(ascii: "X"): try text(Int(number(UInt32.self)))
        case 0x8C: try text(Int(number(UInt8.self)))
        case 0x8D: try text(length64())
        case UInt8(ascii: "B"): try bytes(Int(number(UInt32.self)))
        case UInt8(ascii: "C"): try bytes(Int(number(UInt8.self)))
        case 0x8E: try bytes(length64())
        case 0x80:
            let version = try number(UInt8.self)
            guard (2...5).contains(version) else { throw refused("pickle protocol \(version)") }
        case 0x95:
            guard try length64() <= cursor.remaining else { throw broken("a frame is truncated") }
        default: return false
        }
        return true
    }

    private mutating func long(_ count: Int) throws {
        guard (0...Self.maximumLongByteCount).contains(count), let bytes = cursor.part(count)
        else { throw refused("an integer of \(count) bytes") }
        // As states of generators have.
        guard count <= 8 else { return stack.append(.foreign) }
        var value: UInt64 = (bytes.last ?? 0) & 0x80 == 0 ? 0 : .max
        for byte in bytes.reversed() { value = value << 8 | UInt64(byte) }
        stack.append(.int(Int(Int64(bitPattern: value))))
    }

    private mutating func text(_ count: Int) throws {
        let text = String(decoding: try part(count), as: UTF8.self)
        guard text.utf8.count == count else { throw broken("a string is not UTF-8") }
        guard text.isStreamSafe else {
            throw refused("a text with more than 30 combining marks on a character, out of order")
        }
        stack.append(.string(text))
    }

    private mutating func bytes(_ count: Int) throws {
        stack.append(.bytes(count: try part(count).count))
    }

    // MARK: Containers

    private mutating func container(_ opcode: UInt8) throws -> Bool {
        switch opcode {
        case UInt8(ascii: "("):
            guard marks.count < Self.maximumDepth else {
                throw refused("values nested more than \(Self.maximumDepth) deep")
            }
            marks.append(stack.count)
        case UInt8(ascii: "0"): _ = try pop()
        case UInt8(ascii: "1"): _ = try popMark()
        case UInt8(ascii: "2"):
            let value = try top()
            stack.append(value)
        case UInt8(ascii: ")"): stack.append(.tuple(try sequence([])))
        case UInt8(ascii: "t"): stack.append(.tuple(try sequence(popMark())))
        case 0x85...0x87:
            let items = try (0x85...opcode).map { _ in try pop() }
            stack.append(.tuple(try sequence(items.reversed())))
        case UInt8(ascii: "]"): stack.append(.list(try sequence([])))
        case UInt8(ascii: "l"): stack.append(.list(try sequence(popMark())))
        case UInt8(ascii: "a"): try append([pop()])
        case UInt8(ascii: "e"): try append(popMark())
        case UInt8(ascii: "}"): stack.append(dictionary())
        case UInt8(ascii: "d"):
            let items = try popMark()
            stack.append(dictionary())
            try assign(items)
        case UInt8(ascii: "s"):
            let value = try pop()
            try assign([pop(), value])
        case UInt8(ascii: "u"): try assign(popMark())
        default: return false
        }
        return true
    }

    private mutating func sequence(_ items: [PickleValue]) throws -> Int {
        try count(items)
        document.sequences.append(items)
        return document.sequences.count - 1
    }

    private mutating func dictionary() -> PickleValue {
        document.dictionaries.append([])
        return .dictionary(document.dictionaries.count - 1)
    }

    private mutating func append(_ items: [PickleValue]) throws {
        if case .foreign = try top() { return }
        guard case .list(let index) = try top() else {
            throw broken("only a list can be appended to")
        }
        try count(items)
        document.sequences[index] += items
    }

    private mutating func assign(_ items: [PickleValue]) throws {
        if case .foreign = try top() { return }
        guard case .dictionary(let index) = try top(), items.count % 2 == 0 else {
            throw broken("only a dictionary can take keys")
        }
        try count(items)
        for key in stride(from: 0, to: items.count, by: 2) {
            document.dictionaries[index].append((items[key], items[key + 1]))
        }
    }

    private mutating func count(_ items: [PickleValue]) throws {
        itemCount += items.count
        guard itemCount <= Self.maximumItemCount else {
            throw refused("more than \(Self.maximumItemCount) values in containers")
        }
    }

    // MARK: Memo

    private mutating func memoized(_ opcode: UInt8) throws -> Bool {
        switch opcode {
        case UInt8(ascii: "q"): try put(Int(number(UInt8.self)))
        case UInt8(ascii: "r"): try put(Int(number(UInt32.self)))
        case 0x94: try put(memo.count)
        case UInt8(ascii: "h"): try get(Int(number(UInt8.self)))
        case UInt8(ascii: "j"): try get(Int(number(UInt32.self)))
        default: return false
        }
        return true
    }

    private mutating func put(_ index: Int) throws { memo[index] = try top() }

    private mutating func get(_ index: Int) throws {
        guard let value = memo[index] else { throw broken("it has no stored value \(index)") }
        stack.append(value)
    }

    // MARK: Objects

    private mutating func object(_ opcode: UInt8) throws -> Bool {
        switch opcode {
        case UInt8(ascii: "c"):
            guard let module = cursor.line(limit: Self.maximumLineByteCount),
                let name = cursor.line(limit: Self.maximumLineByteCount)
            else { throw broken("the name of a global is truncated") }
            try symbol(
                String(decoding: module, as: UTF8.self), String(decoding: name, as: UTF8.self))
        case 0x93:
            guard case .string(let name) = try pop(), case .string(let module) = try pop() else {
                throw broken("a global is not named by two strings")
            }
            try symbol(module, name)
        case UInt8(ascii: "Q"): try storage(pop())
        case UInt8(ascii: "R"):
            let arguments = try pop()
            try call(pop(), arguments)
        case 0x81:
            _ = try pop()
            guard case .symbol(.foreign) = try pop() else {
                throw refused("an object (NEWOBJ)")
            }
            stack.append(.foreign)
        case UInt8(ascii: "b"):
            let state = try pop()
            if case .foreign = try top() { return true }
            // A module's state dictionary carries its versions as an attribute, which goes unused.
            guard case .dictionary = try top(), case .dictionary = state else {
                throw refused("attributes of an object (BUILD)")
            }
        default: return false
        }
        return true
    }

    private mutating func symbol(_ module: String, _ name: String) throws {
        guard let symbol = PickleSymbol(module: module, name: name) else {
            throw refused("'\(module.printable).\(name.printable)'")
        }
        stack.append(.symbol(symbol))
    }

    /// Takes a persistent id, by which torch refers to the other entries of the zip file.
    private mutating func storage(_ id: PickleValue) throws {
        guard case .tuple(let index) = id, document.sequences[index].count == 5,
            case .string("storage") = document.sequences[index][0],
            case .symbol(let kind) = document.sequences[index][1],
            let dtype = kind == .untypedStorage ? DType.u8 : kind.storageType,
            case .string(let key) = document.sequences[index][2],
            case .int(let count) = document.sequences[index][4], count >= 0
        else { throw refused("a persistent id that is not a tensor storage") }
        document.storages.append(PickleStorage(dtype: dtype, key: key, count: count))
        stack.append(.storage(document.storages.count - 1))
    }

    /// Does what calling the symbol would do, for the few that make plain data.
    private mutating func call(_ function: PickleValue, _ arguments: PickleValue) throws {
        guard case .symbol(let symbol) = function, case .tuple(let index) = arguments else {
            throw refused("a call of an unknown function (REDUCE)")
        }
        let arguments = document.sequences[index]
        switch symbol {
        case .foreign: stack.append(.foreign)
        case .rebuildTypedTensor where (7...8).contains(arguments.count):
            guard case .storage(let storage) = arguments[0], case .int(let offset) = arguments[1],
                let shape = integers(arguments[2]), let strides = integers(arguments[3]),
                case .symbol(.dtype(let dtype?)) = arguments[6],
                document.storages[storage].count % (dtype.bitWidth / 8) == 0
            else { throw broken("a tensor is not described by a storage, an offset and a shape") }
            let bytes = document.storages[storage]
            document.storages.append(
                PickleStorage(
                    dtype: dtype, key: bytes.key, count: bytes.count / (dtype.bitWidth / 8)))
            document.tensors.append(
                PickleTensor(
                    storage: document.storages.count - 1, offset: offset, shape: shape,
                    strides: strides))
            stack.append(.tensor(document.tensors.count - 1))
        case .orderedDictionary where arguments.isEmpty: stack.append(dictionary())
        case .size where arguments.count == 1:
            guard case .tuple = arguments[0] else { throw broken("a size is not a tuple") }
            stack.append(arguments[0])
        case .rebuildParameter where arguments.count == 3:
            guard case .tensor = arguments[0] else { throw broken("a parameter holds no tensor") }
            stack.append(arguments[0])
        case .rebuildTensor where (6...7).contains(arguments.count):
            guard case .storage(let storage) = arguments[0], case .int(let offset) = arguments[1],
                let shape = integers(arguments[2]), let strides = integers(arguments[3])
            else { throw broken("a tensor is not described by a storage, an offset and a shape") }
            document.tensors.append(
                PickleTensor(storage: storage, offset: offset, shape: shape, strides: strides))
            stack.append(.tensor(document.tensors.count - 1))
        default: throw refused("a call of \(symbol) with \(arguments.count) arguments")
        }
    }

    /// Most dimensions of a tensor.
    private static let maximumRank = 16

    private func integers(_ value: PickleValue) -> [Int]? {
        guard case .tuple(let index) = value, document.sequences[index].count <= Self.maximumRank
        else { return nil }
        var numbers: [Int] = []
        for item in document.sequences[index] {
            guard case .int(let number) = item else { return nil }
            numbers.append(number)
        }
        return numbers
    }

    // MARK: Pieces

    private mutating func number<Number: FixedWidthInteger>(_ type: Number.Type) throws -> Number {
        guard let number = cursor.number(type) else { throw broken("it is truncated") }
        return number
    }

    private mutating func length64() throws -> Int {
        guard let count = cursor.int(UInt64.self) else { throw broken("a length is out of range") }
        return count
    }

    private mutating func part(_ count: Int) throws -> UnsafeRawBufferPointer {
        guard let part = cursor.part(count) else {
            throw broken("a value of \(count) bytes reaches past its end")
        }
        return part
    }

    private func top() throws -> PickleValue {
        guard let value = stack.last, stack.count > marks.last ?? 0 else {
            throw broken("a value is missing")
        }
        return value
    }

    private mutating func pop() throws -> PickleValue {
        let value = try top()
        stack.removeLast()
        return value
    }

    /// Takes everything above the last mark.
    private mutating func popMark() throws -> [PickleValue] {
        guard let mark = marks.popLast() else { throw broken("a mark is missing") }
        defer { stack.removeSubrange(mark...) }
        return Array(stack[mark...])
    }

    private func broken(_ reason: String) -> BadDataError {
        BadDataError(
            file: file, reason: "pickle is broken at byte \(position): \(reason)",
            remedy: "download the file again, or save the weights again")
    }

    private func refused(_ what: String) -> BadDataError {
        BadDataError(
            file: file,
            reason: "pickle asks at byte \(position) for \(what); nothing was run or loaded",
            remedy:
                "get the weights as safetensors, or save a dictionary of only tensors with torch.save",
            page: .pickle)
    }

    private static func name(_ opcode: UInt8) -> String {
        let names: [UInt8: String] = [
            0x69: "INST", 0x6F: "OBJ", 0x81: "NEWOBJ", 0x82: "EXT1", 0x83: "EXT2", 0x84: "EXT4",
            0x92: "NEWOBJ_EX", 0x50: "PERSID", 0x8F: "EMPTY_SET", 0x96: "BYTEARRAY8",
        ]
        return names[opcode] ?? "0x" + String(opcode, radix: 16)
    }
}
