import SanaModel

/// The weights that converted models are compared with; opened when first needed.
package final class SourceModel {
    package let path: String
    /// Whether the user named it for this, so that models which do not say what they were made from
    /// are compared with it, too.
    package let isGiven: Bool
    private let open: () throws -> OpenedModel
    private var opened: OpenedModel?
    /// See `WeightsDigest`.
    private var digest: String?

    package init(path: String, isGiven: Bool, open: @escaping () throws -> OpenedModel) {
        (self.path, self.isGiven, self.open) = (path, isGiven, open)
    }

    /// Notes the digest that loading the same model computed.
    package func note(_ model: LoadedModel) {
        if model.label == path { digest = model.sourceDigest }
    }

    /// Compares `model` with the source where it was made from it.
    ///
    /// - Parameters:
    ///   - opened: the same model as a source of tensors.
    ///   - isPromised: whether the project says that convert makes it of this source.
    /// - Returns: `model` with the digest of its source and how it deviates from that.
    /// - Throws: `StaleArchive` for one that was made from other weights, errors of reading.
    package func compared(
        _ model: LoadedModel, _ opened: OpenedModel, isPromised: Bool, workers: WorkerPool
    ) throws -> LoadedModel {
        guard model.label != path, model.isConverted || (isGiven && model.isQuantized) else {
            return model
        }
        // What is wrong with the project's model is told where that is verified.
        guard let source = isGiven ? try self.source() : try? self.source() else { return model }
        let digest = try digest ?? source.sourceDigest(workers: workers)
        self.digest = digest
        guard !model.isConverted || model.sourceDigest == digest else {
            guard isPromised || isGiven else { return model }
            throw StaleArchive(
                path: model.label, source: path, made: model.sourceDigest, current: digest)
        }
        return model.converted(
            from: digest,
            deviating: try SourceComparison.run(
                opened.source, source: source.source, workers: workers))
    }

    private func source() throws -> OpenedModel {
        if let opened { return opened }
        let model = try open()
        opened = model
        return model
    }
}

/// An archive that was made from other weights than those its source has now.
package struct StaleArchive: DiagnosticError {
    package let path: String
    package let source: String
    /// Digest of the weights it was made from.
    package let made: String
    /// Digest of the source's weights.
    package let current: String

    package var category: DiagnosticCategory { .noInput }
    package var description: String {
        "\(path.printable): archive is stale: made from weights \(made.prefix(12)), "
            + "\(source.printable) now has \(current.prefix(12))"
    }
    package var remedy: String? { "run 'sana-tools convert --force'" }
    package var page: HelpPage? { .archivePromised }
}

/// An archive that the project promises and that is not there.
package struct AbsentArchive: DiagnosticError {
    package let path: String

    package var category: DiagnosticCategory { .noInput }
    package var description: String {
        "\(path.printable): archive does not exist, but \(ProjectFile.name) lists it"
    }
    package var remedy: String? { "run 'sana-tools convert', or remove its type from dtype:" }
    package var page: HelpPage? { .archivePromised }
}
