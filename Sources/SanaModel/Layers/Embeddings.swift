import Libc

/// diffusers' `Timesteps(256, flip_sin_to_cos=True, downscale_freq_shift=0)`: `[B]` → `[B, 256]`,
/// cosines first.
struct Timesteps {
    static let channels = 256
    let path: String

    /// e^(−ln 10000 · i / 128) in fp32, as torch 2.13 computes it.
    static let frequencies: [Float] = (0..<channels / 2).map { index in
        let exponent = -Float(9.210340371976184) * Float(index) / Float(channels / 2)
        let frequency = Float(exp(Double(exponent)))
        // torch's vectorised expf is one unit in the last place above the correctly rounded value
        // at these two; at t = 1000 that unit is 3e-5 of an angle (torch 2.13, measured).
        return index == 12 || index == 106 ? frequency.nextUp : frequency
    }

    func callAsFunction(_ values: DenseTensor, into output: Matrix, _ context: ForwardContext) {
        context.module(path, "Timesteps") {
            context.sinusoids(of: values, frequencies: Self.frequencies, into: output)
            return [Activation(output, .vectors)]
        }
    }
}

/// diffusers' `TimestepEmbedding`: Linear, SiLU, Linear; `[B, 256]` → `[B, D]`.
struct TimestepEmbedding {
    let path: String
    let linear1: Linear
    let linear2: Linear
    private let actPath: String

    init(_ scope: WeightScope, dim: Int) throws {
        path = scope.path
        actPath = scope["act"].path
        linear1 = try Linear(scope["linear_1"], in: Timesteps.channels, out: dim)
        linear2 = try Linear(scope["linear_2"], in: dim, out: dim)
    }

    func callAsFunction(_ x: Matrix, into y: Matrix, _ context: ForwardContext) {
        context.module(path, "TimestepEmbedding") {
            let hidden = context.matrix(.hiddenTimestep, rows: y.rows, columns: y.columns)
            linear1(x, into: hidden, .vectors, context)
            context.module(actPath, "SiLU") {
                context.silu(hidden)
                return [Activation(hidden, .vectors)]
            }
            linear2(hidden, into: y, .vectors, context)
            return [Activation(y, .vectors)]
        }
    }
}

/// `time_embed`: diffusers' `AdaLayerNormSingle`, or with guidance
/// `SanaCombinedTimestepGuidanceEmbeddings`.
///
/// Gives the modulation of all blocks `[B, 6 · D]` and the embedded timestep `[B, D]`.
struct TimeEmbed {
    let path: String
    /// Class in diffusers.
    private let kind: String
    private let embPath: String?
    private let siluPath: String
    private let timeProj: Timesteps
    let timestepEmbedder: TimestepEmbedding
    private let guidanceProj: Timesteps?
    let guidanceEmbedder: TimestepEmbedding?
    let linear: Linear

    init(_ scope: WeightScope, dim: Int, guidanceEmbeds: Bool) throws {
        path = scope.path
        siluPath = scope["silu"].path
        kind = guidanceEmbeds ? "SanaCombinedTimestepGuidanceEmbeddings" : "AdaLayerNormSingle"
        // Without guidance, diffusers nests the embedder one module deeper.
        let embedder = guidanceEmbeds ? scope : scope["emb"]
        embPath = guidanceEmbeds ? nil : embedder.path
        timeProj = Timesteps(path: embedder["time_proj"].path)
        timestepEmbedder = try TimestepEmbedding(embedder["timestep_embedder"], dim: dim)
        if guidanceEmbeds {
            guidanceProj = Timesteps(path: scope["guidance_condition_proj"].path)
            guidanceEmbedder = try TimestepEmbedding(scope["guidance_embedder"], dim: dim)
        } else {
            (guidanceProj, guidanceEmbedder) = (nil, nil)
        }
        linear = try Linear(scope["linear"], in: dim, out: 6 * dim)
    }

    func callAsFunction(
        timestep: DenseTensor, guidance: DenseTensor?, modulation: Matrix, embedded: Matrix,
        _ context: ForwardContext
    ) {
        context.module(path, kind) {
            let sinusoid = context.matrix(
                .sinusoid, rows: embedded.rows, columns: Timesteps.channels)
            func embedTimestep() {
                timeProj(timestep, into: sinusoid, context)
                timestepEmbedder(sinusoid, into: embedded, context)
            }
            if let embPath {
                context.module(embPath, "PixArtAlphaCombinedTimestepSizeEmbeddings") {
                    embedTimestep()
                    return [Activation(embedded, .vectors)]
                }
            } else {
                embedTimestep()
            }
            if let guidanceProj, let guidanceEmbedder, let guidance {
                guidanceProj(guidance, into: sinusoid, context)
                let embeddedGuidance = context.matrix(
                    .guidance, rows: embedded.rows, columns: embedded.columns)
                guidanceEmbedder(sinusoid, into: embeddedGuidance, context)
                context.add(embeddedGuidance, to: embedded)
            }
            let activated = context.matrix(
                .activated, rows: embedded.rows, columns: embedded.columns)
            context.module(siluPath, "SiLU") {
                context.copy(embedded, to: activated)
                context.silu(activated)
                return [Activation(activated, .vectors)]
            }
            linear(activated, into: modulation, .vectors, context)
            return [Activation(modulation, .vectors), Activation(embedded, .vectors)]
        }
    }
}

/// diffusers' `PixArtAlphaTextProjection`: Linear, GELU (tanh), Linear; `[B · L, captions]` → `[B ·
/// L, D]`.
struct CaptionProjection {
    let path: String
    private let actPath: String
    let linear1: Linear
    let linear2: Linear

    init(_ scope: WeightScope, in columns: Int, dim: Int) throws {
        path = scope.path
        actPath = scope["act_1"].path
        linear1 = try Linear(scope["linear_1"], in: columns, out: dim)
        linear2 = try Linear(scope["linear_2"], in: dim, out: dim)
    }

    func callAsFunction(_ x: Matrix, into y: Matrix, batch: Int, _ context: ForwardContext) {
        context.module(path, "PixArtAlphaTextProjection") {
            let layout = Activation.Layout.tokens(batch: batch)
            let hidden = context.matrix(.hiddenCaptions, rows: y.rows, columns: y.columns)
            linear1(x, into: hidden, layout, context)
            context.module(actPath, "GELU") {
                context.geluTanh(hidden)
                return [Activation(hidden, layout)]
            }
            linear2(hidden, into: y, layout, context)
            return [Activation(y, layout)]
        }
    }
}

extension Scratch {
    fileprivate static let hiddenTimestep = Scratch()
    fileprivate static let sinusoid = Scratch()
    fileprivate static let guidance = Scratch()
    fileprivate static let activated = Scratch()
    fileprivate static let hiddenCaptions = Scratch()
}
