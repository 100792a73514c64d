// The source of all kernels, included once per instruction set with SK_TABLE naming the table to
// define. Loops are written so that the compiler's vectoriser sees independent lanes. Sums are kept
// in LANES parts that are added pairwise, so their order is the same for every vector width.

#include <math.h>
#include <string.h>

#include "sana_kernels.h"

enum { LANES = 16, DOUBLE_LANES = 8 };

static inline float as_float(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint32_t as_bits(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static inline uint16_t load16(const void *source, size_t index) {
    uint16_t bits;
    memcpy(&bits, (const char *)source + 2 * index, sizeof bits);
    return bits;
}

static inline float widened_bf16(const void *source, size_t index) {
    return as_float((uint32_t)load16(source, index) << 16);
}

static inline void store16(void *target, size_t index, uint16_t bits) {
    memcpy((char *)target + 2 * index, &bits, sizeof bits);
}

#include "float_products_body.h"
#include "bf16_products_body.h"

static inline float pairwise_sum(const float *lanes) {
    float sums[LANES];
    memcpy(sums, lanes, sizeof sums);
    for (int width = LANES / 2; width > 0; width /= 2)
        for (int j = 0; j < width; j++) sums[j] += sums[j + width];
    return sums[0];
}

// Adding 1.5 * 2^23 rounds a float below 2^22 to an integer, which then stands in the low bits.
#define ROUNDER 12582912.0f

static inline int32_t rounded_integer(float biased) { return (int32_t)(as_bits(biased) - 0x4B400000u); }

// exp of x within [-87.3, 88.7], within 2 ulp, by x = k ln 2 + r, |r| <= ln 2 / 2, and a degree-6
// polynomial in r with the coefficients of Cephes' expf. In that range e^r * 2^k is a normal
// number, so k, which stands in the low bits of the biased one, is added to the exponent of e^r.
static inline float bounded_exponential(float x) {
    float biased = __builtin_fmaf(x, 1.44269504088896341f, ROUNDER);
    float k = biased - ROUNDER;
    float r = __builtin_fmaf(k, -0.693359375f, x);
    r = __builtin_fmaf(k, 2.12194440e-4f, r);
    float p = 1.9875691500e-4f;
    p = __builtin_fmaf(p, r, 1.3981999507e-3f);
    p = __builtin_fmaf(p, r, 8.3334519073e-3f);
    p = __builtin_fmaf(p, r, 4.1665795894e-2f);
    p = __builtin_fmaf(p, r, 1.6666665459e-1f);
    p = __builtin_fmaf(p, r, 5.0000001201e-1f);
    float value = __builtin_fmaf(p, r * r, r) + 1.0f;
    return as_float(as_bits(value) + (as_bits(biased) << 23));
}

// exp of x <= 0, 0 where it would be a denormal.
static inline float falling_exponential(float x) {
    float value = bounded_exponential(x < -87.0f ? -87.0f : x);
    return x < -87.0f ? 0.0f : value;
}

// x / (1 + exp(-z)). Beyond the bounds the divisor is 1, or so large that what is left of x is
// below 1e-36 of it.
static inline float sigmoid_weighted(float x, float z) {
    float bounded = z > 87.0f ? 87.0f : z;
    bounded = bounded < -88.7f ? -88.7f : bounded;
    return x / (1.0f + bounded_exponential(-bounded));
}

// Two vectors at a time: one alone waits for its own chain of operations.
#define SK_TWO_AT_A_TIME _Pragma("clang loop interleave_count(2)")

// The same of a loop whose target may be one of its sources, element for element: without this word
// the compiler takes them one by one where it is.
#define SK_IN_PLACE _Pragma("clang loop vectorize(assume_safety) interleave_count(2)")

#include "conversions_body.h"

static float absolute_maximum(const float *x, size_t n) {
    // Magnitudes order as integers, NaN above infinity.
    uint32_t lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            uint32_t magnitude = as_bits(x[i + j]) & 0x7FFFFFFFu;
            lanes[j] = magnitude > lanes[j] ? magnitude : lanes[j];
        }
    for (; i < n; i++) {
        uint32_t magnitude = as_bits(x[i]) & 0x7FFFFFFFu;
        lanes[0] = magnitude > lanes[0] ? magnitude : lanes[0];
    }
    for (int j = 1; j < LANES; j++) lanes[0] = lanes[j] > lanes[0] ? lanes[j] : lanes[0];
    return as_float(lanes[0]);
}

static float sum(const float *x, size_t n) {
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) lanes[j] += x[i + j];
    for (int j = 0; i < n; i++, j++) lanes[j] += x[i];
    return pairwise_sum(lanes);
}

static float squared_distance(const float *x, float centre, size_t n) {
    float lanes[LANES] = {0};
    size_t i = 0;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            float d = x[i + j] - centre;
            lanes[j] += d * d;
        }
    for (int j = 0; i < n; i++, j++) {
        float d = x[i] - centre;
        lanes[j] += d * d;
    }
    return pairwise_sum(lanes);
}

static void layer_norm(const float *x, float *y, size_t n, float eps) {
    float mean = sum(x, n) / (float)n;
    float scale = 1.0f / sqrtf(squared_distance(x, mean, n) / (float)n + eps);
    SK_IN_PLACE
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * scale;
}

static void rms_norm(const float *x, const float *weight, float *y, size_t n, float eps) {
    float scale = 1.0f / sqrtf(squared_distance(x, 0.0f, n) / (float)n + eps);
    SK_IN_PLACE
    for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * weight[i];
}

static void modulate(float *x, const float *shift, const float *scale, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = x[i] * (1.0f + scale[i]) + shift[i];
}

static void affine(float *x, const float *weight, const float *bias, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = x[i] * weight[i] + bias[i];
}

static void add(float *y, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += x[i];
}

static void add_gated(float *y, const float *gate, const float *x, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] += gate[i] * x[i];
}

static void divide(float *x, float divisor, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] /= divisor;
}

static void clip(float *x, float limit, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float value = x[i] > limit ? limit : x[i];
        x[i] = value < -limit ? -limit : value;
    }
}

static void relu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = x[i] < 0.0f ? 0.0f : x[i];
}

static void silu(float *x, size_t n) {
    SK_TWO_AT_A_TIME
    for (size_t i = 0; i < n; i++) x[i] = sigmoid_weighted(x[i], x[i]);
}

static inline float gelu_of(float v) {
    // 0.5 (1 + tanh u) is the sigmoid of 2u.
    float u = 0.7978845608028654f * (v + 0.044715f * (v * v * v));
    return sigmoid_weighted(v, 2.0f * u);
}

static void gelu_tanh(float *x, size_t n) {
    SK_TWO_AT_A_TIME
    for (size_t i = 0; i < n; i++) x[i] = gelu_of(x[i]);
}

static void gated_silu(const float *value, const float *gate, float *y, size_t n) {
    SK_IN_PLACE
    for (size_t i = 0; i < n; i++) y[i] = value[i] * sigmoid_weighted(gate[i], gate[i]);
}

static void softmax(float *x, const float *bias, float scale, size_t n) {
    if (n == 0) return;
    float maxima[LANES], totals[LANES] = {0};
    // What is left of the last vector, filled up with scores that weigh nothing.
    float rest[LANES];
    size_t whole = n / LANES * LANES;
    for (size_t j = 0; j < LANES; j++) rest[j] = maxima[j] = -INFINITY;
    for (size_t i = 0; i < n; i++) x[i] *= scale;
    if (bias) add(x, bias, n);
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) maxima[j] = x[i + j] > maxima[j] ? x[i + j] : maxima[j];
    memcpy(rest, x + whole, (n - whole) * sizeof *x);
    for (int j = 0; j < LANES; j++) maxima[j] = rest[j] > maxima[j] ? rest[j] : maxima[j];
    float maximum = maxima[0];
    for (int j = 1; j < LANES; j++) maximum = maxima[j] > maximum ? maxima[j] : maximum;
    for (size_t i = 0; i < whole; i += LANES)
        for (int j = 0; j < LANES; j++) {
            x[i + j] = falling_exponential(x[i + j] - maximum);
            totals[j] += x[i + j];
        }
    for (int j = 0; j < LANES; j++) {
        rest[j] = falling_exponential(rest[j] - maximum);
        totals[j] += rest[j];
    }
    memcpy(x + whole, rest, (n - whole) * sizeof *x);
    float inverse = 1.0f / pairwise_sum(totals);
    for (size_t i = 0; i < n; i++) x[i] *= inverse;
}

// Channels whose sums and weights a pass over a row keeps in registers.
enum { DEPTHWISE_CHANNELS = 32 };
// Columns that are fetched ahead.
enum { COLUMNS_AHEAD = 8 };

static inline __attribute__((always_inline)) void depthwise_channels(
    const float *const lines[3], size_t width, size_t stride, size_t first, int channels,
    const float *weight, const float *bias, const float *zeros, float *y, size_t y_stride) {
    float weights[9][DEPTHWISE_CHANNELS];
    for (int t = 0; t < 9; t++)
        for (int c = 0; c < channels; c++) weights[t][c] = weight[(size_t)t * stride + first + c];
    for (size_t x = 0; x < width; x++) {
        // Columns lie too far apart for the processor to foresee the line that is new.
        for (int c = 0; lines[2] && c < channels; c += LINE)
            __builtin_prefetch(lines[2] + (x + COLUMNS_AHEAD) * stride + first + c);
        const float *tap[9];
        for (int dy = 0; dy < 3; dy++)
            for (int dx = 0; dx < 3; dx++) {
                size_t column = x + (size_t)dx;  // one to the right of the tap's column
                int inside = lines[dy] && column >= 1 && column <= width;
                tap[3 * dy + dx] = inside ? lines[dy] + (column - 1) * stride + first : zeros;
            }
        float sums[DEPTHWISE_CHANNELS];
        for (int c = 0; c < channels; c++) sums[c] = bias[first + c];
        for (int t = 0; t < 9; t++)
            for (int c = 0; c < channels; c++)
                sums[c] = __builtin_fmaf(tap[t][c], weights[t][c], sums[c]);
        for (int c = 0; c < channels; c++) y[x * y_stride + first + c] = sums[c];
    }
}

static void depthwise3x3_row(const float *above, const float *row, const float *below, size_t width,
                             size_t stride, size_t channels, const float *weight,
                             const float *bias, const float *zeros, float *y, size_t y_stride) {
    const float *const lines[3] = {above, row, below};
    size_t first = 0;
    for (; first + DEPTHWISE_CHANNELS <= channels; first += DEPTHWISE_CHANNELS)
        depthwise_channels(lines, width, stride, first, DEPTHWISE_CHANNELS, weight, bias, zeros, y,
                           y_stride);
    if (first < channels)
        depthwise_channels(lines, width, stride, first, (int)(channels - first), weight, bias,
                           zeros, y, y_stride);
}

#include "text_body.h"
#include "images_body.h"
#include "winograd_body.h"

#include "comparisons_body.h"

#include "int8_products_body.h"

static const sk_kernels SK_TABLE = {
    .name = SK_NAME,
    .widen_bf16 = widen_bf16,
    .widen_f16 = widen_f16,
    .widen_i8 = widen_i8,
    .narrow_f16 = narrow_f16,
    .narrow_bf16 = narrow_bf16,
    .inexact_f16 = inexact_f16,
    .inexact_f16_of_bf16 = inexact_f16_of_bf16,
    .largest_magnitude16 = largest_magnitude16,
    .quantize_i8 = quantize_i8,
    .split_plane = split_plane,
    .join_planes = join_planes,
    .absolute_maximum = absolute_maximum,
    .layer_norm = layer_norm,
    .rms_norm = rms_norm,
    .modulate = modulate,
    .affine = affine,
    .add = add,
    .add_gated = add_gated,
    .divide = divide,
    .clip = clip,
    .relu = relu,
    .silu = silu,
    .gelu_tanh = gelu_tanh,
    .gated_silu = gated_silu,
    .softmax = softmax,
    .depthwise3x3_row = depthwise3x3_row,
    .multiply = multiply,
    .gated_gelu = gated_gelu,
    .soft_cap = soft_cap,
    .rotate = rotate,
    .rms_norm_add = rms_norm_add,
    .at_least = at_least,
    .gelu = gelu,
    .mish = mish,
    .add_gathered = add_gathered,
    .depthwise_row = depthwise_row,
    .winograd_input = winograd_input,
    .winograd_output = winograd_output,
    .winograd_weights = winograd_weights,
    .compare = compare,
    .difference_histogram = difference_histogram,
    .measure_rounding = measure_rounding,
    .multiplies_f32 = SK_FUSED,
    .tile_tokens = SK_TILE_TOKENS,
    .panel_floats = panel_floats,
    .transpose = transpose,
    .pack_f32 = pack_f32,
    .pack_bf16 = pack_bf16,
    .pack_columns_f32 = pack_columns_f32,
    .chain_f32 = chain_f32,
    .multiply_f32 = multiply_f32,
    .multiply_add_f32 = multiply_add_f32,
    .multiply_adds = multiply_adds,
    .multiply_adds_each = OPERATIONS,
    .rounds_to_pairs = SK_PAIRS,
    .rounded_bytes = rounded_bytes,
    .rounded_panel_bytes = rounded_panel_bytes,
    .round_tokens = round_tokens,
    .pack_rounded_f32 = pack_rounded_f32,
    .pack_rounded_bf16 = pack_rounded_bf16,
    .pack_rounded_columns = pack_rounded_columns,
    .chain_rounded = chain_rounded,
    .multiply_rounded = multiply_rounded,
    .multiply_add_rounded = multiply_add_rounded,
    .multiply_adds_bf16 = multiply_adds_bf16,
    .multiply_adds_bf16_each = OPERATIONS_BF16,
    .multiply_adds_i8 = multiply_adds_i8,
    .multiply_adds_i8_each = OPERATIONS_I8,
    .quantize_token = quantize_token,
    .token_bytes = token_bytes,
    .panel_bytes = panel_bytes,
    .pack_i8 = pack_i8,
    .multiply_i8 = SK_MULTIPLY_I8,
};
