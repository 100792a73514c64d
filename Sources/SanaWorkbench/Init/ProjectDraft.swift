import Foundation
import SanaModel

/// A first `sana-tools.yaml` for a model, with comments, and what to do next.
package struct ProjectDraft {
    /// MODEL as the file names it, relative to the file's directory.
    package let model: String
    /// Side of the model's own latent, where its configuration says.
    package let sampleSize: Int?
    /// Whether goldens are in `goldens/` already.
    package let hasGoldens: Bool

    package init(model: String, sampleSize: Int?, hasGoldens: Bool) {
        (self.model, self.sampleSize, self.hasGoldens) = (model, sampleSize, hasGoldens)
    }

    /// Name of the first golden, below the file's directory.
    package static let firstGolden = "goldens/first.safetensors"

    /// Pixels of an image of the model's own size.
    private var resolution: Int? {
        sampleSize.map { $0 * LatentSize.pixels }.flatMap { LatentSize.isSide($0) ? $0 : nil }
    }

    package var text: String {
        """
        # Settings for sana-tools in this directory, used if MODEL is not given.
        # Paths are relative to this file. Options on the command line take precedence.

        # A repository, component directory, .safetensors file, NVlabs .pth, .dduf, or org/name[@revision] in the Hugging Face cache.
        model: \(Self.quoted(model))

        # Types that 'convert' writes and 'verify' expects: fp16, bf16, fp32, int8, or a list of them.
        dtype: int8

        # Directory for the archives.
        output: archives

        # Goldens to verify against, recorded once for these weights with 'sana-tools capture'.
        references: goldens/*.safetensors

        # Maximum error of a layer: relative RMS for float weights, relative power for int8.
        tolerance: 1e-3

        # Every run is recorded here; 'sana-tools history' lists them.
        database: history.sqlite

        \(resolution.map { "# Image size in pixels for 'profile'.\nresolution: \($0)" }
            ?? "# Image size in pixels for 'profile'.\n# resolution: 1024")

        # Full sampling runs, recorded by 'sana-tools capture --trajectory'.
        # trajectories: samplings/*.safetensors

        # Per-layer tolerances, written by 'sana-tools verify --calibrate tolerances.json'.
        # tolerances: tolerances.json

        # Types of single tensors, REGEX=TYPE; the first that matches a whole name decides.
        # rules:
        #   - transformer_blocks\\.0\\..*=keep

        """
    }

    /// The command that records the first golden.
    package var capture: String {
        let side = min(sampleSize ?? 16, 16)
        return "sana-tools capture \(Self.shellQuoted(model)) --output \(Self.firstGolden) "
            + "--latent \(side)x\(side) --python python3"
    }

    /// A string as YAML takes for nothing else.
    private static func quoted(_ text: String) -> String {
        text.wholeMatch(of: /[A-Za-z.\/][A-Za-z0-9._\/@-]*/) != nil && !reserved.contains(text)
            ? text : JSONValue.string(text).text()
    }

    private static let reserved: Set = [".", "true", "false", "null", "yes", "no", "on", "off"]

    private static func shellQuoted(_ text: String) -> String {
        text.wholeMatch(of: /[A-Za-z0-9._\/@-]+/) != nil
            ? text : "'" + text.replacing("'", with: "'\\''") + "'"
    }
}
