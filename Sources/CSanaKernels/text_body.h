// Passes of a text encoder; kernels_body.h includes it.

// tanh within 2 ulp: near 0 the odd polynomial of Cephes' tanhf, whose relative error stays small
// there, elsewhere 1 - 2 / (e^2x + 1). NaN stays NaN.
static inline float hyperbolic_tangent(float x) {
    float magnitude = as_float(as_bits(x) & 0x7FFFFFFFu);
    float bounded = magnitude < 10.0f ? magnitude : 10.0f;
    float large = 1.0f - 2.0f / (bounded_exponential(2.0f * bounded) + 1.0f);
    large = as_float(as_bits(large) | (as_bits(x) & 0x80000000u));
    float square = x * x;
    float p = -5.70498872745e-3f;
    p = __builtin_fmaf(p, square, 2.06390887954e-2f);
    p = __builtin_fmaf(p, square, -5.37397155531e-2f);
    p = __builtin_fmaf(p, square, 1.33314422036e-1f);
    p = __builtin_fmaf(p, square, -3.33332819422e-1f);
    float small = __builtin_fmaf(p * square, x, x);
    return magnitude >= 0.625f ? large : small;
}

static void multiply(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] *= x[i];
}

static void gated_gelu(const float *value, const float *gate, float *y, size_t n) {
    SK_IN_PLACE
    for (size_t i = 0; i < n; i++) y[i] = gelu_of(gate[i]) * value[i];
}

static void soft_cap(float *x, float scale, float cap, size_t n) {
    SK_TWO_AT_A_TIME
    for (size_t i = 0; i < n; i++) x[i] = hyperbolic_tangent(x[i] * scale / cap) * cap;
}

static void rotate(float *x, const float *cosines, const float *sines, size_t pairs) {
    float *y = x + pairs;
    for (size_t i = 0; i < pairs; i++) {
        float first = x[i], second = y[i];
        x[i] = first * cosines[i] - second * sines[i];
        y[i] = second * cosines[i] + first * sines[i];
    }
}
