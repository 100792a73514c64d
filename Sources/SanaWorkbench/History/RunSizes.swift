import GRDB
import SanaModel

/// Sizes of a forward by the names that its network gives them. The history keeps them as they are:
/// it has no column for any.
package struct RunSizes: Sendable, Hashable, Codable {
    /// Sizes above 0.
    package let values: NetworkSizes

    package init(_ sizes: NetworkSizes) { values = sizes.filter { $0.value > 0 } }

    /// Of a transformer's forward.
    package init(batch: Int, height: Int, width: Int, captionTokens: Int) {
        self.init([
            SizeRequest.batch: batch, "height": height, "width": width,
            "caption_tokens": captionTokens,
        ])
    }

    /// Shapes that a forward refused may have too few dimensions.
    package init(_ inputs: SanaSampler.Inputs) {
        func extent(_ shape: [Int], _ index: Int) -> Int {
            index < shape.count ? shape[index] : 0
        }
        let latent = inputs.latents.shape
        self.init(
            batch: extent(latent, 0), height: extent(latent, 2), width: extent(latent, 3),
            captionTokens: extent(inputs.promptEmbeds.shape, 1))
    }

    /// A size, 0 where the network does not have it.
    package subscript(name: String) -> Int { values[name] ?? 0 }

    package var batch: Int { self[SizeRequest.batch] }
    /// Rows of the latent or picture.
    package var height: Int { self["height"] }
    /// Columns of the latent or picture.
    package var width: Int { self["width"] }

    /// Tokens of the prompt, whichever network reads them.
    package var tokens: Int { values["caption_tokens"] ?? self["tokens"] }

    /// Rows and columns of the latent or picture: `32×32`; `nil` for a network that takes none.
    package var area: String? { height > 0 ? "\(height)×\(width)" : nil }

    /// As a report says it: `32×32, batch 1, 300 tokens`.
    package var text: String {
        let known = [SizeRequest.batch, "height", "width"]
        let others = values.filter { !known.contains($0.key) }.sorted { $0.key < $1.key }
        return
            ([area, "batch \(batch)"].compactMap { $0 }
            + others.map { "\($0.value) \($0.key.split(separator: "_").last ?? "")" })
            .joined(separator: ", ")
    }

    /// `{"batch":1,"height":32,"width":32}`, by name.
    package var json: JSONValue {
        .object(values.sorted { $0.key < $1.key }.map { .init($0.key, .int($0.value)) })
    }
}

extension RunSizes: DatabaseValueConvertible {
    package var databaseValue: DatabaseValue { json.text().databaseValue }

    /// - Returns: `nil` for what is not the text that `databaseValue` writes.
    package static func fromDatabaseValue(_ value: DatabaseValue) -> RunSizes? {
        guard let text = String.fromDatabaseValue(value),
            let members = (try? JSONScanner.parse(text))?.members
        else { return nil }
        var values: NetworkSizes = [:]
        for member in members { values[member.key] = member.value.int }
        let sizes = RunSizes(values)
        return sizes.json.text() == text ? sizes : nil
    }
}
