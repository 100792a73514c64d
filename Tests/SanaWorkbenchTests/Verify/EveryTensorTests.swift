import Foundation
import SanaModel
import SanaTestSupport
import Testing

@testable import SanaWorkbench

/// Every tensor of a trained model and of a ControlNet, changed one at a time: the module that owns
/// it is the cause.
@Suite(.tags(.slow)) struct EveryTensorTests {
    /// The captured module nearest around a tensor.
    private func owner(_ tensor: String, _ captured: Set<String>) -> [String] {
        var path = tensor[...]
        while let dot = path.lastIndex(of: ".") {
            path = path[..<dot]
            if captured.contains(String(path)) { return [String(path)] }
            if captured.contains(path + ".0") { return [path + ".0", path + ".1"] }
        }
        // The model's own table belongs to what it modulates.
        return ["norm_out"]
    }

    /// Paths that may be blamed for a tensor.
    private func expected(
        _ tensor: String, _ captured: Set<String>, isolated: Bool
    ) -> [String] {
        let owners = owner(tensor, captured)
        // A key bias moves all of a query's scores alike, and softmax forgets it: nothing fails
        // unless the keys themselves are captured.
        if tensor.hasSuffix("attn2.to_k.bias"), owners[0].hasSuffix("attn2") { return ["none"] }
        // Without own errors, the table of a ControlNet's block may show first where its first part
        // begins.
        if tensor.hasSuffix("scale_shift_table"), !isolated, tensor.contains("blocks") {
            return [owners[0], owners[0] + ".attn1", owners[0] + ".attn1.to_q"]
        }
        return owners
    }

    @Test(arguments: ["sana-digits-b2-t999", "sana-digits-b1-t500-full"], [true, false])
    func changedTensorIsBlamedOnItsModule(_ name: String, _ isolated: Bool) throws {
        try check("sana-digits/transformer", "goldens/\(name)", isolated)
    }

    @Test(arguments: [true, false])
    func changedTensorOfAControlNetIsBlamedOnItsModule(_ isolated: Bool) throws {
        try check("controlnet/repository/controlnet", "controlnet/golden-controlnet", isolated)
    }

    private func check(_ folder: String, _ golden: String, _ isolated: Bool) throws {
        let golden = try Golden(path: Fixtures.path + "/\(golden).safetensors")
        let captured = Set(golden.activationNames)
        let source = try OpenedModel.open(Fixtures.path + "/" + folder).source
        let workers = WorkerPool(threadCount: 2)
        let model = try DoctoredCheckpoint(folder)
        for tensor in source.tensors {
            let bytes = try model.bytes(tensor.name)
            try model.patch(tensor.name, with: bytes.mappingBF16 { $0 * 1.5 })
            var options = Verification.Options()
            options.tolerances.base = 1e-4
            (options.allowStale, options.isolated) = (true, isolated)
            let result = try Verification.run(
                OpenedModel.open(model.path).load(workers: workers), golden, options,
                workers: workers)
            try model.patch(tensor.name, with: bytes)
            let cause = result.attribution?.cause ?? "none"
            let expected = expected(tensor.name, captured, isolated: isolated)
            #expect(expected.contains(cause), "\(tensor.name) blamed on \(cause)")
        }
    }
}
