import SanaModel

/// A repository that cannot be converted as asked.
public struct RepositoryError: DiagnosticError, Equatable {
    /// What cannot be done, and with which component or file.
    public enum Problem: Sendable, Equatable {
        case noComponent(String, present: [String])
        case absent(String)
        case noSafetensors
        case notListed(String)
        case folderInComponent
        case tooDeep
        case somethingInTheWay
        case linkInTheWay
        case insideSource
    }

    public let path: String
    public let problem: Problem

    init(_ path: String, _ problem: Problem) { (self.path, self.problem) = (path, problem) }

    public var category: DiagnosticCategory {
        switch problem {
        case .noComponent, .insideSource, .notListed: .usage
        case .absent, .noSafetensors, .folderInComponent, .tooDeep: .badData
        case .somethingInTheWay, .linkInTheWay: .cannotCreate
        }
    }

    public var description: String { "\(path.printable): \(reason)" }

    private var reason: String {
        switch problem {
        case .noComponent(let name, let present):
            "no component '\(name.printable)' other than the transformer; there are "
                + present.map(\.printable).joined(separator: ", ")
        case .absent(let name): "component '\(name.printable)' is absent"
        case .noSafetensors: "component holds no safetensors file to convert"
        case .notListed(let path):
            "\(path.printable) is not a component of \(Repository.indexName)"
        case .folderInComponent: "a component with subdirectories cannot be converted"
        case .tooDeep: "subdirectories of components are nested too deeply"
        case .somethingInTheWay: "is where a link should go"
        case .linkInTheWay: "is a symlink; refusing to write through it"
        case .insideSource: "output is inside the repository to convert"
        }
    }

    public var remedy: String? {
        switch problem {
        case .noComponent: "name one of these"
        case .notListed: "give the component's directory as MODEL, or a file as --output"
        case .absent: "download the component, or leave it out"
        case .noSafetensors: "link or copy it"
        case .folderInComponent, .tooDeep: "link the component instead"
        case .somethingInTheWay: "remove it, or choose --other-components copy"
        case .linkInTheWay: "remove the link, or choose another --output"
        case .insideSource: "choose another --output"
        }
    }
}
