// 3x3 convolutions by squares of 2x2 outputs (Winograd's F(2x2, 3x3), points 0, 1, -1): sixteen
// products in place of 36. One source for every instruction set; kernels_body.h includes it.
//
// A square is computed from 4x4 inputs d as A'[(G g G') * (B' d B)]A.

// B' along one axis, from and to four values a stride apart.
#define SK_WINOGRAD_INPUT(type, d, s)                                                        \
    do {                                                                                     \
        type first = d[0] - d[2 * s], second = d[s] + d[2 * s], third = d[2 * s] - d[s],     \
             fourth = d[s] - d[3 * s];                                                       \
        d[0] = first, d[s] = second, d[2 * s] = third, d[3 * s] = fourth;                    \
    } while (0)

// A' along one axis, from four values a stride apart to the first two.
#define SK_WINOGRAD_OUTPUT(type, m, s)                                                       \
    do {                                                                                     \
        type first = m[0] + m[s] + m[2 * s], second = m[s] - m[2 * s] - m[3 * s];            \
        m[0] = first, m[s] = second;                                                         \
    } while (0)

#define SK_WINOGRAD_INPUT_AT(type, c)                                                        \
    do {                                                                                     \
        type d[16];                                                                          \
        for (int i = 0; i < 16; i++) d[i] = *(const type *)(taps[i] + c);                    \
        for (int j = 0; j < 4; j++) SK_WINOGRAD_INPUT(type, (d + j), 4);                     \
        for (int i = 0; i < 4; i++) SK_WINOGRAD_INPUT(type, (d + 4 * i), 1);                 \
        for (int i = 0; i < 16; i++) *(type *)(target + (size_t)i * plane + c) = d[i];       \
    } while (0)

static void winograd_input(const float *const *lines, size_t width, size_t channels, size_t first,
                           size_t squares, const float *zeros, float *y, size_t plane) {
    for (size_t square = 0; square < squares; square++) {
        const float *taps[16];
        for (int i = 0; i < 4; i++)
            for (int j = 0; j < 4; j++) {
                // One to the right of the tap's column.
                size_t column = 2 * (first + square) + (size_t)j;
                int inside = lines[i] && column >= 1 && column <= width;
                taps[4 * i + j] = inside ? lines[i] + (column - 1) * channels : zeros;
            }
        float *target = y + square * channels;
        size_t c = 0;
        for (; c + SK_VECTOR <= channels; c += SK_VECTOR) SK_WINOGRAD_INPUT_AT(vector, c);
        for (; c < channels; c++) SK_WINOGRAD_INPUT_AT(float, c);
    }
}

#define SK_WINOGRAD_OUTPUT_AT(type, c)                                                       \
    do {                                                                                     \
        type m[16];                                                                          \
        for (int i = 0; i < 16; i++) m[i] = *(const type *)(source + (size_t)i * plane + c); \
        for (int j = 0; j < 4; j++) SK_WINOGRAD_OUTPUT(type, (m + j), 4);                    \
        for (int i = 0; i < 2; i++) SK_WINOGRAD_OUTPUT(type, (m + 4 * i), 1);                \
        for (int i = 0; i < 2; i++)                                                          \
            for (int j = 0; j < 2; j++) {                                                    \
                if (!lines[i] || column + (size_t)j >= columns) continue;                    \
                type sum = m[4 * i + j];                                                     \
                if (bias) sum += *(const type *)(bias + c);                                  \
                *(type *)(lines[i] + (column + (size_t)j) * y_stride + c) = sum;             \
            }                                                                                \
    } while (0)

static void winograd_output(const float *x, size_t plane, size_t squares, size_t channels,
                            const float *bias, float *const *lines, size_t columns,
                            size_t y_stride) {
    for (size_t square = 0; square < squares; square++) {
        const float *source = x + square * channels;
        size_t column = 2 * square, c = 0;
        for (; c + SK_VECTOR <= channels; c += SK_VECTOR) SK_WINOGRAD_OUTPUT_AT(vector, c);
        for (; c < channels; c++) SK_WINOGRAD_OUTPUT_AT(float, c);
    }
}

// G along one axis, from three values to four.
static inline void winograd_spread(const double *g, int step, double *u, int u_step) {
    u[0] = g[0];
    u[u_step] = 0.5 * (g[0] + g[step] + g[2 * step]);
    u[2 * u_step] = 0.5 * (g[0] - g[step] + g[2 * step]);
    u[3 * u_step] = g[2 * step];
}

static void winograd_weights(const float *taps, size_t channels, float *y, size_t plane) {
    for (size_t c = 0; c < channels; c++) {
        double g[9], half[12], u[16];
        for (size_t t = 0; t < 9; t++) g[t] = (double)taps[t * channels + c];
        for (int j = 0; j < 3; j++) winograd_spread(g + j, 3, half + j, 3);
        for (int i = 0; i < 4; i++) winograd_spread(half + 3 * i, 1, u + 4 * i, 1);
        for (size_t i = 0; i < 16; i++) y[i * plane + c] = (float)u[i];
    }
}
