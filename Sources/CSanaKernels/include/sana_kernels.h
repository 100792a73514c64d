// The arithmetic between matrix products: conversions, norms, activations, softmax, depthwise
// convolution, statistics.
//
// Every kernel exists once per instruction set, compiled from one source (kernels_body.h) without
// contraction of multiply and add and with a fixed order of summation. All instruction sets
// therefore give the same bits.
//
// Rules that hold for all of them: `n` counts elements and may be 0; pointers need no alignment;
// inputs and outputs of equal length may be the same array, and do not overlap otherwise.
#ifndef SANA_KERNELS_H
#define SANA_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Sums over the elements compared so far; zero it first. NaN or infinite differences count in
/// `nonfinite` alone.
typedef struct {
    double squared_difference;  // sum of (a - r)^2
    double squared_reference;   // sum of r^2
    double squared_actual;      // sum of a^2
    double product;             // sum of a * r
    double max_difference;      // max |a - r|
    uint64_t nonfinite;         // elements where a or r is NaN or infinite
} sk_comparison;

/// Sums over the converted values measured so far; zero it first.
typedef struct {
    double squared_difference;  // sum of (a - r)^2
    double squared_reference;   // sum of r^2
    double max_difference;      // max |a - r|
    uint64_t changed;           // elements where a and r are not the same number
    uint64_t clipped;           // elements where |r| is above the limit
    uint64_t flushed;           // elements where a is zero and r is not
} sk_rounding;

typedef struct {
    /// "portable" or "avx2".
    const char *name;

    // Conversions. 16-bit values are raw little-endian bits at any address.
    void (*widen_bf16)(const void *source, float *target, size_t n);
    void (*widen_f16)(const void *source, float *target, size_t n);
    /// target = scale * source
    void (*widen_i8)(const int8_t *source, float scale, float *target, size_t n);
    /// Round to nearest even; NaN stays NaN; over 65504 becomes infinity.
    void (*narrow_f16)(const float *source, void *target, size_t n);
    void (*narrow_bf16)(const float *source, void *target, size_t n);
    /// Number of values that are not the same after narrow_f16 and widen_f16; NaN does not count.
    size_t (*inexact_f16)(const float *source, size_t n);
    /// target = clamp(round(source * inverse_scale), -127, 127), ties to even; source must be
    /// finite.
    void (*quantize_i8)(const float *source, float inverse_scale, int8_t *target, size_t n);
    /// max |x|; NaN where any element is NaN.
    float (*absolute_maximum)(const float *x, size_t n);

    // Norms of one row of n channels.
    /// y = (x - mean) / sqrt(variance + eps), population variance.
    void (*layer_norm)(const float *x, float *y, size_t n, float eps);
    /// y = x / sqrt(mean(x^2) + eps) * weight
    void (*rms_norm)(const float *x, const float *weight, float *y, size_t n, float eps);

    // Element-wise.
    /// x = x * (1 + scale) + shift
    void (*modulate)(float *x, const float *shift, const float *scale, size_t n);
    /// x = x * weight + bias
    void (*affine)(float *x, const float *weight, const float *bias, size_t n);
    /// y = y + x
    void (*add)(float *y, const float *x, size_t n);
    /// y = y + gate * x
    void (*add_gated)(float *y, const float *gate, const float *x, size_t n);
    /// x = x / divisor
    void (*divide)(float *x, float divisor, size_t n);
    /// x = clamp(x, -limit, limit); NaN stays NaN.
    void (*clip)(float *x, float limit, size_t n);
    void (*relu)(float *x, size_t n);
    /// x = x / (1 + exp(-x))
    void (*silu)(float *x, size_t n);
    /// Hendrycks & Gimpel's tanh approximation of GELU, as torch's approximate="tanh".
    void (*gelu_tanh)(float *x, size_t n);
    /// y = value * silu(gate)
    void (*gated_silu)(const float *value, const float *gate, float *y, size_t n);

    /// x = softmax(x * scale + bias) over n scores; bias may be NULL.
    void (*softmax)(float *x, const float *bias, float scale, size_t n);

    /// One output row of a 3x3 depthwise convolution, padding 1, channels last. above, row, below:
    /// [width, channels], above and below NULL outside the image; weight: [9, channels], taps
    /// row-major; bias, zeros: [channels], zeros all 0; y: [width, channels].
    void (*depthwise3x3_row)(const float *above, const float *row, const float *below, size_t width,
                             size_t channels, const float *weight, const float *bias,
                             const float *zeros, float *y);

    /// Adds the comparison of n elements to `sums`.
    void (*compare)(const float *actual, const float *reference, size_t n, sk_comparison *sums);
    /// Adds what conversion did to n elements to `sums`; values and limit must be finite.
    void (*measure_rounding)(const float *actual, const float *reference, float limit, size_t n,
                             sk_rounding *sums);
} sk_kernels;

/// Plain C for any processor.
const sk_kernels *sk_kernels_portable(void);

/// AVX2; NULL on processors without it and on other architectures.
const sk_kernels *sk_kernels_avx2(void);

/// The fastest set this processor runs.
const sk_kernels *sk_kernels_best(void);

#ifdef __cplusplus
}
#endif
#endif
