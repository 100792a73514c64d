import ArgumentParser

/// Rows and columns of a latent, written `16x24`.
struct LatentSize: ExpressibleByArgument, Equatable {
    let height: Int
    let width: Int

    init(height: Int, width: Int) { (self.height, self.width) = (height, width) }

    init?(argument: String) {
        let parts = argument.split(separator: "x", omittingEmptySubsequences: false).map { Int($0) }
        guard parts.count == 2, let height = parts[0], let width = parts[1],
            (1...4096).contains(height), (1...4096).contains(width)
        else { return nil }
        self.init(height: height, width: width)
    }
}
