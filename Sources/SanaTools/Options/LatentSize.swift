import ArgumentParser
import SanaWorkbench

extension LatentSize {
    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let height = parts[0], let width = parts[1],
            Self.sides.contains(height), Self.sides.contains(width)
        else {
            throw ValidationError(
                "must be HEIGHTxWIDTH, each in \(Self.sides.lowerBound)..."
                    + "\(Self.sides.upperBound), such as 16x24")
        }
        self.init(height: height, width: width)
    }
}
