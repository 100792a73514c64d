/// Moving values between latents `[B, C, H, W]` and tokens.
extension ForwardContext {
    /// Rows of patches `[B · h · w, C · p · p]`, each ordered channel, row, column like a
    /// convolution's kernel.
    func gatherPatches(
        _ latent: DenseTensor, patchSize: Int, _ grid: TokenGrid, into patches: Matrix
    ) {
        if records([latent.row], into: patches) { return }
        let (channels, height, width) = (latent.shape[1], latent.shape[2], latent.shape[3])
        workers.run(grid.batch * grid.height) { task, _ in
            let (image, y) = (task / grid.height, task % grid.height)
            for x in 0..<grid.width {
                var target = patches.row(task * grid.width + x)
                for channel in 0..<channels {
                    for dy in 0..<patchSize {
                        let line = (image * channels + channel) * height + y * patchSize + dy
                        let source = latent.values.pointer + line * width + x * patchSize
                        target.update(from: source, count: patchSize)
                        target += patchSize
                    }
                }
            }
        }
    }

    /// diffusers' unpatchify: tokens `[B · h · w, p · p · C]` → `[B, C, h · p, w · p]`.
    func scatterPatches(
        _ tokens: Matrix, patchSize: Int, _ grid: TokenGrid, into output: DenseTensor
    ) {
        if records([tokens], into: output.row) { return }
        let channels = output.shape[1]
        let (height, width) = (grid.height * patchSize, grid.width * patchSize)
        workers.run(grid.batch * grid.height) { task, _ in
            let (image, y) = (task / grid.height, task % grid.height)
            for x in 0..<grid.width {
                var source = tokens.row(task * grid.width + x)
                for dy in 0..<patchSize {
                    for dx in 0..<patchSize {
                        for channel in 0..<channels {
                            let line = (image * channels + channel) * height + y * patchSize + dy
                            output.values.pointer[line * width + x * patchSize + dx] =
                                source[channel]
                        }
                        source += channels
                    }
                }
            }
        }
    }

    /// Adds to each token the values of its column (first half of the channels) and row (second
    /// half).
    func addPositions(columns: Matrix, rows: Matrix, to tokens: Matrix) {
        if records([tokens, columns, rows], into: tokens) { return }
        let half = columns.columns
        workers.run(tokens.rows / columns.rows) { line, _ in
            for x in 0..<columns.rows {
                let token = tokens.row(line * columns.rows + x)
                Kernels.best.add(token, columns.row(x), half)
                Kernels.best.add(token + half, rows.row(line % rows.rows), half)
            }
        }
    }
}
