import SanaTestSupport
import Testing

@testable import SanaModel

/// Sizes and pictures against diffusers and Pillow.
struct PictureTests {
    private let file: ArithmeticGolden

    init() throws { file = try ArithmeticGolden() }

    private func sizes(_ prefix: String) -> [(name: String, height: Int, width: Int)] {
        file.names.filter { $0.hasPrefix(prefix) && !$0.hasSuffix("input") }.map { name in
            let parts = name.dropFirst(prefix.count).split(separator: "x").compactMap { Int($0) }
            return (name, parts[0], parts[1])
        }
    }

    @Test("the nearest size is the one that diffusers takes")
    func bins() throws {
        let rows = try file.rows("bins")
        #expect(rows.count > 500)
        for row in rows {
            let bins = try #require(ResolutionBins(sampleSize: row[0], pipeline: .sana))
            let size = bins.nearest(height: row[1], width: row[2])
            #expect([size.height, size.width] == [row[3], row[4]], "\(row)")
        }
        #expect(ResolutionBins(sampleSize: 8, pipeline: .sana) == nil)
        #expect(ResolutionBins(sampleSize: 16, pipeline: .sprint) == nil)
        #expect(ResolutionBins(sampleSize: 32, pipeline: .sprint) != nil)
    }

    @Test("a decoded picture is scaled and cut as diffusers does it")
    func resize() throws {
        let input = try file.floats("resize.input")
        let sizes = sizes("resize.")
        #expect(sizes.count == 6)
        for size in sizes {
            let golden = try file.floats(size.name)
            let ours = input.resizedAndCropped(height: size.height, width: size.width)
            try #require(ours.shape == golden.shape, "\(size)")
            for index in 0..<golden.count {
                #expect(abs(ours.values.pointer[index] - golden.values.pointer[index]) < 6e-6)
            }
        }
    }

    @Test("levels are those of diffusers")
    func levels() throws {
        let input = try file.floats("resize.input")
        let golden = try file.picture("levels")
        #expect(Picture(input, index: 0) == golden)
    }

    @Test("what is no number is black")
    func notANumber() {
        let tensor = DenseTensor(shape: [1, 3, 1, 1])
        tensor.values.pointer[0] = .nan
        tensor.values.pointer[1] = .infinity
        tensor.values.pointer[2] = -.infinity
        #expect(Picture(tensor, index: 0).pixels == [0, 255, 0])
    }

    @Test("Lanczos resampling is Pillow's to the bit")
    func lanczos() throws {
        let input = try file.picture("lanczos.input")
        let sizes = sizes("lanczos.")
        #expect(sizes.count == 6)
        for size in sizes {
            let golden = try file.picture(size.name)
            #expect(input.resized(width: size.width, height: size.height) == golden, "\(size)")
        }
    }
}
