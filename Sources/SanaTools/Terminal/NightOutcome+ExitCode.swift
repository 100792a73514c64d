import ArgumentParser
import SanaWorkbench

extension NightOutcome {
    /// - Throws: the exit code of the verdict, unless it is a pass.
    func throwVerdict() throws {
        switch verdict {
        case .pass: break
        case .inconclusive: throw ExitCode.inconclusive
        case .fail: throw ExitCode.checkFailed
        }
    }
}
