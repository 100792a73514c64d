import SanaModel
import SanaQuant

/// Files and directories given as MODEL that belong to a model and are not one: goldens and LoRAs.
package enum WrongModelFile {
    /// - Throws: `BadDataError` that says what the file is and which option takes it. Whatever else
    ///   is wrong with it is left to whoever opens it.
    package static func refuse(_ path: String) throws {
        if path.isFolder {
            guard path.appendingPath(LoraAdapter.settingsName).pathExists,
                !path.appendingPath("config.json").pathExists
            else { return }
            throw lora(path)
        }
        guard path.hasSuffix(".safetensors") || OpenedFile.isArchive(path),
            let (source, metadata) = try? OpenedFile.open(path)
        else { return }
        if let (kind, flag) = GoldenFile.kinds[metadata["format"] ?? ""] {
            throw BadDataError(
                file: path, reason: "is \(kind), not a model",
                remedy: "give the model as MODEL and this file with 'verify MODEL \(flag) FILE'")
        }
        guard !source.tensors.isEmpty, source.tensors.allSatisfy(LoraAdapter.isPart) else { return }
        throw lora(path)
    }

    private static func lora(_ path: String) -> BadDataError {
        BadDataError(
            file: path, reason: "is a LoRA, not a model",
            remedy: "give the model as MODEL and add this with 'convert MODEL --lora FILE'")
    }
}
