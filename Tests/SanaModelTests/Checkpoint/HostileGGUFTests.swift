import SanaTestSupport
import Testing

@testable import SanaModel

/// One test per bound of a GGUF file, each with the attack that it stops.
struct HostileGGUFTests {
    /// A file with one setting and one tensor of two floats.
    private struct Builder {
        var key = "k"
        /// Type and value; by default the number 7.
        var setting: [UInt8] = littleEndianBytes(UInt32(4)) + littleEndianBytes(UInt32(7))
        var name = "t"
        var sizes: [UInt64] = [2]
        var tensorCount: UInt64 = 1
        var settingCount: UInt64 = 1
        var offset: UInt64 = 0

        static func text(_ text: String) -> [UInt8] {
            littleEndianBytes(UInt64(text.utf8.count)) + Array(text.utf8)
        }

        var file: [UInt8] {
            var bytes = Array("GGUF".utf8) + littleEndianBytes(UInt32(3))
            bytes += littleEndianBytes(tensorCount) + littleEndianBytes(settingCount)
            bytes += Self.text(key) + setting + Self.text(name)
            bytes += littleEndianBytes(UInt32(sizes.count)) + sizes.flatMap(littleEndianBytes)
            bytes += littleEndianBytes(UInt32(0)) + littleEndianBytes(offset)
            bytes += [UInt8](repeating: 0, count: (32 - bytes.count % 32) % 32)
            return bytes + [UInt8](repeating: 0, count: 8)
        }
    }

    private func refusal(_ change: (inout Builder) -> Void) -> String? {
        var builder = Builder()
        change(&builder)
        do {
            _ = try GGUFFile(ByteView(builder.file), path: "x.gguf")
            return nil
        } catch { return "\(error)" }
    }

    @Test func honestFileIsRead() { #expect(refusal { _ in } == nil) }

    @Test func namesLongerThanAnyModelHas() {
        func name(_ count: Int) -> String? {
            refusal { $0.name = String(repeating: "x", count: count) }
        }
        #expect(name(1024) == nil)
        #expect(name(1025)?.contains("name of a tensor is too long") == true)
    }

    @Test func moreTensorsOrSettingsThanAnyModelHas() {
        let words = "more than 65536 tensors or settings"
        #expect(refusal { $0.tensorCount = 65537 }?.contains(words) == true)
        #expect(refusal { $0.settingCount = 65537 }?.contains(words) == true)
    }

    @Test func dimensionsThatNoModelHas() {
        #expect(refusal { $0.sizes = [2, 1, 1, 1] } == nil)
        #expect(refusal { $0.sizes = [2, 1, 1, 1, 1] }?.contains("5 dimensions") == true)
        #expect(refusal { $0.sizes = [1 << 32, 1 << 32] }?.contains("impossible shape") == true)
    }

    /// Each level is a call: 2²⁰ of them would end the stack.
    @Test func listsThatNest() {
        func lists(_ depth: Int) -> String? {
            refusal {
                $0.setting = littleEndianBytes(UInt32(9))
                for _ in 1..<depth {
                    $0.setting += littleEndianBytes(UInt32(9)) + littleEndianBytes(UInt64(1))
                }
                $0.setting += littleEndianBytes(UInt32(4)) + littleEndianBytes(UInt64(0))
            }
        }
        #expect(lists(4) == nil)
        #expect(lists(5)?.contains("nested too deeply") == true)
    }

    @Test func lengthsPastTheEnd() {
        let text = littleEndianBytes(UInt32(8)) + littleEndianBytes(UInt64.max)
        #expect(refusal { $0.setting = text }?.contains("out of range or truncated") == true)
        let list =
            littleEndianBytes(UInt32(9)) + littleEndianBytes(UInt32(8))
            + littleEndianBytes(UInt64(1 << 40))
        #expect(refusal { $0.setting = list }?.contains("a list is truncated") == true)
        #expect(refusal { $0.offset = 1 << 62 }?.contains("past the end of the file") == true)
    }

    /// Comparing such texts takes time that grows with the square of their length.
    @Test func namesThatTakeLongToCompare() {
        let marks = String(repeating: "\u{315}\u{300}", count: 16)
        #expect(refusal { $0.name = "a" + marks } != nil)
        #expect(refusal { $0.key = "a" + marks } != nil)
        #expect(refusal { $0.name = "a\u{315}\u{300}" } == nil)
    }
}
