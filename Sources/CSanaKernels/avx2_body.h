// AVX2 with FMA, and with int8 products of bytes where SK_ADD_PRODUCTS is defined; kernels_avx2.c
// and those of AVX-VNNI include it.

#define SK_VECTOR 8
#define SK_TILE_TOKENS 6
#define SK_FUSED 1
#define SK_TRANSPOSE(source, stride, target, target_stride) \
    transpose_f32(source, stride, target, target_stride)
#define SK_WIDEN_PAIRS(source, stride, target, target_stride) \
    widen_pairs(source, stride, target, target_stride)

#ifdef SK_ADD_PRODUCTS
// Sums that a tile keeps in registers, beside two blocks of weights and the values: 6 x 2 of
// the 16.
enum { TILE_TOKENS = 6, CHAINS_I8 = 12 };

#define SK_WORDS __m256i
#define SK_ZERO_WORDS() _mm256_setzero_si256()
#define SK_SAME_WORDS(word) _mm256_set1_epi32(word)
#define SK_SAME_BYTES(byte) _mm256_set1_epi8(byte)
#define SK_LOAD_WORDS(address) _mm256_loadu_si256(address)
#define SK_STORE_WORDS(address, words) _mm256_storeu_si256(address, words)
#include "vnni_declarations.h"
#else
#define SK_MULTIPLY_I8 multiply_i8_avx2

// vpmaddwd multiplies sixteen pairs of int16 and adds neighbours.
enum { CHAINS_I8 = 12, OPERATIONS_I8 = 2 * CHAINS_I8 * 16 };

// Declared ahead of the table that the shared source ends with.
static int32_t multiply_adds_i8(size_t n);
static void multiply_i8_avx2(const void *tokens, size_t count, size_t columns, const void *panel,
                             size_t rows, const float *token_scale, const float *row_scale,
                             const float *bias, float *y, size_t stride, const void *soon,
                             size_t soon_bytes);
#endif

// The 8 x 8 matrix of 32-bit words in `rows`, transposed.
static inline __attribute__((always_inline)) void transpose_words(__m256i rows[8]) {
    __m256i pairs[8], quads[8];
    for (int i = 0; i < 8; i += 2) {
        pairs[i] = _mm256_unpacklo_epi32(rows[i], rows[i + 1]);
        pairs[i + 1] = _mm256_unpackhi_epi32(rows[i], rows[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int j = 0; j < 2; j++) {
            quads[i + 2 * j] = _mm256_unpacklo_epi64(pairs[i + j], pairs[i + j + 2]);
            quads[i + 2 * j + 1] = _mm256_unpackhi_epi64(pairs[i + j], pairs[i + j + 2]);
        }
    for (int i = 0; i < 4; i++) {
        rows[i] = _mm256_permute2x128_si256(quads[i], quads[4 + i], 0x20);
        rows[4 + i] = _mm256_permute2x128_si256(quads[i], quads[4 + i], 0x31);
    }
}

// Eight rows of eight floats to eight columns.
static inline void transpose_f32(const float *source, size_t stride, float *target,
                                 size_t target_stride) {
    __m256i rows[8];
    for (int i = 0; i < 8; i++)
        rows[i] = _mm256_loadu_si256((const __m256i *)(source + (size_t)i * stride));
    transpose_words(rows);
    for (int i = 0; i < 8; i++)
        _mm256_storeu_si256((__m256i *)(target + (size_t)i * target_stride), rows[i]);
}

// Eight rows of sixteen bf16 values, `stride` bytes apart, to sixteen columns of fp32: words of two
// values are transposed, which moves half as much as their fp32 ones.
static inline void widen_pairs(const char *source, size_t stride, float *target,
                               size_t target_stride) {
    const __m256i upper = _mm256_set1_epi32((int)0xFFFF0000u);
    __m256i rows[8];
    for (int i = 0; i < 8; i++)
        rows[i] = _mm256_loadu_si256((const __m256i *)(source + (size_t)i * stride));
    transpose_words(rows);
    for (int i = 0; i < 8; i++, target += 2 * target_stride) {
        _mm256_storeu_si256((__m256i *)target, _mm256_slli_epi32(rows[i], 16));
        _mm256_storeu_si256((__m256i *)(target + target_stride),
                            _mm256_and_si256(rows[i], upper));
    }
}

#include "kernels_body.h"
#ifdef SK_ADD_PRODUCTS
#include "vnni_int8_products_body.h"
#else
#include "avx2_int8_products_body.h"
#endif
