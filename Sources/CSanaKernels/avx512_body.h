// AVX-512 with VNNI, and with bf16 products where SK_HAS_OWN_BF16 is defined; kernels_avx512.c and
// kernels_avx512bf16.c include it.

#define SK_VECTOR 16
#define SK_TILE_TOKENS 14
#define SK_FUSED 1
#define SK_TRANSPOSE(source, stride, target, target_stride) \
    transpose_f32(source, stride, target, target_stride)
#define SK_WIDEN_PAIRS(source, stride, target, target_stride) \
    widen_pairs(source, stride, target, target_stride)
#define SK_HAS_OWN_I8
#define SK_MULTIPLY_I8 multiply_i8

// vpdpbusd multiplies unsigned bytes with signed ones. Weights stand in the panel with 128 added,
// [rows / 16][columns / 4][16][4], and a token is its values padded with zeros to a multiple of
// four, then their sum, with which 128 times it is taken off again. Sums wrap around and come back.
enum { PACKED_ROWS = 16, GROUP = 4 };

enum { CHAINS_I8 = 24, OPERATIONS_I8 = 2 * CHAINS_I8 * 64 };

static int32_t multiply_adds_i8(size_t n);
static size_t token_bytes(size_t columns);
static size_t panel_bytes(size_t rows, size_t columns);
static float quantize_token(const float *x, size_t n, void *token);
static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel);
static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes);

// The 16 x 16 matrix of 32-bit words in `rows`, transposed.
static inline __attribute__((always_inline)) void transpose_words(__m512i rows[16]) {
    __m512i pairs[16], quads[16];
    for (int i = 0; i < 16; i += 2) {
        pairs[i] = _mm512_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm512_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) {
            quads[i + 2 * j] = _mm512_unpacklo_epi64(pairs[i + j], pairs[i + j + 2]);
            quads[i + 2 * j + 1] = _mm512_unpackhi_epi64(pairs[i + j], pairs[i + j + 2]);
        }
    // quads[4 i + j] now holds column j of each 128-bit lane for rows 4 i to 4 i + 3.
    for (int j = 0; j < 4; j++) {
        __m512i even_low = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0x88);
        __m512i odd_low = _mm512_shuffle_i32x4(quads[j], quads[4 + j], 0xDD);
        __m512i even_high = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0x88);
        __m512i odd_high = _mm512_shuffle_i32x4(quads[8 + j], quads[12 + j], 0xDD);
        rows[j] = _mm512_shuffle_i32x4(even_low, even_high, 0x88);
        rows[8 + j] = _mm512_shuffle_i32x4(even_low, even_high, 0xDD);
        rows[4 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0x88);
        rows[12 + j] = _mm512_shuffle_i32x4(odd_low, odd_high, 0xDD);
    }
}

// Sixteen rows of sixteen floats to sixteen columns.
static inline void transpose_f32(const float *source, size_t stride, float *target,
                                 size_t target_stride) {
    __m512i rows[16];
    for (int i = 0; i < 16; i++) rows[i] = _mm512_loadu_si512(source + (size_t)i * stride);
    transpose_words(rows);
    for (int i = 0; i < 16; i++) _mm512_storeu_si512(target + (size_t)i * target_stride, rows[i]);
}

// Sixteen rows of 32 bf16 values, `stride` bytes apart, to 32 columns of fp32: words of two values are
// transposed, which moves half as much as their fp32 ones.
static inline void widen_pairs(const char *source, size_t stride, float *target,
                               size_t target_stride) {
    const __m512i upper = _mm512_set1_epi32((int)0xFFFF0000u);
    __m512i rows[16];
    for (int i = 0; i < 16; i++) rows[i] = _mm512_loadu_si512(source + (size_t)i * stride);
    transpose_words(rows);
    for (int i = 0; i < 16; i++, target += 2 * target_stride) {
        _mm512_storeu_si512(target, _mm512_slli_epi32(rows[i], 16));
        _mm512_storeu_si512(target + target_stride, _mm512_and_si512(rows[i], upper));
    }
}

#ifdef SK_HAS_OWN_BF16
#include "avx512_bf16_body.h"
#endif

#include "kernels_body.h"

static inline size_t padded(size_t columns) { return parts(columns, GROUP) * GROUP; }

static size_t token_bytes(size_t columns) { return padded(columns) + sizeof(int32_t); }

static size_t panel_bytes(size_t rows, size_t columns) {
    return parts(rows, PACKED_ROWS) * PACKED_ROWS * padded(columns);
}

static float quantize_token(const float *x, size_t n, void *token) {
    int8_t *q = token;
    int32_t sum = 0;
    float inverse, scale = token_scale_of(x, n, &inverse);
    memset(q + n, 0, padded(n) - n);
    if (inverse == 0.0f) {
        memset(q, 0, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            int32_t value = token_value(x[i], inverse);
            q[i] = (int8_t)value;
            sum += value;
        }
    }
    memcpy(q + padded(n), &sum, sizeof sum);
    return scale;
}

static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel) {
    uint8_t *packed = panel;
    const __m512i sign = _mm512_set1_epi8(-128);
    const size_t step = 16 * GROUP;
    for (size_t first = 0; first < rows; first += PACKED_ROWS) {
        size_t column = 0;
        // Sixteen groups of a whole block: sixty-four bytes of each of sixteen rows.
        if (first + PACKED_ROWS <= rows)
            for (; column + step <= columns; column += step) {
                __m512i block[16];
                for (int i = 0; i < 16; i++)
                    block[i] = _mm512_loadu_si512(weights + (first + (size_t)i) * columns + column);
                transpose_words(block);
                for (int i = 0; i < 16; i++, packed += PACKED_ROWS * GROUP)
                    _mm512_storeu_si512(packed, _mm512_xor_si512(block[i], sign));
            }
        for (; column < padded(columns); column += GROUP)
            for (size_t row = first; row < first + PACKED_ROWS; row++)
                for (size_t k = column; k < column + GROUP; k++)
                    *packed++ = row < rows && k < columns
                                    ? (uint8_t)(weights[row * columns + k] + 128)
                                    : 0;
    }
}

// Tokens whose sums a tile keeps in registers, beside two blocks of weights: 12 x 2 of the 32.
enum { TILE_TOKENS = 12, TILE_BLOCKS = 2, BLOCK_TOKENS = 96 };

// Exact sums of `height` tokens with `blocks` times 16 rows. As in tile, the rows of y that
// they become and the tokens of the next tile are fetched meanwhile.
static inline __attribute__((always_inline)) void tile_i8(const int8_t *x, size_t bytes,
                                                          size_t columns, int height, int blocks,
                                                          const uint8_t *panel, int32_t *sums,
                                                          const float *y, size_t stride) {
    __m512i tile[TILE_TOKENS][TILE_BLOCKS];
    size_t block_bytes = columns * PACKED_ROWS;
    for (int t = 0; t < height; t++)
        for (int b = 0; b < blocks; b++) {
            tile[t][b] = _mm512_setzero_si512();
            __builtin_prefetch(y + (size_t)t * stride + b * PACKED_ROWS, 1);
        }
    const int8_t *next = x + (size_t)height * bytes;
    for (size_t k = 0; k < columns; k += GROUP) {
        __m512i weights[TILE_BLOCKS];
        for (int b = 0; b < blocks; b++)
            weights[b] = _mm512_loadu_si512(panel + (size_t)b * block_bytes + k * PACKED_ROWS);
        size_t row = k / GROUP % 16;
        __builtin_prefetch(next + (row < (size_t)height ? row : 0) * bytes + k / 64 * 64);
        for (int t = 0; t < height; t++) {
            int32_t group;
            memcpy(&group, x + (size_t)t * bytes + k, sizeof group);
            __m512i values = _mm512_set1_epi32(group);
            for (int b = 0; b < blocks; b++)
                tile[t][b] = _mm512_dpbusd_epi32(tile[t][b], weights[b], values);
        }
    }
    for (int t = 0; t < height; t++) {
        int32_t sum;
        memcpy(&sum, x + (size_t)t * bytes + columns, sizeof sum);
        __m512i offset = _mm512_set1_epi32((int32_t)((uint32_t)sum * 128u));
        for (int b = 0; b < blocks; b++)
            _mm512_storeu_si512(sums + (t * TILE_BLOCKS + b) * PACKED_ROWS,
                                _mm512_sub_epi32(tile[t][b], offset));
    }
}

// Constant counts let the compiler keep the tile in registers.
static void tile_i8_of(const int8_t *x, size_t bytes, size_t columns, size_t height, size_t blocks,
                       const uint8_t *panel, int32_t *sums, const float *y, size_t stride) {
    if (height == TILE_TOKENS && blocks == TILE_BLOCKS) {
        tile_i8(x, bytes, columns, TILE_TOKENS, TILE_BLOCKS, panel, sums, y, stride);
        return;
    }
    for (; height; height--, x += bytes, sums += TILE_BLOCKS * PACKED_ROWS, y += stride)
        if (blocks == TILE_BLOCKS)
            tile_i8(x, bytes, columns, 1, TILE_BLOCKS, panel, sums, y, stride);
        else
            tile_i8(x, bytes, columns, 1, 1, panel, sums, y, stride);
}

static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes) {
    const int8_t *x = tokens;
    size_t bytes = token_bytes(columns), width = padded(columns);
    fetched memory = fetched_by(parts(count, TILE_TOKENS) * parts(rows, TILE_BLOCKS * PACKED_ROWS),
                                soon, soon_bytes);
    int32_t sums[TILE_TOKENS * TILE_BLOCKS * PACKED_ROWS];
    for (size_t start = 0; start < count; start += BLOCK_TOKENS) {
        size_t end = count - start < BLOCK_TOKENS ? count : start + BLOCK_TOKENS;
        for (size_t first = 0; first < rows; first += TILE_BLOCKS * PACKED_ROWS) {
            size_t left = rows - first;
            size_t channels = left < TILE_BLOCKS * PACKED_ROWS ? left : TILE_BLOCKS * PACKED_ROWS;
            size_t blocks = (channels + PACKED_ROWS - 1) / PACKED_ROWS;
            for (size_t token = start; token < end; token += TILE_TOKENS) {
                size_t height = end - token < TILE_TOKENS ? end - token : TILE_TOKENS;
                float *target = y + token * stride + first;
                fetch_share(&memory);
                tile_i8_of(x + token * bytes, bytes, width, height, blocks,
                           (const uint8_t *)panel + first * width, sums, target, stride);
                for (size_t t = 0; t < height; t++)
                    scale_sums(sums + t * TILE_BLOCKS * PACKED_ROWS, channels,
                               token_scale[token + t], row_scale + first,
                               bias ? bias + first : NULL, target + t * stride);
            }
        }
    }
}

static int32_t multiply_adds_i8(size_t n) {
    __m512i sums[CHAINS_I8], weights = _mm512_set1_epi8(5), values = _mm512_set1_epi8(-3);
    for (int c = 0; c < CHAINS_I8; c++) sums[c] = _mm512_set1_epi32(c);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS_I8; c++)
            sums[c] = _mm512_dpbusd_epi32(sums[c], weights, values);
    for (int c = 1; c < CHAINS_I8; c++) sums[0] = _mm512_add_epi32(sums[0], sums[c]);
    return _mm512_reduce_add_epi32(sums[0]);
}
