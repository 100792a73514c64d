extension ZipFile {
    /// An entry whose bytes are not those that were stored.
    public struct Damage: Sendable, Equatable {
        public let entry: String
        /// What the directory says.
        public let stated: UInt32
        /// What the bytes have.
        public let found: UInt32
    }

    /// Whether sums were stored at all: torch leaves them 0 if asked not to compute them
    /// (`torch.serialization.set_crc32_options`).
    public var hasChecksums: Bool { entries.contains { $0.crc32 != 0 } }

    /// Compares the CRC-32 of every entry with the directory's; the file is read once, a stretch at
    /// a time.
    public func damages(using workers: WorkerPool) throws -> [Damage] {
        try workers.map(entries.count) { index -> Damage? in
            var sum = CRC32()
            entries[index].bytes.stream { sum.update($0) }
            let (stated, found) = (entries[index].crc32, sum.value)
            guard stated != found else { return nil }
            return Damage(entry: entries[index].name, stated: stated, found: found)
        }.compactMap(\.self)
    }
}
