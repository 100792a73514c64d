import ArgumentParser
import SanaModel
import SanaQuant
import SanaWorkbench

extension ConversionTarget: ExpressibleByArgument {}
extension Int8Scales: ExpressibleByArgument {}

/// `--container`
enum ContainerKind: String, ExpressibleByArgument, CaseIterable {
    case archive, safetensors, gguf
}

/// `--names`
enum NameStyle: String, ExpressibleByArgument, CaseIterable {
    case diffusers, original
}

/// `--other-components`
enum OtherComponents: String, ExpressibleByArgument, CaseIterable {
    case link, copy, skip

    var treatment: ComponentTreatment {
        switch self {
        case .link: .link
        case .copy: .copy
        case .skip: .skip
        }
    }
}

extension ComponentTreatment {
    /// The components that `--component` names.
    ///
    /// - Throws: `UsageError`.
    static func exceptions(_ arguments: [String]) throws -> [String: ComponentTreatment] {
        var exceptions: [String: ComponentTreatment] = [:]
        for text in arguments {
            let parts = text.split(separator: "=", maxSplits: 1).map(String.init)
            let treatment =
                parts.last.flatMap(OtherComponents.init(rawValue:))?.treatment
                ?? parts.last.flatMap(ConversionTarget.init(rawValue:)).map { .convert($0) }
            guard parts.count == 2, let treatment else {
                throw UsageError(
                    "--component \(text.printable) is not NAME=int8|fp16|bf16|fp32|link|copy|skip",
                    remedy: "for example --component vae=bf16")
            }
            exceptions[parts[0]] = treatment
        }
        return exceptions
    }
}
