/// A module of the network as a forward of given sizes sees it.
public struct ModuleInfo: Sendable, Equatable {
    /// Module path in diffusers.
    public let path: String
    /// Class in diffusers.
    public let kind: String
    /// Operations of its matrix products and convolutions, a multiply-add counting two;
    /// element-wise passes count none.
    public let operations: Int
    /// Bytes of fp32 activations that its products and convolutions must read and write, each once;
    /// element-wise passes count none, weights neither.
    public let activationBytes: Int
}

extension SanaConfig {
    /// Every module that REFERENCE's default set names and every one with arithmetic of its own,
    /// parents before children.
    ///
    /// - Parameters:
    ///   - height: rows of the latent.
    ///   - width: columns of the latent.
    ///   - captionTokens: length of the captions.
    public func modules(batch: Int, height: Int, width: Int, captionTokens: Int) -> [ModuleInfo] {
        let tokens = batch * (height / patchSize) * (width / patchSize)
        let captions = batch * captionTokens
        var list: [ModuleInfo] = []
        /// A linear map applied to `rows` rows.
        func linear(
            _ path: String, _ rows: Int, _ input: Int, _ output: Int, _ kind: String = "Linear"
        ) -> Work {
            add(path, kind, Work(2 * rows * input * output, floats: rows * (input + output)))
        }
        func add(_ path: String, _ kind: String, _ work: Work) -> Work {
            list.append(ModuleInfo(path, kind, work))
            return work
        }
        /// A module whose operations are its children's and `extra` of its own.
        func parent(
            _ path: String, _ kind: String, extra: Work = Work(0, floats: 0), _ children: () -> Work
        ) -> Work {
            let index = list.count
            let work = children() + extra
            list.insert(ModuleInfo(path, kind, work), at: index)
            return work
        }
        let dim = innerDim
        // A ControlNet embeds its condition with the same weights.
        let embedded = isControlNet ? 2 * tokens : tokens
        _ = parent("patch_embed", "PatchEmbed") {
            linear("patch_embed.proj", embedded, inChannels * patchSize * patchSize, dim, "Conv2d")
        }
        if isControlNet { _ = linear("input_block", tokens, dim, dim) }
        let embedderPath = guidanceEmbeds ? "time_embed" : "time_embed.emb"
        func embedder(_ path: String) -> Work {
            linear(path + ".linear_1", batch, Timesteps.channels, dim)
                + linear(path + ".linear_2", batch, dim, dim)
        }
        _ = parent(
            "time_embed",
            guidanceEmbeds ? "SanaCombinedTimestepGuidanceEmbeddings" : "AdaLayerNormSingle"
        ) {
            embedder(embedderPath + ".timestep_embedder")
                + (guidanceEmbeds ? embedder("time_embed.guidance_embedder") : Work(0, floats: 0))
                + linear("time_embed.linear", batch, dim, 6 * dim)
        }
        _ = parent("caption_projection", "PixArtAlphaTextProjection") {
            linear("caption_projection.linear_1", captions, captionChannels, dim)
                + linear("caption_projection.linear_2", captions, dim, dim)
        }
        _ = add("caption_norm", "RMSNorm", Work(0, floats: 2 * captions * dim))
        for index in 0..<numLayers {
            let block = "transformer_blocks.\(index)"
            _ = parent(block, "SanaTransformerBlock") {
                let headProducts = Work(
                    4 * tokens * dim * attentionHeadDim + 4 * tokens * dim,
                    floats: 4 * tokens * dim)
                let attn1 = parent(block + ".attn1", "Attention", extra: headProducts) {
                    ["to_q", "to_k", "to_v", "to_out.0"].reduce(Work(0, floats: 0)) {
                        $0 + linear(block + ".attn1." + $1, tokens, dim, dim)
                    }
                }
                let scores = Work(
                    4 * tokens * captionTokens * crossInnerDim,
                    floats: 2 * (tokens + captions) * crossInnerDim)
                let attn2 = parent(block + ".attn2", "Attention", extra: scores) {
                    linear(block + ".attn2.to_q", tokens, dim, crossInnerDim)
                        + linear(block + ".attn2.to_k", captions, crossAttentionDim, crossInnerDim)
                        + linear(block + ".attn2.to_v", captions, crossAttentionDim, crossInnerDim)
                        + linear(block + ".attn2.to_out.0", tokens, crossInnerDim, dim)
                }
                let hidden = ffHiddenDim
                let ff = parent(block + ".ff", "GLUMBConv") {
                    linear(block + ".ff.conv_inverted", tokens, dim, 2 * hidden, "Conv2d")
                        + add(
                            block + ".ff.conv_depth", "Conv2d",
                            Work(2 * tokens * 9 * 2 * hidden, floats: 4 * tokens * hidden))
                        + linear(block + ".ff.conv_point", tokens, hidden, dim, "Conv2d")
                }
                return attn1 + attn2 + ff
            }
        }
        if isControlNet {
            for index in 0..<numLayers {
                _ = linear("controlnet_blocks.\(index)", tokens, dim, dim)
            }
            return list
        }
        _ = add("norm_out", "SanaModulatedNorm", Work(0, floats: 2 * tokens * dim))
        _ = linear("proj_out", tokens, dim, patchSize * patchSize * outChannels)
        return list
    }

    /// Module paths that every golden holds, in execution order: `REFERENCE`'s default set.
    public var defaultActivations: [String] {
        let blocks = (0..<numLayers).flatMap { index in
            ["attn1", "attn2", "ff"].map { "transformer_blocks.\(index).\($0)" }
                + ["transformer_blocks.\(index)"]
        }
        let stem =
            (isControlNet ? ["patch_embed.0", "patch_embed.1", "input_block"] : ["patch_embed"])
            + ["time_embed.0", "time_embed.1", "caption_projection", "caption_norm"]
        let head =
            isControlNet
            ? (0..<numLayers).map { "controlnet_blocks.\($0)" } : ["norm_out", "proj_out"]
        return stem + blocks + head
    }

    /// Names of what a forward puts out, in order.
    public var outputs: [String] {
        isControlNet ? (0..<numLayers).map { "controlnet_block_samples.\($0)" } : ["sample"]
    }

    /// Modules that put out several activations, called `PATH.0`, `PATH.1` …: those that return a
    /// tuple, and of a ControlNet those that run for the latent and then for the condition.
    public var modulesWithSeveralOutputs: Set<String> {
        isControlNet ? ["time_embed", "patch_embed", "patch_embed.proj"] : ["time_embed"]
    }
}

extension SanaConfig {
    /// Shapes of `defaultActivations` in diffusers' layout, in their order.
    public func defaultShapes(
        batch: Int, height: Int, width: Int, captionTokens: Int
    ) -> [(path: String, shape: [Int])] {
        let (rows, columns) = (height / patchSize, width / patchSize)
        return defaultActivations.map { path in
            switch path {
            case "time_embed.0": (path, [batch, 6 * innerDim])
            case "time_embed.1": (path, [batch, innerDim])
            case "caption_projection", "caption_norm": (path, [batch, captionTokens, innerDim])
            case "proj_out":
                (path, [batch, rows * columns, patchSize * patchSize * outChannels])
            case let path where path.hasSuffix(".ff"): (path, [batch, innerDim, rows, columns])
            default: (path, [batch, rows * columns, innerDim])
            }
        }
    }
}

extension [ModuleInfo] {
    /// Operations of a whole forward: those of the modules that no other contains.
    public var totalOperations: Int {
        filter(\.isOutermost).reduce(0) { $0 + $1.operations }
    }
}

extension ModuleInfo {
    /// Whether no other module contains this one.
    public var isOutermost: Bool {
        [.outer, .block].contains(ModuleLevel(path: path))
    }
}

/// What a module computes and moves.
private struct Work {
    let operations: Int
    let floats: Int

    init(_ operations: Int, floats: Int) { (self.operations, self.floats) = (operations, floats) }

    static func + (left: Work, right: Work) -> Work {
        Work(left.operations + right.operations, floats: left.floats + right.floats)
    }
}

extension ModuleInfo {
    fileprivate init(_ path: String, _ kind: String, _ work: Work) {
        self.init(
            path: path, kind: kind, operations: work.operations, activationBytes: 4 * work.floats)
    }
}
