// AVX-512 with VNNI, and with bf16 products where SK_HAS_OWN_BF16 is defined; kernels_avx512.c and
// kernels_avx512bf16.c include it.

#define SK_VECTOR 16
#define SK_TILE_TOKENS 14
#define SK_FUSED 1
#define SK_TRANSPOSE(source, stride, target, target_stride) \
    transpose_f32(source, stride, target, target_stride)
#define SK_WIDEN_PAIRS(source, stride, target, target_stride) \
    widen_pairs(source, stride, target, target_stride)

// Sums that a tile keeps in registers, beside two blocks of weights: 12 x 2 of the 32.
enum { TILE_TOKENS = 12, CHAINS_I8 = 24 };

#define SK_WORDS __m512i
#define SK_ZERO_WORDS() _mm512_setzero_si512()
#define SK_SAME_WORDS(word) _mm512_set1_epi32(word)
#define SK_SAME_BYTES(byte) _mm512_set1_epi8(byte)
#define SK_LOAD_WORDS(address) _mm512_loadu_si512(address)
#define SK_STORE_WORDS(address, words) _mm512_storeu_si512(address, words)
#define SK_ADD_PRODUCTS(sums, bytes, signed_bytes) _mm512_dpbusd_epi32(sums, bytes, signed_bytes)
#include "vnni_declarations.h"

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

// Sixteen rows of 32 bf16 values, `stride` bytes apart, to 32 columns of fp32: words of two values
// are transposed, which moves half as much as their fp32 ones.
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
#include "vnni_int8_products_body.h"
