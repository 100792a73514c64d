import SanaModel

/// What versions of transformers make of a soft cap on attention scores.
///
/// Read from their releases: 4.45 to 4.47 and those from 5.22 on attend eagerly by default. The
/// others take PyTorch's SDPA, which gets the cap among arguments that it passes over.
enum SoftCapLint {
    /// What to know of a text encoder with such a `config.json`; `nil` where its version applies
    /// the cap, or where it tells none.
    static func caution(_ config: JSONValue) -> String? {
        guard let cap = config["attn_logit_softcapping"]?.double,
            let version = config["transformers_version"]?.string, drops(version)
        else { return nil }
        return
            "attn_logit_softcapping is \(cap), but transformers \(version), which saved it, ignores the "
            + "cap by default, as do versions before 4.45 and from 4.48 to 5.21; others apply it"
    }

    private static func drops(_ version: String) -> Bool {
        let parts = version.split(separator: ".").prefix(2).map { Int($0) }
        guard parts.count == 2, let major = parts[0], let minor = parts[1] else { return false }
        return switch major {
        case 4: minor < 45 || minor >= 48
        case 5: minor < 22
        default: false
        }
    }
}
