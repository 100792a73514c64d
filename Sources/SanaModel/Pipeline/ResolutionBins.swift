/// diffusers' `use_resolution_binning`: a picture is computed at the nearest of the sizes that a
/// model was trained on, then brought to the size that was asked for.
public struct ResolutionBins: Sendable {
    /// Ratio of height to width, rounded as diffusers' tables have it, and the size that stands for
    /// it, of models of 4096 pixels; those of other models are whole fractions of it.
    private static let sizes: [(ratio: Double, height: Int, width: Int)] = [
        (0.25, 2048, 8192), (0.26, 2048, 7936), (0.27, 2048, 7680), (0.28, 2048, 7424),
        (0.32, 2304, 7168), (0.33, 2304, 6912), (0.35, 2304, 6656), (0.4, 2560, 6400),
        (0.42, 2560, 6144), (0.48, 2816, 5888), (0.5, 2816, 5632), (0.52, 2816, 5376),
        (0.57, 3072, 5376), (0.6, 3072, 5120), (0.68, 3328, 4864), (0.72, 3328, 4608),
        (0.78, 3584, 4608), (0.82, 3584, 4352), (0.88, 3840, 4352), (0.94, 3840, 4096),
        (1.0, 4096, 4096), (1.07, 4096, 3840), (1.13, 4352, 3840), (1.21, 4352, 3584),
        (1.29, 4608, 3584), (1.38, 4608, 3328), (1.46, 4864, 3328), (1.67, 5120, 3072),
        (1.75, 5376, 3072), (2.0, 5632, 2816), (2.09, 5888, 2816), (2.4, 6144, 2560),
        (2.5, 6400, 2560), (2.89, 6656, 2304), (3.0, 6912, 2304), (3.11, 7168, 2304),
        (3.62, 7424, 2048), (3.75, 7680, 2048), (3.88, 7936, 2048), (4.0, 8192, 2048),
    ]
    /// Ratios that the tables of models of 512 and 1024 pixels lack.
    private static let largeOnly: Set<Double> = [0.26, 0.27, 2.89, 3.11, 3.62, 3.75, 3.88]

    private let fraction: Int

    /// The sizes of a model; `nil` for one that diffusers has none of.
    ///
    /// - Parameters:
    ///   - sampleSize: the transformer's `sample_size`.
    ///   - pipeline: SanaSprintPipeline has those of 1024 pixels alone.
    public init?(sampleSize: Int, pipeline: PipelineClass) {
        guard pipeline != .sprint || sampleSize == 32, [16, 32, 64, 128].contains(sampleSize)
        else { return nil }
        fraction = 128 / sampleSize
    }

    /// diffusers' `classify_height_width_bin`: the size whose ratio is nearest.
    public func nearest(height: Int, width: Int) -> (height: Int, width: Int) {
        let ratio = Double(height) / Double(width)
        var best = Self.sizes[20]
        var distance = Double.infinity
        for size in Self.sizes where fraction < 4 || !Self.largeOnly.contains(size.ratio) {
            let away = abs(size.ratio - ratio)
            if away < distance { (best, distance) = (size, away) }
        }
        return (best.height / fraction, best.width / fraction)
    }
}
