import SanaModel
import SanaWorkbench
import Synchronization

/// An error as JSON on stdout, for programs that asked for JSON and got no result.
struct ErrorDocument {
    let json: JSONValue

    init(_ error: any DiagnosticError) {
        self.init(
            category: "\(error.category)", message: error.description, hint: error.remedy,
            code: error.category.exitCode)
    }

    /// An error of the command line.
    init(usage message: String, code: Int32) {
        self.init(category: "usage", message: message, hint: nil, code: code)
    }

    private init(category: String, message: String, hint: String?, code: Int32) {
        json = .fields([
            "error": .fields([
                "category": .string(category), "message": .string(message.printableLines),
                "hint": .text(hint?.printableLines), "exit_code": .int(Int(code)),
            ])
        ])
    }

    /// Whether the command line asks for JSON.
    static let isWanted = Atomic<Bool>(false)

    static func wants(_ arguments: [String]) -> Bool {
        let options = arguments.prefix { $0 != "--" }
        return options.contains("--format=json")
            || zip(options, options.dropFirst()).contains { $0 == "--format" && $1 == "json" }
    }

    /// Writes it where JSON is wanted and nothing else was written: stdout stays one document.
    func show() {
        guard Self.isWanted.load(ordering: .relaxed),
            !Console.hasData.load(ordering: .relaxed)
        else { return }
        try? Console.data(json.text(indent: 2))
    }
}
