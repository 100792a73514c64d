/// What the name of an adapter's tensor says: the module it is for, and which part of the change it
/// is.
///
/// Sources: peft (`lora_A.ADAPTER.weight`), diffusers (`lora_A.weight`, formerly
/// `processor.to_q_lora.down.weight` and `lora_linear_layer.down.weight`), kohya-ss
/// (`lora_down.weight`, dots of module names as underscores), ai-toolkit and ComfyUI
/// (`diffusion_model.`), LyCORIS (`hada_*`, `lokr_*`, `diff`).
struct LoraName {
    /// A part of what a weight gains.
    enum Part: String, CaseIterable {
        case down, up, alpha, magnitude
        case hada1a = "hada_w1_a"
        case hada1b = "hada_w1_b"
        case hada2a = "hada_w2_a"
        case hada2b = "hada_w2_b"
        case lokr1 = "lokr_w1"
        case lokr1a = "lokr_w1_a"
        case lokr1b = "lokr_w1_b"
        case lokr2 = "lokr_w2"
        case lokr2a = "lokr_w2_a"
        case lokr2b = "lokr_w2_b"
        case full = "diff"
    }

    /// What an adapter can be for.
    enum Component: Sendable {
        case transformer, textEncoder
        /// A text encoder that no pipeline of Sana's has.
        case other
    }

    /// Without what programs put in front.
    let module: String
    let part: Part
    let component: Component

    /// Ends of names, the longest first, with what they stand for. `*` is the name of an adapter,
    /// or nothing.
    private static let endings: [(String, Part)] = [
        (".lora_A*.weight", .down), (".lora_B*.weight", .up), (".lora_down.weight", .down),
        (".lora_up.weight", .up), (".lora.down.weight", .down), (".lora.up.weight", .up),
        (".lora_linear_layer.down.weight", .down), (".lora_linear_layer.up.weight", .up),
        (".lora_magnitude_vector*.weight", .magnitude), (".lora_magnitude_vector", .magnitude),
        (".dora_scale", .magnitude), (".alpha", .alpha),
    ]
    /// Before the module, any number of them, with the component that they say.
    private static let prefixes: [(String, Component?)] = [
        ("base_model.model.", nil), ("transformer.", nil), ("diffusion_model.", nil),
        ("model.", nil), ("lora_transformer_", nil), ("lora_unet_", nil), ("lycoris_", nil),
        ("text_encoder.", .textEncoder), ("lora_te_", .textEncoder), ("lora_te1_", .textEncoder),
        ("text_encoders.", .other), ("text_encoder_2.", .other), ("lora_te2_", .other),
        ("conditioner.", .other),
    ]

    /// `nil` for names that are no part of any adapter that can be added.
    init?(_ name: String) {
        guard let (found, part) = Self.split(name) else { return nil }
        var module = found
        var component = Component.transformer
        while let prefix = Self.prefixes.first(where: { module.hasPrefix($0.0) }) {
            module = String(module.dropFirst(prefix.0.count))
            component = prefix.1 ?? component
        }
        (self.module, self.part, self.component) = (module, part, component)
    }

    private static func split(_ name: String) -> (String, Part)? {
        for (ending, part) in endings {
            let pieces = ending.split(separator: "*", omittingEmptySubsequences: false)
            guard let last = pieces.last, name.hasSuffix(last) else { continue }
            guard pieces.count == 2 else { return (String(name.dropLast(ending.count)), part) }
            // The last mark: a module could be called like an adapter.
            let head = name.dropLast(last.count)
            guard let range = head.lastRange(of: pieces[0]),
                range.upperBound == head.endIndex || head[range.upperBound] == "."
            else { continue }
            return (String(head[..<range.lowerBound]), part)
        }
        // Old diffusers: M.processor.to_q_lora.down.weight.
        for (ending, part) in [("_lora.down.weight", Part.down), ("_lora.up.weight", .up)] {
            guard name.hasSuffix(ending), let range = name.lastRange(of: ".processor.") else {
                continue
            }
            let projection = name[range.upperBound...].dropLast(ending.count)
            return (
                name[..<range.lowerBound] + "."
                    + (projection == "to_out" ? "to_out.0" : projection),
                part
            )
        }
        guard let dot = name.lastIndex(of: "."),
            let part = Part(rawValue: String(name[name.index(after: dot)...])),
            ![.down, .up, .alpha, .magnitude].contains(part)
        else { return nil }
        return (String(name[..<dot]), part)
    }
}

extension StringProtocol {
    /// Where `pattern` stands last.
    fileprivate func lastRange(of pattern: some StringProtocol) -> Range<Index>? {
        var (found, start): (Range<Index>?, Index) = (nil, startIndex)
        while start < endIndex, let next = self[start...].firstIndex(of: ".") {
            if self[next...].hasPrefix(pattern) {
                found = next..<index(next, offsetBy: pattern.count)
            }
            start = index(after: next)
        }
        return found
    }
}
