/// A module of the transformer as a forward of given sizes sees it.
public struct ModuleInfo: Sendable, Equatable {
    /// Module path in diffusers.
    public let path: String
    /// Class in diffusers.
    public let kind: String
    /// Operations of its matrix products and convolutions, a multiply-add counting two;
    /// element-wise passes count none.
    public let operations: Int
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
        ) -> Int {
            let operations = 2 * rows * input * output
            list.append(ModuleInfo(path: path, kind: kind, operations: operations))
            return operations
        }
        /// A module whose operations are its children's and `extra` of its own.
        func parent(_ path: String, _ kind: String, extra: Int = 0, _ children: () -> Int) -> Int {
            let index = list.count
            let operations = children() + extra
            list.insert(
                ModuleInfo(path: path, kind: kind, operations: operations), at: index
            )
            return operations
        }
        let dim = innerDim
        _ = parent("patch_embed", "PatchEmbed") {
            linear("patch_embed.proj", tokens, inChannels * patchSize * patchSize, dim, "Conv2d")
        }
        let embedderPath = guidanceEmbeds ? "time_embed" : "time_embed.emb"
        func embedder(_ path: String) -> Int {
            linear(path + ".linear_1", batch, Timesteps.channels, dim)
                + linear(path + ".linear_2", batch, dim, dim)
        }
        _ = parent(
            "time_embed",
            guidanceEmbeds ? "SanaCombinedTimestepGuidanceEmbeddings" : "AdaLayerNormSingle"
        ) {
            embedder(embedderPath + ".timestep_embedder")
                + (guidanceEmbeds ? embedder("time_embed.guidance_embedder") : 0)
                + linear("time_embed.linear", batch, dim, 6 * dim)
        }
        _ = parent("caption_projection", "PixArtAlphaTextProjection") {
            linear("caption_projection.linear_1", captions, captionChannels, dim)
                + linear("caption_projection.linear_2", captions, dim, dim)
        }
        list.append(ModuleInfo(path: "caption_norm", kind: "RMSNorm", operations: 0))
        for index in 0..<numLayers {
            let block = "transformer_blocks.\(index)"
            _ = parent(block, "SanaTransformerBlock") {
                let headProducts = 4 * tokens * dim * attentionHeadDim + 4 * tokens * dim
                let attn1 = parent(block + ".attn1", "Attention", extra: headProducts) {
                    ["to_q", "to_k", "to_v", "to_out.0"].reduce(0) {
                        $0 + linear(block + ".attn1." + $1, tokens, dim, dim)
                    }
                }
                let scores = 4 * tokens * captionTokens * crossInnerDim
                let attn2 = parent(block + ".attn2", "Attention", extra: scores) {
                    linear(block + ".attn2.to_q", tokens, dim, crossInnerDim)
                        + linear(block + ".attn2.to_k", captions, crossAttentionDim, crossInnerDim)
                        + linear(block + ".attn2.to_v", captions, crossAttentionDim, crossInnerDim)
                        + linear(block + ".attn2.to_out.0", tokens, crossInnerDim, dim)
                }
                let hidden = ffHiddenDim
                let ff = parent(block + ".ff", "GLUMBConv") {
                    linear(block + ".ff.conv_inverted", tokens, dim, 2 * hidden, "Conv2d")
                        + linear(block + ".ff.conv_depth", tokens, 9, 2 * hidden, "Conv2d")
                        + linear(block + ".ff.conv_point", tokens, hidden, dim, "Conv2d")
                }
                return attn1 + attn2 + ff
            }
        }
        list.append(
            ModuleInfo(path: "norm_out", kind: "SanaModulatedNorm", operations: 0))
        _ = linear("proj_out", tokens, dim, patchSize * patchSize * outChannels)
        return list
    }

    /// Module paths that every golden holds, in execution order: `REFERENCE`'s default set.
    public var defaultActivations: [String] {
        let blocks = (0..<numLayers).flatMap { index in
            ["attn1", "attn2", "ff"].map { "transformer_blocks.\(index).\($0)" }
                + ["transformer_blocks.\(index)"]
        }
        return [
            "patch_embed", "time_embed.0", "time_embed.1", "caption_projection", "caption_norm",
        ]
            + blocks + ["norm_out", "proj_out"]
    }
}

extension [ModuleInfo] {
    /// Operations of a whole forward: those of the modules that no other contains.
    public var totalOperations: Int {
        let blocks = "transformer_blocks."
        return filter {
            $0.path.hasPrefix(blocks)
                ? !$0.path.dropFirst(blocks.count).contains(".") : !$0.path.contains(".")
        }.reduce(0) { $0 + $1.operations }
    }
}
