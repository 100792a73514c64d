import SanaModel
import SanaQuant

/// A safetensors file as far as it can be read.
package struct PartialFile: Sendable {
    /// Name in its directory.
    package let name: String
    package let byteCount: Int
    package let tensors: [TensorInfo]
    /// `nil` where the values end early: the header is known and they are not.
    package let whole: SafetensorsFile?

    /// Reads a header, whatever is wrong behind it; `nil` and a problem where there is none.
    package init?(_ name: String, in scan: FolderScan, _ problems: inout [Problem]) {
        let (path, location) = (scan.file(name), scan.prefix + name)
        self.name = name
        do {
            let content = try scan.content(name)
            byteCount = content.count
            do {
                let file = try SafetensorsFile(content: content, path: path)
                (whole, tensors) = (file, file.tensors)
                for warning in file.header.warnings {
                    problems.append(
                        Problem(.headerOdd, location, warning + ", which safetensors passes over"))
                }
                if tensors.isEmpty {
                    problems.append(
                        Problem(.weightsEmpty, location, "the file holds no tensors"))
                }
                if let tail = ZeroTail(file) {
                    let rule = tail.isWhole ? LintRule.fileUnwritten : .fileZeroEnd
                    problems.append(Problem(rule, location, tail.reason))
                }
            } catch {
                if case .foreign(let foreign) = error.rule {
                    problems.append(
                        Problem(
                            foreign == .lfsPointer ? .lfsPointer : .fileForeign, location,
                            "Error while deserializing header: the file is "
                                + foreign.description, remedy: foreign.remedy))
                    return nil
                }
                guard case .dataSize(let described, let present) = error.rule, described > present,
                    let header = try? Self.header(content, dataByteCount: described, path)
                else {
                    problems.append(
                        Problem(
                            .fileInvalid, location,
                            "Error while deserializing header: "
                                + Self.reason(error, path), remedy: error.remedy))
                    return nil
                }
                (whole, tensors) = (nil, header.tensors)
                problems.append(
                    Problem(
                        .fileTruncated, location,
                        "Error while deserializing header: incomplete metadata, file not fully "
                            + "covered: \(described) data bytes described, \(present) present"))
            }
        } catch let error as any DiagnosticError {
            problems.append(Problem(.fileUnreadable, location, Self.reason(error, path)))
            return nil
        } catch {
            return nil
        }
    }

    private static func header(
        _ content: ByteView, dataByteCount: Int, _ path: String
    ) throws -> SafetensorsHeader {
        try content.withUnsafeBytes { bytes in
            let count = try SafetensorsHeader.headerByteCount(
                bytes, fileByteCount: bytes.count, file: path)
            let start = SafetensorsHeader.lengthByteCount
            return try SafetensorsHeader(
                json: UnsafeRawBufferPointer(rebasing: bytes[start..<start + count]),
                dataByteCount: dataByteCount, file: path)
        }
    }

    /// An error's text without the path that a problem names anyway.
    package static func reason(_ error: any DiagnosticError, _ path: String) -> String {
        let (text, prefix) = (error.description, path.printable + ": ")
        return text.hasPrefix(prefix) ? String(text.dropFirst(prefix.count)) : text
    }
}

/// The tensors of several files, as far as they can be read; of a name that is there twice, the
/// first.
package struct PartialSource: TensorSource {
    package let files: [PartialFile]
    package let tensors: [TensorInfo]
    private let fileByName: [String: Int]

    package init(_ files: [PartialFile]) {
        self.files = files
        var (tensors, fileByName): ([TensorInfo], [String: Int]) = ([], [:])
        for (index, file) in files.enumerated() {
            for tensor in file.tensors where fileByName[tensor.name] == nil {
                fileByName[tensor.name] = index
                tensors.append(tensor)
            }
        }
        (self.tensors, self.fileByName) = (tensors, fileByName)
        infos = Dictionary(tensors.map { ($0.name, $0) }) { first, _ in first }
    }

    private let infos: [String: TensorInfo]

    package func info(_ name: String) -> TensorInfo? { infos[name] }

    package var metadata: [String: String] {
        files.reduce(into: [:]) { $0.merge($1.whole?.metadata ?? [:]) { first, _ in first } }
    }

    /// Float types that convert kept on purpose, as its files say.
    package var keptTypes: Set<String> {
        let lists = files.compactMap { file in
            file.whole?.header.metadata.first { $0.key == ContentLayout.keptTypesKey }?.value
        }
        return Set(lists.flatMap { $0.split(separator: ",").map(String.init) })
    }

    /// Whether the values of every tensor are there.
    package var isWhole: Bool { files.allSatisfy { $0.whole != nil } }

    /// Whether the values of a tensor are there.
    package func hasValues(_ tensor: TensorInfo) -> Bool {
        fileByName[tensor.name].map { files[$0].whole != nil } ?? false
    }

    package func bytes(of tensor: TensorInfo) throws -> ByteView {
        guard let index = fileByName[tensor.name], let file = files[index].whole else {
            throw BadDataError(
                file: tensor.name, reason: "its file is truncated", remedy: "download it again")
        }
        return try file.bytes(of: tensor)
    }
}
