// Products of values rounded to bf16, with fp32 sums; kernels_body.h includes it.
//
// Sums are chains of fused multiply-adds of the rounded values, as in fp32 but longer: vdpbf16ps
// rounds after each of its two additions, and products of two bf16 values are exact. It takes
// denormals for zero, which other instructions do not, so there are none: operands below 2^-56
// become zero, and what is left makes products that are multiples of 2^-126, the smallest number
// that is not denormal.
//
// An instruction set without such products multiplies the rounded values as floats. One that has
// them defines SK_HAS_OWN_BF16 and lays out words of two values, the one of the even column in the
// upper half.

#define SMALLEST_BF16 0x1.0p-56f

// Longer than chains of fp32: next to what rounding the operands does, long sums err little, and
// each chain costs a pass over the output.
enum { ROUNDED_COLUMNS = 2048 };

static size_t chain_rounded(size_t columns) {
    return chain_columns(columns, ROUNDED_COLUMNS);
}

#ifndef SK_HAS_OWN_BF16
#define SK_PAIRS 0

static inline float rounded_bf16(float value) {
    uint32_t bits = as_bits(value), magnitude = bits & 0x7FFFFFFFu;
    uint32_t rounded = bits + 0x7FFFu + (bits >> 16 & 1u);
    rounded = magnitude > 0x7F800000u ? bits | 0x400000u : rounded;
    rounded = magnitude < as_bits(SMALLEST_BF16) ? 0 : rounded;
    return as_float(rounded & 0xFFFF0000u);
}

static void round_in_place(float *values, size_t n) {
    for (size_t i = 0; i < n; i++) values[i] = rounded_bf16(values[i]);
}

static size_t rounded_bytes(size_t columns) { return columns * sizeof(float); }

static size_t rounded_panel_bytes(size_t rows, size_t columns) {
    return panel_floats(rows, columns) * sizeof(float);
}

static void round_tokens(const float *x, size_t stride, size_t tokens, size_t columns,
                         void *rounded) {
    float *target = rounded;
    for (size_t t = 0; t < tokens; t++)
        for (size_t c = 0; c < columns; c++)
            target[t * columns + c] = rounded_bf16(x[t * stride + c]);
}

static void pack_rounded_f32(const float *weights, size_t rows, size_t columns, size_t stride,
                             void *panel) {
    pack_f32(weights, rows, columns, stride, panel);
    round_in_place(panel, panel_floats(rows, columns));
}

static void pack_rounded_bf16(const void *weights, size_t rows, size_t columns, size_t stride,
                              void *panel) {
    pack_bf16(weights, rows, columns, stride, panel);
    round_in_place(panel, panel_floats(rows, columns));
}

static void pack_rounded_columns(const float *weights, size_t rows, size_t columns, size_t stride,
                                 void *panel) {
    pack_columns_f32(weights, rows, columns, stride, panel);
    round_in_place(panel, panel_floats(rows, columns));
}

static void multiply_rounded(const void *x, size_t x_stride, size_t tokens, size_t columns,
                             const void *panel, size_t rows, const float *bias, float *y,
                             size_t y_stride, const void *soon, size_t soon_bytes) {
    product(FLOATS, x, x_stride / sizeof(float), tokens, columns, chain_rounded(columns), panel,
            rows, bias, 0, y, y_stride, soon, soon_bytes);
}

static void multiply_add_rounded(const void *x, size_t x_stride, size_t tokens, size_t columns,
                                 const void *panel, size_t rows, float *y, size_t y_stride,
                                 const void *soon, size_t soon_bytes) {
    product(FLOATS, x, x_stride / sizeof(float), tokens, columns, chain_rounded(columns), panel,
            rows, y, y_stride, y, y_stride, soon, soon_bytes);
}

enum { OPERATIONS_BF16 = OPERATIONS };

static float multiply_adds_bf16(size_t n) { return multiply_adds(n); }
#else
#define SK_PAIRS 1

static void multiply_rounded(const void *x, size_t x_stride, size_t tokens, size_t columns,
                             const void *panel, size_t rows, const float *bias, float *y,
                             size_t y_stride, const void *soon, size_t soon_bytes) {
    product(PAIRS, x, x_stride / sizeof(float), tokens, parts(columns, 2),
            chain_rounded(columns) / 2, panel, rows, bias, 0, y, y_stride, soon, soon_bytes);
}

static void multiply_add_rounded(const void *x, size_t x_stride, size_t tokens, size_t columns,
                                 const void *panel, size_t rows, float *y, size_t y_stride,
                                 const void *soon, size_t soon_bytes) {
    product(PAIRS, x, x_stride / sizeof(float), tokens, parts(columns, 2),
            chain_rounded(columns) / 2, panel, rows, y, y_stride, y, y_stride, soon, soon_bytes);
}
#endif
