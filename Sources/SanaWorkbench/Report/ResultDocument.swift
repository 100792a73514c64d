import SanaModel

/// What `--format json` prints: one shape, whether there is one result or many.
package struct ResultDocument {
    /// What the results are; docs/reference/schemas has a JSON Schema of each.
    package enum Kind: String, CaseIterable {
        case baselineList = "baseline-list"
        case convert
        case convertGGUF = "convert-gguf"
        case convertPlan = "convert-plan"
        case convertTensor = "convert-tensor"
        case diff, digest, doctor, error
        case historyCompare = "history-compare"
        case historyGate = "history-gate"
        case historyList = "history-list"
        case historyShow = "history-show"
        case inspect
        case inspectRules = "inspect-rules"
        case kernels
        case loraExtract = "lora-extract"
        case loraMerge = "lora-merge"
        case nightly, profile
        case profileAgainst = "profile-against"
        case profilePipeline = "profile-pipeline"
        case sample, tokenize, tune, unpack, verify

        /// Name and version of the shape.
        package var schema: String { "sana-tools/\(rawValue)/2" }

        /// Whether version 1 had an array even of one.
        fileprivate var isList: Bool {
            switch self {
            case .baselineList, .historyList, .inspectRules: true
            default: false
            }
        }
    }

    let kind: Kind
    let results: [JSONValue]

    package init(_ kind: Kind, _ results: [JSONValue]) {
        (self.kind, self.results) = (kind, results)
    }

    package init(_ kind: Kind, _ result: JSONValue) { self.init(kind, [result]) }

    package var json: JSONValue {
        .fields(["schema": .string(kind.schema), "results": .array(results)])
    }

    /// The shape before this one: the only result by itself, several as an array.
    package var version1: JSONValue {
        results.count == 1 && !kind.isList ? results[0] : .array(results)
    }
}
