import ArgumentParser
import SanaWorkbench

extension ExitCode {
    /// A check failed: out of tolerance, a regression, a lint error.
    static let checkFailed = ExitCode(1)
    /// A check that is inconclusive.
    static let inconclusive = ExitCode(3)
}

extension Verdict {
    /// - Throws: the exit code of the verdict, unless it is a pass.
    func throwUnlessPass() throws {
        switch self {
        case .pass: break
        case .inconclusive: throw ExitCode.inconclusive
        case .fail: throw ExitCode.checkFailed
        }
    }
}
