import SanaModel
import SanaTestSupport

/// Files inside of files: what is said of them, and what they say.
extension Mutator {
    /// Breaks a zip file: mostly the records that describe its entries, or an entry that is a
    /// pickle or text, with the file around it made right again but for the entry's CRC-32, which
    /// stays. `false` where other bytes are to be broken.
    mutating func breakZip(_ bytes: inout [UInt8]) -> Bool {
        guard let zip = try? ZipFile(content: ByteView(bytes), path: ""), !zip.entries.isEmpty
        else { return false }
        switch below(8) {
        case 0..<3: breakRecord(of: zip, in: &bytes)
        case 3..<7: breakEntry(of: zip, in: &bytes)
        default: return false
        }
        return true
    }

    /// A byte or a number of a header before an entry, of the directory, or of the end record.
    private mutating func breakRecord(of zip: ZipFile, in bytes: inout [UInt8]) {
        let marks = [[0x50, 0x4B, 3, 4], [0x50, 0x4B, 1, 2], [0x50, 0x4B, 5, 6]] as [[UInt8]]
        let ends = bytes.suffix(22).starts(with: marks[2])
        let mark = marks[below(ends ? 3 : 2)]
        let places = bytes.indices.filter { bytes[$0...].starts(with: mark) }
        guard !places.isEmpty else { return }
        let place = min(bytes.count - 1, places[below(places.count)] + below(48))
        if below(2) == 0 {
            bytes[place] ^= 1 << UInt8(below(8))
        } else {
            writeInteger(&bytes, place)
        }
    }

    /// The content of an entry, whose size is right again and whose sum still is the old one.
    private mutating func breakEntry(of zip: ZipFile, in bytes: inout [UInt8]) {
        var entries = zip.entries.map { entry in
            var copy = ZipBuilder.Entry(
                entry.name, entry.bytes.withUnsafeBytes { Array($0) })
            copy.crc32 = entry.crc32
            return copy
        }
        let texts = entries.indices.filter { index in
            [".pkl", ".json", "order", "version"].contains { entries[index].name.hasSuffix($0) }
        }
        let index =
            texts.isEmpty || below(8) == 0 ? below(entries.count) : texts[below(texts.count)]
        switch below(10) {
        case 0: entries.remove(at: index)
        case 1: entries.swapAt(index, below(entries.count))
        case 2: entries[index].data = entries[below(entries.count)].data
        default:
            if entries[index].name.hasSuffix(".pkl") {
                breakPickle(&entries[index].data)
            } else {
                var inner = Mutator(
                    entries[index].data,
                    entries[index].name.hasSuffix(".safetensors") ? .safetensors : .none,
                    seed: UInt64(below(.max)))
                entries[index].data = inner.next()
            }
        }
        var builder = ZipBuilder()
        builder.entries = entries
        bytes = builder.file
    }

    /// One opcode or its argument; other bytes stay.
    private mutating func breakPickle(_ bytes: inout [UInt8]) {
        let steps = PickleCode.steps(bytes[...])
        guard !steps.isEmpty else { return }
        let step = steps[below(steps.count)]
        let range = step.start..<step.start + step.count
        let other = steps[below(steps.count)]
        switch below(9) {
        case 0: bytes[step.start] = PickleCode.opcodes[below(PickleCode.opcodes.count)]
        case 1: bytes.removeSubrange(range)
        case 2: bytes.insert(contentsOf: bytes[range], at: step.start)
        case 3:
            bytes.replaceSubrange(
                range, with: Array(bytes[other.start..<other.start + other.count]))
        case 4: bytes.insert(PickleCode.opcodes[below(PickleCode.opcodes.count)], at: step.start)
        case 5:
            // Nested, or doubled over and over.
            let code: [UInt8] = [[0x28], [0x32, 0x86], [0x5D], [0x7D]][below(4)]
            let many = Array(repeating: code, count: 1 << below(17)).flatMap(\.self)
            bytes.insert(contentsOf: many, at: step.start)
        default:
            guard step.count > 1 else { return bytes[step.start] ^= 1 << UInt8(below(8)) }
            let place = step.start + 1 + below(step.count - 1)
            if below(2) == 0 {
                bytes[place] = UInt8(below(256))
            } else {
                writeInteger(&bytes, place)
            }
        }
    }
}
