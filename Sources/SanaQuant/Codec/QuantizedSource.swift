import SanaModel

/// A source some of whose weights are rounded to int8 as they are read, just as conversion rounds
/// them.
public struct QuantizedSource: TensorSource {
    private let base: any TensorSource
    /// What quantized tensors become, by the names of the results.
    private let origins: [String: TensorInfo]
    private let infos: [String: TensorInfo]
    public let tensors: [TensorInfo]

    /// - Parameter names: weights to quantize; see `savedBytes(_:)` for those that can be.
    public init(_ base: any TensorSource, quantizing names: Set<String>) {
        self.base = base
        var origins: [String: TensorInfo] = [:]
        tensors = base.tensors.flatMap { tensor -> [TensorInfo] in
            guard names.contains(tensor.name),
                let outputs = TensorConversion.int8PerChannel.outputs(of: tensor)
            else { return [tensor] }
            for output in outputs { origins[output.name] = tensor }
            return outputs
        }
        self.origins = origins
        infos = Dictionary(tensors.map { ($0.name, $0) }) { first, _ in first }
    }

    /// Bytes that int8 saves of `tensor`, its scales counted; `nil` where it cannot be int8.
    public static func savedBytes(_ tensor: TensorInfo) -> Int? {
        TensorConversion.int8PerChannel.outputs(of: tensor).map { outputs in
            tensor.byteCount - outputs.reduce(0) { $0 + $1.byteCount }
        }
    }

    public func info(_ name: String) -> TensorInfo? { infos[name] }

    public func rows(of tensor: TensorInfo) throws -> EncodedRows? {
        origins[tensor.name] == nil ? try base.rows(of: tensor) : nil
    }

    /// - Throws: what the source throws, or `BadDataError` for values that are not finite.
    public func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let origin = origins[tensor.name] else { return try base.bytes(of: tensor) }
        let source = try base.bytes(of: origin)
        let scratch = Codec.Scratch()
        let rows = origin.shape[0]
        do throws(NonFiniteValue) {
            let scales = try Codec.rowScales(of: source, origin.dtype, rows: rows, scratch)
            guard tensor.dtype == .i8 else {
                return ByteView(count: rows * 4) {
                    $0.copyBytes(
                        from: UnsafeRawBufferPointer(start: scales.pointer, count: rows * 4))
                }
            }
            return try quantized(source, origin, scales, scratch)
        } catch {
            throw BadDataError(
                file: origin.name, reason: "element \(error.element) is not finite",
                remedy: "restore the checkpoint from its repository")
        }
    }

    private func quantized(
        _ source: ByteView, _ origin: TensorInfo, _ scales: FloatBuffer, _ scratch: Codec.Scratch
    ) throws(NonFiniteValue) -> ByteView {
        var failure: NonFiniteValue?
        let columns = origin.elementCount / max(origin.shape[0], 1)
        let view = ByteView(count: origin.elementCount) { target in
            source.withUnsafeBytes { bytes in
                do throws(NonFiniteValue) {
                    _ = try Codec.quantize(
                        bytes, origin.dtype, from: 0, columns: columns, scales: scales, target,
                        scratch)
                } catch { failure = error }
            }
        }
        if let failure { throw failure }
        return view
    }
}
