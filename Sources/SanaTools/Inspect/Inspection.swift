import SanaModel
import SanaQuant

/// What a checkpoint holds, and what is wrong with it.
struct Inspection: Sendable {
    /// Something a user should know, in the order it was found.
    struct Problem: Sendable, Equatable {
        enum Severity: String, Sendable { case error, warning }
        /// Stable name of the rule.
        let id: String
        let severity: Severity
        /// File, tensor or configuration key.
        let location: String
        let message: String
        let remedy: String?
    }

    /// A component that model_index.json names.
    struct Component: Sendable {
        let name: String
        let className: String
        let isPresent: Bool
    }

    /// Tensors of one role and type.
    struct Group: Sendable {
        let role: TensorRole
        let dtype: DType
        var tensors: Int
        var parameters: Int
        var bytes: Int
    }

    let model: OpenedModel
    let components: [Component]
    let groups: [Group]
    let problems: [Problem]
    let digest: String?

    var hasErrors: Bool { problems.contains { $0.severity == .error } }
}

extension Inspection {
    /// Reads headers and configuration; with `digest` also all values, those of an archive against its hashes.
    ///
    /// Defects that make the files unreadable are thrown; contradictions between readable parts are
    /// problems.
    static func run(
        _ model: OpenedModel, path: String, digest: Bool, workers: WorkerPool
    ) throws -> Inspection {
        var problems = try contradictions(model)
        let components = try components(of: path)
        for component in components where !component.isPresent {
            problems.append(
                Problem(
                    id: "component-absent", severity: .warning, location: component.name,
                    message: "model_index.json names the component, but its folder is absent",
                    remedy:
                        "download the folder \(component.name.printable)/ if the pipeline is to run from here"
                ))
        }
        if digest, case .archive(let archive) = model.kind, archive.manifest != nil {
            try archive.verify(using: workers)
        }
        return Inspection(
            model: model, components: components, groups: groups(model.source.tensors),
            problems: problems, digest: digest ? try model.sourceDigest(workers: workers) : nil)
    }

    /// Names and shapes that contradict the configuration, found without reading values.
    private static func contradictions(_ model: OpenedModel) throws -> [Problem] {
        do {
            try SanaTransformer2DModel.check(
                model.config, source: model.source, label: model.label)
            return []
        } catch let error as BindingError {
            func problem(_ id: String, _ tensor: String, _ message: String) -> Problem {
                Problem(
                    id: id, severity: .error, location: tensor, message: message,
                    remedy: error.remedy)
            }
            return error.missing.map {
                problem(
                    "tensor-missing", $0.name,
                    "the configuration calls for \($0.shape), no such tensor is there")
            }
                + error.unexpected.map {
                    problem(
                        "tensor-unexpected", $0, "the configuration has no place for this tensor")
                }
                + error.mismatched.map {
                    let types = $0.expectedTypes.map(\.rawValue).joined(separator: "/")
                    return problem(
                        "tensor-misshapen", $0.tensor.name,
                        "the configuration calls for \(types) \($0.expectedShape), the file has "
                            + "\($0.tensor.dtype.rawValue) \($0.tensor.shape)")
                }
        }
    }

    private static func components(of path: String) throws -> [Component] {
        let index = path.appendingPath("model_index.json")
        guard path.isFolder, index.pathExists else { return [] }
        return (try JSONFile.read(index, allowsNonFinite: true).members ?? []).compactMap {
            member in
            guard !member.key.hasPrefix("_"), let className = member.value.array?.last?.string
            else {
                return nil
            }
            return Component(
                name: member.key, className: className,
                isPresent: path.appendingPath(member.key).isFolder)
        }
    }

    private static func groups(_ tensors: [TensorInfo]) -> [Group] {
        var groups: [Group] = []
        for tensor in tensors {
            let role = TensorRole(of: tensor)
            let index =
                groups.firstIndex { $0.role == role && $0.dtype == tensor.dtype }
                ?? {
                    groups.append(
                        Group(role: role, dtype: tensor.dtype, tensors: 0, parameters: 0, bytes: 0))
                    return groups.count - 1
                }()
            groups[index].tensors += 1
            groups[index].parameters += tensor.elementCount
            groups[index].bytes += tensor.byteCount
        }
        return groups.sorted { ($0.bytes, $0.role.rawValue) > ($1.bytes, $1.role.rawValue) }
    }
}
