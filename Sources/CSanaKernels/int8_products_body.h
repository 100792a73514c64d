// Products of int8 weights with activations rounded to int8, compiled for each instruction set that
// defines neither SK_HAS_OWN_I8 nor SK_MULTIPLY_I8. Included by kernels_body.h.

// The scale of a token, and what its values are multiplied by; 0 where all become 0.
static float token_scale_of(const float *x, size_t n, float *inverse) {
    float maximum = absolute_maximum(x, n), factor = 127.0f / maximum;
    int divides = maximum > 0.0f && factor <= 3.0e38f && maximum <= 3.4028234664e38f;
    *inverse = divides ? factor : 0.0f;
    if (divides) return maximum / 127.0f;
    return (as_bits(maximum) >> 23) == 0xFFu ? as_float(0x7FC00000u) : 0.0f;
}

static inline int32_t token_value(float x, float inverse) {
    float value = x * inverse;
    value = value < -127.0f ? -127.0f : value;
    value = value > 127.0f ? 127.0f : value;
    return rounded_integer(value + ROUNDER);
}

// One token's sums turned into floats; the order of operations is part of the result.
static inline void scale_sums(const int32_t *sums, size_t rows, float token_scale,
                              const float *row_scale, const float *bias, float *y) {
    for (size_t r = 0; r < rows; r++) {
        float value = (float)sums[r] * token_scale * row_scale[r];
        y[r] = bias ? value + bias[r] : value;
    }
}

#ifndef SK_HAS_OWN_I8
// Rows (output channels) that stand side by side in a panel [rows / 16][columns / 2][16][2], rows
// and columns rounded up and padded with zeros. A token is int16, padded to an even count.
enum { PACKED_ROWS = 16 };

static size_t token_bytes(size_t columns) { return (columns + 1) / 2 * 4; }

static size_t panel_bytes(size_t rows, size_t columns) {
    return (rows + PACKED_ROWS - 1) / PACKED_ROWS * PACKED_ROWS * ((columns + 1) / 2 * 2);
}

static float quantize_token(const float *x, size_t n, void *token) {
    int16_t *q = token;
    float inverse, scale = token_scale_of(x, n, &inverse);
    if (n % 2) q[n] = 0;
    if (inverse == 0.0f) {
        memset(q, 0, n * sizeof *q);
        return scale;
    }
    for (size_t i = 0; i < n; i++) q[i] = (int16_t)token_value(x[i], inverse);
    return scale;
}

static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel) {
    int8_t *packed = panel;
    size_t pairs = (columns + 1) / 2;
    for (size_t first = 0; first < rows; first += PACKED_ROWS) {
        size_t count = rows - first < PACKED_ROWS ? rows - first : PACKED_ROWS;
        const int8_t *block = weights + first * columns;
        if (count < PACKED_ROWS) memset(packed, 0, pairs * 2 * PACKED_ROWS);
        for (size_t p = 0; p < columns / 2; p++)
            for (size_t r = 0; r < count; r++)
                memcpy(packed + (p * PACKED_ROWS + r) * 2, block + r * columns + 2 * p, 2);
        if (columns % 2)
            for (size_t r = 0; r < count; r++) {
                int8_t *last = packed + ((pairs - 1) * PACKED_ROWS + r) * 2;
                last[0] = block[r * columns + columns - 1];
                last[1] = 0;
            }
        packed += pairs * 2 * PACKED_ROWS;
    }
}

#ifndef SK_MULTIPLY_I8
#define SK_MULTIPLY_I8 multiply_i8
enum { CHAINS_I8 = 32, OPERATIONS_I8 = 2 * CHAINS_I8 };

static int32_t multiply_adds_i8(size_t n) {
    uint32_t sums[CHAINS_I8];
    for (uint32_t i = 0; i < CHAINS_I8; i++) sums[i] = i;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS_I8; c++) sums[c] = sums[c] * 127 + 3;
    for (int c = 1; c < CHAINS_I8; c++) sums[0] += sums[c];
    return (int32_t)sums[0];
}

static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes) {
    const int16_t *x = tokens;
    size_t pairs = (columns + 1) / 2;
    // Nothing is fetched: without vectors no core waits for memory.
    (void)soon, (void)soon_bytes;
    for (size_t t = 0; t < count; t++)
        for (size_t first = 0; first < rows; first += PACKED_ROWS) {
            const int8_t *block = (const int8_t *)panel + first * 2 * pairs;
            int32_t sums[PACKED_ROWS] = {0};
            for (size_t p = 0; p < pairs; p++)
                for (size_t r = 0; r < PACKED_ROWS; r++) {
                    const int8_t *w = block + (p * PACKED_ROWS + r) * 2;
                    const int16_t *v = x + (t * pairs + p) * 2;
                    sums[r] += (int32_t)v[0] * w[0] + (int32_t)v[1] * w[1];
                }
            size_t width = rows - first < PACKED_ROWS ? rows - first : PACKED_ROWS;
            scale_sums(sums, width, token_scale[t], row_scale + first, bias ? bias + first : NULL,
                       y + t * stride + first);
        }
}
#endif
#endif
