import ArgumentParser
import SanaWorkbench

/// A number of bytes as users of diffusers write it: `10GB`, `500MB`, `2GiB` or plain digits.
struct ByteCount: ExpressibleByArgument {
    let bytes: Int

    private static let units = [
        ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("KB", 1000), ("MB", 1_000_000),
        ("GB", 1_000_000_000), ("", 1),
    ]

    init?(argument: String) {
        let upper = argument.uppercased()
        guard let (unit, factor) = Self.units.first(where: { upper.hasSuffix($0.0.uppercased()) }),
            let number = Int(argument.dropLast(unit.count)), number > 0
        else { return nil }
        let (bytes, overflow) = number.multipliedReportingOverflow(by: factor)
        guard !overflow else { return nil }
        self.bytes = bytes
    }
}
