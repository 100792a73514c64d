import SanaModel
import SanaWorkbench
import Synchronization

/// An error on stdout, for programs that asked for JSON or annotations and got no result.
struct ErrorDocument {
    let json: JSONValue
    let annotation: WorkflowCommand

    init(_ error: any DiagnosticError) {
        self.init(
            category: "\(error.category)", message: error.description, hint: error.hint,
            code: error.category.exitCode, annotation: WorkflowCommand(error))
    }

    /// An error of the command line.
    init(usage message: String, code: Int32) {
        self.init(
            category: "usage", message: message, hint: nil, code: code,
            annotation: WorkflowCommand(.error, "sana-tools", message))
    }

    private init(
        category: String, message: String, hint: String?, code: Int32, annotation: WorkflowCommand
    ) {
        json = .fields([
            "category": .string(category), "message": .string(message.printableLines),
            "hint": .text(hint?.printableLines), "exit_code": .int(Int(code)),
        ])
        self.annotation = annotation
    }

    /// What the command line asks for; `none` is text for people.
    enum Wish: UInt8, AtomicRepresentable { case none, json, jsonV1, github }

    /// What was asked for.
    static let wish = Atomic<Wish>(.none)

    static func wish(_ arguments: [String]) -> Wish {
        let options = arguments.prefix { $0 != "--" }
        let values =
            options.filter { $0.hasPrefix("--format=") }.map { String($0.dropFirst(9)) }
            + zip(options, options.dropFirst()).filter { $0.0 == "--format" }.map { $0.1 }
        switch values.last.flatMap(CheckFormat.init(rawValue:)) {
        case .json: return .json
        case .jsonV1: return .jsonV1
        case .github: return .github
        case .text, .markdown, nil: return .none
        }
    }

    /// Writes it where a program reads stdout and nothing else was written: it stays one document.
    ///
    /// - Returns: how it was written.
    func show() -> Wish {
        guard !Console.hasData.load(ordering: .relaxed) else { return .none }
        let wish = Self.wish.load(ordering: .relaxed)
        switch wish {
        case .none: break
        case .json:
            let document = ResultDocument(.error, []).json.setting("error", to: json)
            try? Console.data(document.text(indent: 2))
        case .jsonV1: try? Console.data(JSONValue.fields(["error": json]).text(indent: 2))
        case .github: try? Console.data(annotation.text)
        }
        return wish
    }
}
