// The one source of all kernels, included once per instruction set with SK_TABLE naming the table to
// define. Loops are written so that the compiler's vectoriser sees independent lanes; sums keep LANES
// partial sums and add them pairwise, which fixes the order for every vector width.

#include <math.h>
#include <string.h>

#include "sana_kernels.h"

enum { LANES = 16, DOUBLE_LANES = 8 };

#include "float_products_body.h"

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

static inline void store16(void *target, size_t index, uint16_t bits) {
    memcpy((char *)target + 2 * index, &bits, sizeof bits);
}

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

// exp by x = k ln 2 + r, |r| <= ln 2 / 2, and a degree-6 polynomial in r with the coefficients of
// Cephes' expf. Writes e^r and gives k as an integer.
static inline int32_t reduced_exponential(float x, float *value) {
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
    *value = __builtin_fmaf(p, r * r, r) + 1.0f;
    return rounded_integer(biased);
}

// Within 2 ulp, 0 below the denormals, infinity above the range. 2^k is applied in two factors so
// that no intermediate exponent overflows.
static inline float exponential(float x) {
    float bounded = x < -105.0f ? -105.0f : x;
    bounded = bounded > 89.0f ? 89.0f : bounded;
    float value;
    int32_t whole = reduced_exponential(bounded, &value);
    int32_t half = whole / 2;
    float first = as_float((uint32_t)(half + 127) << 23);
    float second = as_float((uint32_t)(whole - half + 127) << 23);
    return value * first * second;
}

// exp of x <= 0, within 2 ulp, 0 where it would be a denormal.
static inline float falling_exponential(float x) {
    float value;
    int32_t whole = reduced_exponential(x < -87.0f ? -87.0f : x, &value);
    value *= as_float((uint32_t)(whole + 127) << 23);
    return x < -87.0f ? 0.0f : value;
}

static inline float sigmoid_weighted(float x, float z) { return x / (1.0f + exponential(-z)); }

static void widen_bf16(const void *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = as_float((uint32_t)load16(source, i) << 16);
}

static inline float half_value(uint16_t half) {
    uint32_t word = (uint32_t)half << 16;
    uint32_t sign = word & 0x80000000u;
    uint32_t magnitude = word + word;
    // Normal numbers: shift the exponent into place and rebias it by a multiplication.
    float normal = as_float((magnitude >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
    // Subnormal numbers: place the mantissa below 0.5 and subtract 0.5.
    float subnormal = as_float((magnitude >> 17) | (126u << 23)) - 0.5f;
    uint32_t bits = magnitude < (1u << 27) ? as_bits(subnormal) : as_bits(normal);
    return as_float(sign | bits);
}

static inline uint16_t half_bits(float value) {
    uint32_t bits = as_bits(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    // Below 2^-14 adding 0.5 rounds to multiples of 2^-24; above, the mantissa is rounded to ten
    // bits.
    uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - (126u << 23);
    uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    uint32_t normal = (rounded >> 13) - (112u << 10);
    uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
    result = magnitude >= 0x477FF000u ? 0x7C00u : result;
    result = magnitude > 0x7F800000u ? 0x7E00u : result;
    return (uint16_t)(sign | result);
}

static void widen_f16(const void *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = half_value(load16(source, i));
}

static void widen_i8(const int8_t *source, float scale, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = (float)source[i] * scale;
}

static void narrow_f16(const float *source, void *target, size_t n) {
    for (size_t i = 0; i < n; i++) store16(target, i, half_bits(source[i]));
}

static size_t inexact_f16(const float *source, size_t n) {
    size_t total = 0;
    // Blocks keep the counter of each inner loop as narrow as the values, which lets it vectorise.
    for (size_t start = 0; start < n; start += 1 << 16) {
        size_t end = n - start < 1 << 16 ? n : start + (1 << 16);
        uint32_t count = 0;
        for (size_t i = start; i < end; i++) {
            float value = source[i];
            count += value == value && as_bits(half_value(half_bits(value))) != as_bits(value);
        }
        total += count;
    }
    return total;
}

static size_t inexact_f16_of_bf16(const void *source, size_t n) {
    size_t total = 0;
    for (size_t start = 0; start < n; start += 64) {
        size_t end = n - start < 64 ? n : start + 64;
        // All that lies from 2^-17 to 65280 is exact, and in weights there is little else.
        uint16_t outside = 0;
        for (size_t i = start; i < end; i++) {
            uint16_t magnitude = load16(source, i) & 0x7FFFu;
            outside |= (uint16_t)(magnitude - 0x3700u) > 0x477Fu - 0x3700u;
        }
        if (!outside) continue;
        for (size_t i = start; i < end; i++) {
            float value = as_float((uint32_t)load16(source, i) << 16);
            total += inexact_f16(&value, 1);
        }
    }
    return total;
}

static uint16_t largest_magnitude16(const void *source, size_t n) {
    uint16_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t magnitude = load16(source, i) & 0x7FFFu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

static void narrow_bf16(const float *source, void *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = as_bits(source[i]);
        uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
        uint32_t quiet = bits >> 16 | 0x40u;
        store16(target, i, (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded));
    }
}

static void quantize_i8(const float *source, float inverse_scale, int8_t *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float value = source[i] * inverse_scale;
        value = value < -127.0f ? -127.0f : value;
        value = value > 127.0f ? 127.0f : value;
        target[i] = (int8_t)rounded_integer(value + ROUNDER);
    }
}

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
    for (size_t i = 0; i < n; i++) y[i] = (x[i] - mean) * scale;
}

static void rms_norm(const float *x, const float *weight, float *y, size_t n, float eps) {
    float scale = 1.0f / sqrtf(squared_distance(x, 0.0f, n) / (float)n + eps);
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
    for (size_t i = 0; i < n; i++) x[i] = sigmoid_weighted(x[i], x[i]);
}

static void gelu_tanh(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float v = x[i];
        // 0.5 (1 + tanh u) is the sigmoid of 2u.
        float u = 0.7978845608028654f * (v + 0.044715f * (v * v * v));
        x[i] = sigmoid_weighted(v, 2.0f * u);
    }
}

static void gated_silu(const float *value, const float *gate, float *y, size_t n) {
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

// Eight elements: their sums, which elements differ most, and magnitudes.
typedef struct {
    double difference[DOUBLE_LANES], reference[DOUBLE_LANES], actual[DOUBLE_LANES],
        product[DOUBLE_LANES], absolute[DOUBLE_LANES], maximum[DOUBLE_LANES],
        max_actual[DOUBLE_LANES], max_reference[DOUBLE_LANES];
    uint64_t index[DOUBLE_LANES], nonfinite[DOUBLE_LANES];
} comparison_lanes;

static inline void compare_lane(float actual, float reference, uint64_t index, size_t j,
                                comparison_lanes *lanes) {
    uint32_t exponent = 0xFFu << 23;
    int finite = (as_bits(actual) & exponent) != exponent && (as_bits(reference) & exponent) != exponent;
    double a = finite ? (double)actual : 0.0, r = finite ? (double)reference : 0.0;
    double d = a - r, magnitude = finite ? fabs(d) : (double)INFINITY;
    lanes->difference[j] += d * d;
    lanes->reference[j] += r * r;
    lanes->actual[j] += a * a;
    lanes->product[j] += a * r;
    lanes->absolute[j] += fabs(d);
    lanes->index[j] = magnitude > lanes->maximum[j] ? index : lanes->index[j];
    lanes->maximum[j] = magnitude > lanes->maximum[j] ? magnitude : lanes->maximum[j];
    lanes->max_actual[j] = fabs(a) > lanes->max_actual[j] ? fabs(a) : lanes->max_actual[j];
    lanes->max_reference[j] = fabs(r) > lanes->max_reference[j] ? fabs(r) : lanes->max_reference[j];
    lanes->nonfinite[j] += finite ? 0 : 1;
}

static inline double larger(double a, double b) { return a > b ? a : b; }

static void compare(const float *actual, const float *reference, size_t n, sk_comparison *sums) {
    comparison_lanes lanes = {0};
    uint64_t first = sums->count;
    size_t i = 0;
    for (; i + DOUBLE_LANES <= n; i += DOUBLE_LANES)
        for (size_t j = 0; j < DOUBLE_LANES; j++)
            compare_lane(actual[i + j], reference[i + j], first + i + j, j, &lanes);
    for (size_t j = 0; i < n; i++, j++) compare_lane(actual[i], reference[i], first + i, j, &lanes);
    double maximum = 0;
    uint64_t index = UINT64_MAX;
    for (int j = 0; j < DOUBLE_LANES; j++) {
        sums->squared_difference += lanes.difference[j];
        sums->squared_reference += lanes.reference[j];
        sums->squared_actual += lanes.actual[j];
        sums->product += lanes.product[j];
        sums->absolute_difference += lanes.absolute[j];
        sums->max_actual = larger(lanes.max_actual[j], sums->max_actual);
        sums->max_reference = larger(lanes.max_reference[j], sums->max_reference);
        sums->nonfinite += lanes.nonfinite[j];
        int is_first = lanes.maximum[j] == maximum && lanes.index[j] < index;
        if (lanes.maximum[j] > maximum || is_first) {
            maximum = lanes.maximum[j];
            index = lanes.index[j];
        }
    }
    if (maximum > sums->max_difference) {
        sums->max_difference = maximum;
        sums->max_index = index;
    }
    sums->count += n;
}

static void difference_histogram(const float *actual, const float *reference, size_t n,
                                 uint32_t *bins) {
    for (size_t i = 0; i < n; i++) bins[(as_bits(actual[i] - reference[i]) & 0x7FFFFFFFu) >> 16]++;
}

// Eight elements: their errors in fp64, and their counters, which are as narrow as the values so
// that both are whole vectors.
typedef struct {
    double difference[DOUBLE_LANES], reference[DOUBLE_LANES], maximum[DOUBLE_LANES];
    uint32_t changed[DOUBLE_LANES], clipped[DOUBLE_LANES], flushed[DOUBLE_LANES];
} rounding_lanes;

static inline void measure_lane(float actual, float reference, uint32_t limit, int j,
                                rounding_lanes *lanes) {
    double r = reference, d = (double)actual - r, magnitude = fabs(d);
    lanes->difference[j] += d * d;
    lanes->reference[j] += r * r;
    lanes->maximum[j] = magnitude > lanes->maximum[j] ? magnitude : lanes->maximum[j];
    // Magnitudes order as integers; the shift drops the sign, so that both zeros are one number.
    uint32_t new = as_bits(actual) << 1, old = as_bits(reference) << 1;
    lanes->changed[j] += new != old;
    lanes->clipped[j] += old > limit;
    lanes->flushed[j] += new == 0 && old != 0;
}

static void measure_rounding(const float *actual, const float *reference, float limit, size_t n,
                             sk_rounding *sums) {
    uint32_t doubled = as_bits(limit) << 1;
    for (size_t start = 0; start < n; start += 1 << 16) {
        size_t end = n - start < 1 << 16 ? n : start + (1 << 16), i = start;
        rounding_lanes lanes = {0};
        for (; i + DOUBLE_LANES <= end; i += DOUBLE_LANES)
            for (int j = 0; j < DOUBLE_LANES; j++)
                measure_lane(actual[i + j], reference[i + j], doubled, j, &lanes);
        for (int j = 0; i < end; i++, j++)
            measure_lane(actual[i], reference[i], doubled, j, &lanes);
        for (int j = 0; j < DOUBLE_LANES; j++) {
            double maximum = lanes.maximum[j];
            sums->squared_difference += lanes.difference[j];
            sums->squared_reference += lanes.reference[j];
            sums->max_difference = maximum > sums->max_difference ? maximum : sums->max_difference;
            sums->changed += lanes.changed[j];
            sums->clipped += lanes.clipped[j];
            sums->flushed += lanes.flushed[j];
        }
    }
}

static void split_plane(const void *source, int plane, uint8_t *target, size_t n) {
    int shift = 8 * plane;
    for (size_t i = 0; i < n; i++) target[i] = (uint8_t)(load16(source, i) >> shift);
}

static void join_planes(const uint8_t *low, const uint8_t *high, void *target, size_t n) {
    for (size_t i = 0; i < n; i++) store16(target, i, (uint16_t)(low[i] | high[i] << 8));
}

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
    .compare = compare,
    .difference_histogram = difference_histogram,
    .measure_rounding = measure_rounding,
    .multiplies_f32 = SK_FUSED,
    .panel_floats = panel_floats,
    .transpose = transpose,
    .pack_f32 = pack_f32,
    .pack_columns_f32 = pack_columns_f32,
    .multiply_f32 = multiply_f32,
    .multiply_adds = multiply_adds,
    .multiply_adds_each = OPERATIONS,
    .multiply_adds_i8 = multiply_adds_i8,
    .multiply_adds_i8_each = OPERATIONS_I8,
    .quantize_token = quantize_token,
    .token_bytes = token_bytes,
    .panel_bytes = panel_bytes,
    .pack_i8 = pack_i8,
    .multiply_i8 = SK_MULTIPLY_I8,
};
