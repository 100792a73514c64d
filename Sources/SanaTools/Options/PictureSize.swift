import ArgumentParser
import SanaWorkbench

/// Rows and columns of a picture in pixels, written `768x1344`.
struct PictureSize: Equatable {
    let height: Int
    let width: Int

    private static let sides = 1...65536

    /// - Throws: `ValidationError` that says what is allowed.
    init(checking argument: String) throws {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let height = parts[0], let width = parts[1],
            Self.sides.contains(height), Self.sides.contains(width)
        else {
            throw ValidationError(
                "must be HEIGHTxWIDTH in pixels, each in \(Self.sides.lowerBound)..."
                    + "\(Self.sides.upperBound), such as 768x1344")
        }
        (self.height, self.width) = (height, width)
    }
}
