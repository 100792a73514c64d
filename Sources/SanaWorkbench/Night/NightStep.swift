import Foundation
import SanaModel

/// One command of a night, and how it ended.
package struct NightStep: Sendable {
    /// Name of the command, such as `verify`.
    package let name: String
    package let outcome: Outcome
    package let seconds: Double
    /// What it says of itself in a line.
    package let summary: String
    /// File with all that it wrote; `nil` where it was not run.
    package let log: String?

    package enum Outcome: Sendable, Equatable {
        case ended(Int32)
        /// A crash, or memory that ran out.
        case signal(Int32)
        /// There was nothing to do it with.
        case notRun
    }

    /// What the night's exit code takes from it; what was not run is not known to be good.
    package var exitCode: Int32 {
        switch outcome {
        case .ended(let code): code
        case .signal: 70
        case .notRun: 3
        }
    }

    package var verdict: String {
        switch exitCode {
        case 0: "pass"
        case 3: outcome == .notRun ? "not run" : "inconclusive"
        case 1: "fail"
        default: "error"
        }
    }

    /// Argument of `history gate --failed`; `nil` if it did not fail.
    package var failure: String? {
        switch outcome {
        case .ended(0), .ended(3), .notRun: nil
        case .ended(let code): "\(name) (exit \(code))"
        case .signal(let number): "\(name) (signal \(number))"
        }
    }
}
