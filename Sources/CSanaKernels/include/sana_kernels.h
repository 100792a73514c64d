// The arithmetic of the forward and of conversion: matrix products, conversions, norms,
// activations, softmax, depthwise convolution, statistics.
//
// Every kernel exists once per instruction set, compiled from one source (kernels_body.h and
// what it includes) with a fixed order of summation; multiply and add are fused where the source
// says so and nowhere else. All instruction sets therefore give the same bits.
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

/// Sums over the elements compared so far; zero it first. Elements where a or r is NaN or infinite
/// enter `nonfinite` and, as an infinite difference, `max_difference`; no other sum.
typedef struct {
    double squared_difference;   // sum of (a - r)^2
    double squared_reference;    // sum of r^2
    double squared_actual;       // sum of a^2
    double product;              // sum of a * r
    double absolute_difference;  // sum of |a - r|
    double max_difference;       // max |a - r|
    double max_actual;           // max |a|
    double max_reference;        // max |r|
    uint64_t max_index;          // the first element with the largest difference
    uint64_t nonfinite;          // elements where a or r is NaN or infinite
    uint64_t count;              // elements compared
} sk_comparison;

/// Bins of difference_histogram.
enum { SK_HISTOGRAM_BINS = 1 << 15 };

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
    /// "portable", "avx2", "avxvnni", "avx512vnni", "avx512bf16", "neon", "neondot" or "neoni8mm".
    const char *name;
    /// Whether multiply_f32 runs on vectors; where not, a BLAS is faster.
    int multiplies_f32;

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
    /// The same of BF16 values.
    size_t (*inexact_f16_of_bf16)(const void *source, size_t n);
    /// max of the 16-bit values without their sign bits, which orders BF16 and FP16 by magnitude:
    /// finite, infinite, NaN.
    uint16_t (*largest_magnitude16)(const void *source, size_t n);
    /// target = clamp(round(source * inverse_scale), -127, 127), ties to even; source must be
    /// finite.
    void (*quantize_i8)(const float *source, float inverse_scale, int8_t *target, size_t n);
    /// Byte `plane` of every 16-bit value: 0 for the low ones, 1 for the high ones.
    void (*split_plane)(const void *source, int plane, uint8_t *target, size_t n);
    /// The 16-bit values whose low and high bytes these are.
    void (*join_planes)(const uint8_t *low, const uint8_t *high, void *target, size_t n);
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
    /// y = value * silu(gate); y may be one of the two.
    void (*gated_silu)(const float *value, const float *gate, float *y, size_t n);

    // Text encoders.
    /// y = y * x
    void (*multiply)(float *y, const float *x, size_t n);
    /// y = gelu_tanh(gate) * value; y may be one of the two.
    void (*gated_gelu)(const float *value, const float *gate, float *y, size_t n);
    /// x = cap * tanh(x * scale / cap)
    void (*soft_cap)(float *x, float scale, float cap, size_t n);
    /// Turns the pairs (x[i], x[pairs + i]) by the angles of these cosines and sines.
    void (*rotate)(float *x, const float *cosines, const float *sines, size_t pairs);

    /// x = softmax(x * scale + bias) over n scores; bias may be NULL.
    void (*softmax)(float *x, const float *bias, float scale, size_t n);

    /// One output row of a 3x3 depthwise convolution, padding 1, channels last, for `channels` of
    /// the `stride` there are. above, row, below: [width, stride], above and below NULL outside the
    /// image; weight: [9, stride], taps row-major; bias: [channels]; zeros: 32 of them; y: [width,
    /// y_stride].
    void (*depthwise3x3_row)(const float *above, const float *row, const float *below, size_t width,
                             size_t stride, size_t channels, const float *weight,
                             const float *bias, const float *zeros, float *y, size_t y_stride);

    // Pixels of images, n channels each.
    /// y = x / sqrt(mean(x^2) + eps) * weight + bias + residual; residual may be NULL.
    void (*rms_norm_add)(const float *x, const float *weight, const float *bias,
                         const float *residual, float *y, size_t n, float eps);
    /// y = max(x, least); NaN stays NaN.
    void (*at_least)(const float *x, const float *least, float *y, size_t n);
    /// GELU by the error function.
    void (*gelu)(float *x, size_t n);
    /// x = x * tanh(ln(1 + exp(x)))
    void (*mish)(float *x, size_t n);
    /// y[i] = y[i] + mean of x[index[i * group + j]] over j below group.
    void (*add_gathered)(float *y, const float *x, const int32_t *index, size_t group, size_t n);
    /// One output row of a depthwise convolution with an odd kernel, padded by half of it. lines:
    /// `kernel` rows [width, channels], NULL outside the image; weight: [kernel^2, channels], taps
    /// row-major; y: [width, channels].
    void (*depthwise_row)(const float *const *lines, size_t kernel, size_t width, size_t channels,
                          const float *weight, float *y);

    // 3x3 convolutions with padding 1 by squares of 2x2 output pixels.
    /// Sixteen matrices of `squares` from `first` on, `plane` floats apart, [squares, channels]
    /// each, to be multiplied with those of the weights. lines: the four rows [width, channels]
    /// from the one above the squares on, NULL outside the image; zeros: `channels` of them.
    void (*winograd_input)(const float *const *lines, size_t width, size_t channels, size_t first,
                           size_t squares, const float *zeros, float *y, size_t plane);
    /// The squares of such products plus bias, which may be NULL: pixels y_stride apart of two
    /// rows, of which the second may be NULL, `columns` pixels of each.
    void (*winograd_output)(const float *x, size_t plane, size_t squares, size_t channels,
                            const float *bias, float *const *lines, size_t columns,
                            size_t y_stride);
    /// The sixteen weights of each channel, `plane` floats apart, from taps [9, channels].
    void (*winograd_weights)(const float *taps, size_t channels, float *y, size_t plane);

    /// Adds the comparison of n elements to `sums`; runs of one tensor go in their order.
    void (*compare)(const float *actual, const float *reference, size_t n, sk_comparison *sums);
    /// Counts |a - r| in bins of 1/128 of an octave: bin b holds floats whose bits >> 16 are b.
    void (*difference_histogram)(const float *actual, const float *reference, size_t n,
                                 uint32_t *bins);
    /// Adds what conversion did to n elements to `sums`; values and limit must be finite.
    void (*measure_rounding)(const float *actual, const float *reference, float limit, size_t n,
                             sk_rounding *sums);

    // Products of fp32 matrices. Each sum is a chain of fused multiply-adds in the order of the
    // columns, broken into equal parts of at most 512, so that a token's result depends neither on
    // the instruction set nor on the other tokens.
    /// target[c * target_stride + r] = source[r * stride + c]
    void (*transpose)(const float *source, size_t rows, size_t columns, size_t stride,
                      float *target, size_t target_stride);
    /// Tokens whose sums with a block of a panel are kept in registers.
    size_t tile_tokens;
    /// Floats of a panel of weights.
    size_t (*panel_floats)(size_t rows, size_t columns);
    /// Packs weights [rows, columns], rows `stride` apart.
    void (*pack_f32)(const float *weights, size_t rows, size_t columns, size_t stride,
                     float *panel);
    /// The same for weights that are bf16, from any address.
    void (*pack_bf16)(const void *weights, size_t rows, size_t columns, size_t stride,
                      float *panel);
    /// Packs weights that lie transposed, [columns, rows], columns `stride` apart.
    void (*pack_columns_f32)(const float *weights, size_t rows, size_t columns, size_t stride,
                             float *panel);
    /// Columns, an even number, of each part: products of whole parts may be added up by
    /// multiply_add_f32 for the same sums.
    size_t (*chain_f32)(size_t columns);
    /// y[t, r] = sum over columns of x[t, c] * panel[r, c] + bias[r]; tokens of x and y lie their
    /// strides apart; bias may be NULL. `soon` is memory that the caller reads next: it is fetched
    /// into the cache meanwhile, so that no core waits for it; it may be NULL.
    void (*multiply_f32)(const float *x, size_t x_stride, size_t tokens, size_t columns,
                         const float *panel, size_t rows, const float *bias, float *y,
                         size_t y_stride, const void *soon, size_t soon_bytes);
    /// The same added to what is in y.
    void (*multiply_add_f32)(const float *x, size_t x_stride, size_t tokens, size_t columns,
                             const float *panel, size_t rows, float *y, size_t y_stride,
                             const void *soon, size_t soon_bytes);

    // Products of values rounded to bf16 with fp32 sums, which are chains as those of multiply_f32,
    // in parts of at most 2048. Values are rounded to nearest even, below 2^-56 to zero. How tokens
    // and panels lie in memory is each instruction set's own affair, but an even number of columns
    // takes as much of a token as it would alone, so windows of a row of pixels are tokens.
    /// Whether they are faster than those of fp32.
    int rounds_to_pairs;
    /// Bytes of a token, and of a panel.
    size_t (*rounded_bytes)(size_t columns);
    size_t (*rounded_panel_bytes)(size_t rows, size_t columns);
    /// Rounds tokens that lie `stride` floats apart; they become neighbours.
    void (*round_tokens)(const float *x, size_t stride, size_t tokens, size_t columns,
                         void *rounded);
    /// As pack_f32, pack_bf16 and pack_columns_f32.
    void (*pack_rounded_f32)(const float *weights, size_t rows, size_t columns, size_t stride,
                             void *panel);
    void (*pack_rounded_bf16)(const void *weights, size_t rows, size_t columns, size_t stride,
                              void *panel);
    void (*pack_rounded_columns)(const float *weights, size_t rows, size_t columns, size_t stride,
                                 void *panel);
    /// As chain_f32, multiply_f32 and multiply_add_f32; x_stride counts bytes.
    size_t (*chain_rounded)(size_t columns);
    void (*multiply_rounded)(const void *x, size_t x_stride, size_t tokens, size_t columns,
                             const void *panel, size_t rows, const float *bias, float *y,
                             size_t y_stride, const void *soon, size_t soon_bytes);
    void (*multiply_add_rounded)(const void *x, size_t x_stride, size_t tokens, size_t columns,
                                 const void *panel, size_t rows, float *y, size_t y_stride,
                                 const void *soon, size_t soon_bytes);

    /// `n` times so many operations as multiply_adds_each, on registers alone: what no product can
    /// beat. The result only keeps them from being left out.
    float (*multiply_adds)(size_t n);
    size_t multiply_adds_each;
    /// The same for those that multiply_rounded is made of.
    float (*multiply_adds_bf16)(size_t n);
    size_t multiply_adds_bf16_each;
    /// The same for those that multiply_i8 is made of.
    int32_t (*multiply_adds_i8)(size_t n);
    size_t multiply_adds_i8_each;

    // Products of int8 weights with int8 activations. Sums are exact in int32 up to 2^17 columns,
    // hence the same from every instruction set; how tokens and weights lie in memory is each
    // one's own affair.
    /// Bytes of a token, and of a panel of weights.
    size_t (*token_bytes)(size_t columns);
    size_t (*panel_bytes)(size_t rows, size_t columns);
    /// q = round(x * 127 / max|x|), ties to even. Returns the scale max|x| / 127: 0 (and q = 0)
    /// where it is too small to divide by, NaN (and q = 0) where x is not finite.
    float (*quantize_token)(const float *x, size_t columns, void *token);
    /// Packs weights [rows, columns] of -127...127.
    void (*pack_i8)(const int8_t *weights, size_t rows, size_t columns, void *panel);
    /// y[t * stride + r] = (sum over columns of tokens[t] * panel[r]) * token_scale[t] *
    /// row_scale[r] + bias[r]; bias may be NULL. `soon` as for multiply_f32.
    void (*multiply_i8)(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes);
} sk_kernels;

/// The bin that holds the value at `rank`, counted from 1, of a difference_histogram; the last bin
/// when there are fewer values.
size_t sk_histogram_bin(const uint32_t *bins, uint64_t rank);

/// Plain C for any processor.
const sk_kernels *sk_kernels_portable(void);

/// AVX2 with FMA; NULL on processors without it and on other architectures.
const sk_kernels *sk_kernels_avx2(void);

/// AVX2 with AVX-VNNI's int8 products of 256 bits, in the encoding of AVX-512 where a processor has
/// only that; NULL on processors without either and on other architectures.
const sk_kernels *sk_kernels_avxvnni(void);
const sk_kernels *sk_kernels_avxvnni_in_avx512(void);

/// AVX-512 with VNNI; NULL on processors without it and on other architectures.
const sk_kernels *sk_kernels_avx512(void);

/// The same with AVX512-BF16.
const sk_kernels *sk_kernels_avx512bf16(void);

/// NEON, with int8 products of its dot product extension, and of its matrix one; NULL on processors
/// without it and on other architectures.
const sk_kernels *sk_kernels_neon(void);
const sk_kernels *sk_kernels_neondot(void);
const sk_kernels *sk_kernels_neoni8mm(void);

/// The sets that this processor runs by number, the fastest first; NULL behind the last one.
const sk_kernels *sk_kernels_at(size_t index);

/// Makes the set of that name the best one. Returns 0 where this processor does not run it. Not
/// while other threads compute.
int sk_kernels_choose(const char *name);

/// The set that was chosen, else the fastest.
const sk_kernels *sk_kernels_best(void);

/// Tells the processor that the thread waits for another one's write.
static inline void sk_relax(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

#ifdef __cplusplus
}
#endif
#endif
