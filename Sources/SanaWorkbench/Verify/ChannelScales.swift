import Foundation
import SanaModel

/// The scales of int8 weights, one for each channel.
///
/// A wrong scale of one channel moves the error of a forward by less than tolerances leave, so they
/// are compared by themselves: with the source's weights (`SourceComparison`), or with those that a
/// calibration recorded.
enum ChannelScales {
    /// Name of the scales of an int8 tensor.
    static func name(of tensor: TensorInfo) -> String {
        tensor.name.hasSuffix("weight")
            ? String(tensor.name.dropLast("weight".count)) + "scale" : tensor.name + ".scale"
    }

    /// The scales of an int8 tensor; `nil` where there are not as many as channels.
    ///
    /// - Throws: errors of reading them.
    static func values(of tensor: TensorInfo, in source: any TensorSource) throws -> FloatBuffer? {
        guard let channels = tensor.shape.first, channels > 0,
            let info = source.info(name(of: tensor)), info.elementCount == channels
        else { return nil }
        return try source.bytes(of: info).widened(from: info.dtype)
    }

    /// All scales of a model, by their names in it.
    ///
    /// - Throws: errors of reading them.
    static func read(_ source: any TensorSource) throws -> [String: [Float]] {
        var result: [String: [Float]] = [:]
        for tensor in source.tensors where tensor.dtype == .i8 {
            guard let scales = try values(of: tensor, in: source) else { continue }
            result[name(of: tensor)] = (0..<tensor.shape[0]).map { scales.pointer[$0] }
        }
        return result
    }

    /// Scales that are not the recorded ones, in the order of the model.
    ///
    /// - Returns: `nil` where most channels have other scales, or none was recorded: the model was
    ///   converted by other rules, which says nothing of any channel.
    /// - Throws: errors of reading the model.
    static func compare(
        _ source: any TensorSource, with recorded: [String: [Float]]
    ) throws -> [SourceComparison.Deviation]? {
        var (known, different) = (0, 0)
        var result: [SourceComparison.Deviation] = []
        for tensor in source.tensors where tensor.dtype == .i8 {
            guard let before = recorded[name(of: tensor)],
                let scales = try values(of: tensor, in: source), before.count == tensor.shape[0]
            else { continue }
            let wrong = before.indices.filter { scales.pointer[$0] != before[$0] }
            (known, different) = (known + before.count, different + wrong.count)
            guard let first = wrong.first else { continue }
            let factor = Format.decimal(Double(scales.pointer[first] / before[first]), digits: 3)
            result.append(
                .init(
                    tensor: name(of: tensor),
                    message: "channel \(first)"
                        + (wrong.count > 1 ? " and \(wrong.count - 1) more" : "")
                        + " of \(before.count) has \(factor) × the scale of the calibration"))
        }
        return known == 0 || different * 2 > known ? nil : result
    }

    // MARK: Files

    /// For JSON: little-endian F32 in Base64, by name.
    static func json(_ scales: [String: [Float]]) -> JSONValue {
        .object(
            scales.sorted { $0.key < $1.key }.map { name, values in
                let bytes = values.flatMap { value in
                    withUnsafeBytes(of: value.bitPattern.littleEndian, Array.init)
                }
                return .init(name, .string(Data(bytes).base64EncodedString()))
            })
    }

    /// What `json` made of scales; `nil` where it did not.
    static func read(_ json: JSONValue) -> [String: [Float]]? {
        guard let members = json.members else { return nil }
        var result: [String: [Float]] = [:]
        for member in members {
            guard let text = member.value.string, let data = Data(base64Encoded: text),
                data.count.isMultiple(of: 4)
            else { return nil }
            result[member.key] = data.withUnsafeBytes { bytes in
                (0..<data.count / 4).map { index in
                    let word = bytes.loadUnaligned(fromByteOffset: 4 * index, as: UInt32.self)
                    return Float(bitPattern: UInt32(littleEndian: word))
                }
            }
        }
        return result
    }
}
