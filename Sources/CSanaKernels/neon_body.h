// NEON with int8 products of SK_GROUP columns at a time; kernels_neondot.c and kernels_neoni8mm.c
// include it.
//
// bf16 products use fmla: bfdot rounds differently, and bfmlalb with bfmlalt give the right bits
// but are no faster.

#define SK_VECTOR 4
#define SK_TILE_TOKENS 12
#define SK_FUSED 1

// A token is its values padded with zeros to whole groups, a panel [rows /
// 16][groups][16][SK_GROUP].
enum { PACKED_ROWS = 16 };

// Sums of a tile: four tokens with sixteen rows, four to a vector.
enum { TILE_TOKENS = 4, TILE_VECTORS = 4, CHAINS_I8 = 16, OPERATIONS_I8 = 2 * CHAINS_I8 * 4 * SK_GROUP };

#include "int8_declarations.h"

#include "kernels_body.h"

static size_t token_bytes(size_t columns) { return parts(columns, SK_GROUP) * SK_GROUP; }

static size_t panel_bytes(size_t rows, size_t columns) {
    return parts(rows, PACKED_ROWS) * PACKED_ROWS * token_bytes(columns);
}

static float quantize_token(const float *x, size_t n, void *token) {
    int8_t *q = token;
    float inverse, scale = token_scale_of(x, n, &inverse);
    memset(q + n, 0, token_bytes(n) - n);
    if (inverse == 0.0f) {
        memset(q, 0, n);
        return scale;
    }
    for (size_t i = 0; i < n; i++) q[i] = (int8_t)token_value(x[i], inverse);
    return scale;
}

static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel) {
    int8_t *packed = panel;
    for (size_t first = 0; first < rows; first += PACKED_ROWS)
        for (size_t column = 0; column < columns; column += SK_GROUP)
            for (size_t row = first; row < first + PACKED_ROWS; row++, packed += SK_GROUP) {
                size_t count = row < rows ? least(SK_GROUP, columns - column) : 0;
                memcpy(packed, weights + (count ? row * columns + column : 0), count);
                memset(packed + count, 0, SK_GROUP - count);
            }
}

// The exact sums of `height` tokens, at most four, with sixteen rows.
static inline __attribute__((always_inline)) void tile_i8(const int8_t *x, size_t bytes, int height,
                                                          const int8_t *panel,
                                                          int32_t sums[TILE_TOKENS][PACKED_ROWS]) {
#if SK_GROUP == 4
    int32x4_t tile[TILE_TOKENS][TILE_VECTORS];
    for (int t = 0; t < height; t++)
        for (int v = 0; v < TILE_VECTORS; v++) tile[t][v] = vdupq_n_s32(0);
    for (size_t k = 0; k < bytes; k += SK_GROUP, panel += PACKED_ROWS * SK_GROUP) {
        int8x16_t weights[TILE_VECTORS];
        for (int v = 0; v < TILE_VECTORS; v++) weights[v] = vld1q_s8(panel + 16 * v);
        for (int t = 0; t < height; t++) {
            int32_t word;
            memcpy(&word, x + (size_t)t * bytes + k, sizeof word);
            int8x16_t values = vreinterpretq_s8_s32(vdupq_n_s32(word));
            for (int v = 0; v < TILE_VECTORS; v++)
                tile[t][v] = vdotq_s32(tile[t][v], weights[v], values);
        }
    }
    for (int t = 0; t < height; t++)
        for (int v = 0; v < TILE_VECTORS; v++) vst1q_s32(sums[t] + 4 * v, tile[t][v]);
#else
    // Two tokens and two rows to a vector: [t, r], [t, r + 1], [t + 1, r], [t + 1, r + 1].
    enum { ROW_PAIRS = PACKED_ROWS / 2 };
    int32x4_t tile[TILE_TOKENS / 2][ROW_PAIRS];
    for (int t = 0; t < (height + 1) / 2; t++)
        for (int r = 0; r < ROW_PAIRS; r++) tile[t][r] = vdupq_n_s32(0);
    for (size_t k = 0; k < bytes; k += SK_GROUP, panel += PACKED_ROWS * SK_GROUP) {
        int8x16_t values[TILE_TOKENS / 2];
        for (int t = 0; t < height; t += 2) {
            const int8_t *first = x + (size_t)t * bytes + k;
            values[t / 2] = vcombine_s8(vld1_s8(first),
                                        vld1_s8(t + 1 < height ? first + bytes : first));
        }
        for (int r = 0; r < ROW_PAIRS; r++) {
            int8x16_t weights = vld1q_s8(panel + 16 * r);
            for (int t = 0; t < (height + 1) / 2; t++)
                tile[t][r] = vmmlaq_s32(tile[t][r], values[t], weights);
        }
    }
    for (int t = 0; t < height; t++)
        for (int r = 0; r < ROW_PAIRS; r++)
            vst1_s32(sums[t] + 2 * r, t % 2 ? vget_high_s32(tile[t / 2][r])
                                            : vget_low_s32(tile[t / 2][r]));
#endif
}

static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes) {
    size_t bytes = token_bytes(columns);
    fetched memory = fetched_by(parts(count, TILE_TOKENS) * parts(rows, PACKED_ROWS), soon,
                                soon_bytes);
    int32_t sums[TILE_TOKENS][PACKED_ROWS];
    for (size_t first = 0; first < rows; first += PACKED_ROWS)
        for (size_t token = 0; token < count; token += TILE_TOKENS) {
            size_t height = least(TILE_TOKENS, count - token);
            const int8_t *x = (const int8_t *)tokens + token * bytes;
            const int8_t *block = (const int8_t *)panel + first * bytes;
            fetch_share(&memory);
            // Constant heights let the compiler keep the tile in registers.
            if (height == TILE_TOKENS)
                tile_i8(x, bytes, TILE_TOKENS, block, sums);
            else
                for (size_t t = 0; t < height; t++) tile_i8(x + t * bytes, bytes, 1, block, sums + t);
            for (size_t t = 0; t < height; t++)
                scale_sums(sums[t], least(PACKED_ROWS, rows - first), token_scale[token + t],
                           row_scale + first, bias ? bias + first : NULL,
                           y + (token + t) * stride + first);
        }
}

static int32_t multiply_adds_i8(size_t n) {
    int32x4_t sums[CHAINS_I8];
    int8x16_t weights = vdupq_n_s8(5), values = vdupq_n_s8(-3);
    for (int c = 0; c < CHAINS_I8; c++) sums[c] = vdupq_n_s32(c);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS_I8; c++)
#if SK_GROUP == 4
            sums[c] = vdotq_s32(sums[c], weights, values);
#else
            sums[c] = vmmlaq_s32(sums[c], weights, values);
#endif
    for (int c = 1; c < CHAINS_I8; c++) sums[0] = vaddq_s32(sums[0], sums[c]);
    return vaddvq_s32(sums[0]);
}
