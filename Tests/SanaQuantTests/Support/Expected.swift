import SanaModel

/// The tensors of a transformer with every switch on.
let expected: ExpectedTensors = {
    var config = SanaConfig()
    (config.qkNorm, config.guidanceEmbeds, config.attentionBias) = (true, true, true)
    config.normElementwiseAffine = true
    return config.expectedTensors
}()
