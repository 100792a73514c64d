import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

struct PNGFileTests {
    private let folder: TemporaryFolder

    init() throws { folder = try TemporaryFolder() }

    private func read(_ image: PNGImage) throws -> Picture {
        try PNGFile.read(folder.write("a.png", image.file()))
    }

    @Test("colours come out as they are stored")
    func colours() throws {
        var image = PNGImage(width: 7, height: 3, channels: 3)
        image.pixels = (0..<63).map { UInt8($0 * 4) }
        let picture = try read(image)
        #expect(picture.width == 7)
        #expect(picture.height == 3)
        #expect(picture.pixels == image.pixels)
    }

    /// Nine million white pixels take nine kilobytes.
    @Test("few bytes do not become gigabytes of pixels")
    func fewBytesOfManyPixels() throws {
        let picture = try read(PNGImage(width: 2048, height: 2048, channels: 1))
        #expect(picture.pixels.count == 3 * 2048 * 2048)
        let error = #expect(throws: BadDataError.self) {
            try read(PNGImage(width: 4096, height: 4608, channels: 1))
        }
        #expect(error?.description.contains("has 4096 × 4608 pixels; at most") == true)
    }
}
