import Foundation
import SanaModel
import SanaTestSupport

@testable import SanaTools
@testable import SanaWorkbench

extension TemporaryFolder {
    /// Writes the configuration of a released model and weights of its names and shapes, zeros but
    /// for the last one: a file that ends in zeros is one that a download has not written.
    ///
    /// - Parameter isWhole: whether the values are there, as a hole in the file that takes no room.
    func write(
        _ item: ReleasedConfiguration, config: JSONValue? = nil, in folder: String = ".",
        isWhole: Bool = true
    ) throws {
        var tensors: [(name: String, shape: [Int])] = []
        do {
            try item.config.check(source: PartialSource([]), label: "")
        } catch let error as BindingError {
            tensors = error.missing.map { ($0.name, $0.shape) }
        }
        var (entries, end): ([JSONValue.Member], Int) = ([], 0)
        for tensor in tensors {
            let bytes = tensor.shape.reduce(2, *)
            entries.append(
                .init(
                    tensor.name,
                    .object([
                        .init("dtype", .string("BF16")),
                        .init("shape", .array(tensor.shape.map(JSONValue.int))),
                        .init("data_offsets", .array([.int(end), .int(end + bytes)])),
                    ])))
            end += bytes
        }
        let header = Array(JSONValue.object(entries).text().utf8)
        let name = folder + "/diffusion_pytorch_model.safetensors"
        try write(name, littleEndianBytes(UInt64(header.count)) + header)
        if isWhole, let file = FileHandle(forWritingAtPath: self(name)) {
            let one = littleEndianBytes(UInt16(0x3F80))
            try file.truncate(atOffset: UInt64(8 + header.count + end - one.count))
            try file.write(contentsOf: one)
            try file.close()
        }
        if let config {
            try write(folder + "/config.json", Array(config.text(indent: 2).utf8))
        }
    }
}

extension ReleasedConfiguration {
    /// The one whose name ends so.
    static func named(_ suffix: String) throws -> ReleasedConfiguration {
        guard let item = all.first(where: { $0.repository.hasSuffix(suffix) }) else {
            throw BadDataError(file: suffix, reason: "is not released")
        }
        return item
    }
}
