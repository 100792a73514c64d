import SanaModel

extension DiagnosticCategory {
    /// The exit code of sysexits.h for this kind of trouble.
    package var exitCode: Int32 {
        switch self {
        case .usage: 64
        case .badData: 65
        case .internalError: 70
        case .noInput: 66
        case .cannotCreate: 73
        case .inputOutput: 74
        }
    }
}
