import Foundation
import SanaModel

/// Bytes of a mapping that are in this process's memory, by the kernel's account.
///
/// - Parameter view: the mapping from its first byte on.
/// - Returns: `nil` where nothing is mapped at that address, or off Linux.
public func residentByteCount(ofMapping view: ByteView) -> Int? {
    // Its size says nothing of a file in /proc: it is read to its end.
    guard let map = try? FileHandle(forReadingAtPath: "/proc/self/smaps")?.readToEnd() else {
        return nil
    }
    let start = view.withUnsafeBytes { UInt(bitPattern: $0.baseAddress) }
    let prefix = String(start, radix: 16) + "-"
    let lines = String(decoding: map, as: UTF8.self).split(separator: "\n")
    guard let header = lines.firstIndex(where: { $0.hasPrefix(prefix) }) else { return nil }
    let resident = lines[header...].first { $0.hasPrefix("Rss:") }
    return resident?.split(separator: " ").dropFirst().first.flatMap { Int($0) }.map { $0 << 10 }
}
