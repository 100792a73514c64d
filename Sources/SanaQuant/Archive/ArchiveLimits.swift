import SanaModel

/// Bounds that an archive must keep, whoever wrote it.
enum ArchiveLimits {
    /// Most frames a seek table may list.
    static let frameCount = 1 << 20
    /// Most bytes a frame may unpack to, the header's aside.
    static let frameByteCount = 64 << 20
    /// Most bytes the header's frame may unpack to.
    static let headerFrameByteCount =
        SafetensorsHeader.maximumByteCount + SafetensorsHeader.lengthByteCount
    /// Longest manifest.
    static let manifestByteCount = 100_000_000
    /// Most bytes an archive may unpack to.
    static let contentByteCount = 256 << 30
    /// Most bytes that `stored` ones may unpack to: values of a network do not become ten times
    /// smaller, and a few bytes must not cost what a model does.
    static func frameByteCount(stored: Int) -> Int { 10 * stored + (8 << 20) }
    /// Most bytes of an archive that are held in memory at a time.
    static func residentByteCount(stored: Int) -> Int { 10 * stored + (64 << 20) }
    /// Most bytes of an archive that are decoded at all.
    static func contentByteCount(stored: Int) -> Int { 10 * stored + (1 << 30) }
    /// Pieces a writer may cut tensors into; the upper end keeps every window within 8 MiB.
    static let chunkByteCounts = 8...(8 << 20)
}
