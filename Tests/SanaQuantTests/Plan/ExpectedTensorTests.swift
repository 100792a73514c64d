import SanaModel
import SanaQuant
import Testing

/// Roles that layers declare while they bind their tensors.
struct ExpectedTensorTests {
    @Test("int8 takes nine tenths of a released transformer")
    func quantizedShare() throws {
        let tensors = SanaConfig().expectedTensors
        let all = tensors.all.reduce(0) { $0 + $1.shape.reduce(1, *) }
        let quantized = tensors.all.filter { $0.role.reasonToKeep == nil }
            .reduce(0) { $0 + $1.shape.reduce(1, *) }
        #expect(Double(quantized) > 0.9 * Double(all))
    }

    @Test("every tensor has a role and a part", arguments: SanaClass.all)
    func complete(_ modelClass: SanaClass) throws {
        var config = SanaConfig()
        (config.modelClass, config.numLayers) = (modelClass, 2)
        let tensors = config.expectedTensors
        #expect(tensors.all.count > 40)
        for tensor in tensors.all {
            #expect(tensor.role != .other, "\(tensor.name)")
            #expect(tensor.part != .other, "\(tensor.name)")
        }
    }

    @Test("a tensor with another kernel, or another number of dimensions, has no role")
    func otherShapes() throws {
        let name = "transformer_blocks.0.ff.conv_point.weight"
        let tensors = SanaConfig().expectedTensors
        func role(_ shape: [Int]) throws -> TensorRole {
            tensors.role(of: try #require(TensorInfo(name: name, dtype: .bf16, shape: shape)))
        }
        #expect(try role([8, 20, 1, 1]) == .pointwiseConvolution)
        #expect(try role([8, 20, 3, 3]) == .other)
        #expect(try role([8, 20]) == .other)
    }

    @Test("the scale of an int8 weight belongs to the part of its weight")
    func scales() throws {
        let name = "transformer_blocks.0.attn1.to_q.scale"
        let scale = try #require(SanaConfig().expectedTensors[name])
        #expect(scale.role == .scale)
        #expect(scale.part.name == "attn1")
        #expect(scale.shape == [2240, 1])
    }
}
