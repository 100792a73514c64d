import Foundation
import GRDB
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Files whose pages are not a tree.
extension HistoryHostileTests {
    /// Pages of SQLite's that lead to one page again and again: 10,000 rows for each that is there.
    private func multiply(_ table: String, _ path: String) throws {
        let queue = try DatabaseQueue(path: path)
        let (root, size, count): (Int, Int, Int) = try queue.read { db in
            func number(_ sql: String) throws -> Int { try Int.fetchOne(db, sql: sql) ?? 0 }
            return try (
                number("SELECT rootpage FROM sqlite_master WHERE name = '\(table)'"),
                number("PRAGMA page_size"), number("PRAGMA page_count")
            )
        }
        try queue.close()
        var file = try fileBytes(path)
        let place = (root - 1) * size..<root * size
        let leaf = Array(file[place])
        try #require(leaf[0] == 13, "\(table) is a leaf that is not the first page")
        // Of an inner page: its type, the number of cells, where they begin, its last child, and
        // where each cell is, which holds a child and a key.
        func inner(_ child: Int) -> [UInt8] {
            func word(_ value: Int, _ count: Int) -> [UInt8] {
                (1...count).map { UInt8(truncatingIfNeeded: value >> (8 * (count - $0))) }
            }
            let cells = 100
            let starts = (0..<cells).map { size - 5 * ($0 + 1) }
            var page: [UInt8] = [5, 0, 0]
            page += word(cells, 2) + word(starts[cells - 1], 2)
            page += [0] + word(child, 4)
            for start in starts { page += word(start, 2) }
            page += [UInt8](repeating: 0, count: size - page.count - 5 * cells)
            for _ in 0..<cells { page += word(child, 4) + [1] }
            return page
        }
        file.replaceSubrange(place, with: inner(count + 2))
        file += leaf + inner(count + 1)
        for (index, shift) in [24, 16, 8, 0].enumerated() {
            file[28 + index] = UInt8(truncatingIfNeeded: (count + 2) >> shift)
        }
        file.replaceSubrange(92..<96, with: file[24..<28])
        try folder.write(URL(filePath: path).lastPathComponent, file)
    }

    @Test(
        "a page that many pages lead to is bad data",
        arguments: ["series", "run", "layer", "machine", "model", "grdb_migrations"])
    func sharedPages(_ table: String) throws {
        let path = try doctored("h", "SELECT 1")
        try multiply(table, path)
        let target = try HistoryStore(path: folder("ours"), creating: true)
        #expect(category { _ = try HistoryStore(path: path, creating: false) } == .badData)
        #expect(category { _ = try target.merge(path) } == .badData)
    }
}
