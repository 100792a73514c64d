import ArgumentParser
import SanaModel
import SanaWorkbench

/// How a forward computes.
struct ArithmeticOptions: ParsableArguments {
    @Option(
        help: """
            fp32; fp16-clip for checkpoints that need attention outputs clipped to ±65504; or \
            no-soft-cap for text encoders whose attention scores are not capped, as in transformers \
            before 4.45 and from 4.48 to 5.21. If a golden records that its scores were not capped, \
            fp32 follows it.
            """)
    var numerics = Numerics.fp32

    @Option(
        help: """
            Type of matmuls. With fp32, a check judges the weights alone. bf16 rounds weights and \
            activations to bf16; int8 rounds the activations of int8 weights to int8; int8-bf16 does \
            the latter where weights are int8, and the former elsewhere. All are faster, but their \
            error alone can exceed a tolerance of 1e-3.
            """)
    var compute = ComputeMode.standard
}
