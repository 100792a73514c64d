// Rounding to bf16 and packing of words of two values for vdpbf16ps; avx512_body.h includes it.

#define SK_WORD(address) _mm512_castsi512_ps(_mm512_set1_epi32(*(const sk_word *)(address)))
#define SK_ADD_PAIRS(sums, word, weights)                                    \
    ((vector)_mm512_dpbf16_ps((__m512)(sums), (__m512bh)(__m512)(word), \
                              (__m512bh)(__m512)(weights)))

typedef int32_t __attribute__((may_alias, aligned(4))) sk_word;

// Of 2^-56: bf16 values below it, as their bits, become zero.
enum { SMALLEST_BITS = 0x2380 };

static size_t rounded_bytes(size_t columns) { return (columns + 1) / 2 * 4; }

static size_t rounded_panel_bytes(size_t rows, size_t columns) {
    return (rows + 31) / 32 * 32 * rounded_bytes(columns);
}

// The lowest `count` bits, at most 32.
static inline uint32_t lowest(size_t count) {
    return count < 32 ? (1u << count) - 1 : 0xFFFFFFFFu;
}

static inline __m512 without_small(__m512 x) {
    __m512 magnitude = _mm512_abs_ps(x);
    // Not less than, which NaN is neither.
    __mmask16 keep = _mm512_cmp_ps_mask(magnitude, _mm512_set1_ps(0x1.0p-56f), _CMP_NLT_UQ);
    return _mm512_maskz_mov_ps(keep, x);
}

// Words of up to 32 floats, zeros behind them.
static inline __m512i rounded_words(const float *x, size_t count) {
    uint32_t mask = lowest(count);
    __m512 low = _mm512_maskz_loadu_ps((__mmask16)mask, x);
    __m512 high = _mm512_maskz_loadu_ps((__mmask16)(mask >> 16), x + 16);
    __m512bh pairs = _mm512_cvtne2ps_pbh(without_small(high), without_small(low));
    return _mm512_rol_epi32((__m512i)pairs, 16);
}

// The same of stored bf16 values.
static inline __m512i stored_words(const char *source, size_t count) {
    __m512i values = _mm512_maskz_loadu_epi16(lowest(count), source);
    __m512i magnitude = _mm512_and_si512(values, _mm512_set1_epi16(0x7FFF));
    __mmask32 keep = _mm512_cmpge_epu16_mask(magnitude, _mm512_set1_epi16(SMALLEST_BITS));
    return _mm512_rol_epi32(_mm512_maskz_mov_epi16(keep, values), 16);
}

static void round_tokens(const float *x, size_t stride, size_t tokens, size_t columns,
                         void *rounded) {
    char *target = rounded;
    for (size_t t = 0; t < tokens; t++, x += stride) {
        size_t c = 0;
        for (; c + 32 <= columns; c += 32, target += 64)
            _mm512_storeu_si512(target, rounded_words(x + c, 32));
        if (c == columns) continue;
        size_t words = (columns - c + 1) / 2;
        _mm512_mask_storeu_epi32(target, (__mmask16)lowest(words),
                                 rounded_words(x + c, columns - c));
        target += 4 * words;
    }
}

// Writes words of up to sixteen rows as columns, 32 rows apart.
static inline void put_words(__m512i rows[16], size_t words, char *target) {
    transpose_words(rows);
    for (size_t i = 0; i < words; i++) _mm512_storeu_si512(target + i * 128, rows[i]);
}

static inline __attribute__((always_inline)) void
pack_words(int stored, const char *weights, size_t rows, size_t columns, size_t stride,
           char *panel) {
    size_t bytes = stored ? 2 : 4, words = (columns + 1) / 2;
    for (size_t first = 0; first < (rows + 31) / 32 * 32; first += 16)
        for (size_t column = 0; column < columns; column += 32) {
            __m512i block[16];
            size_t count = columns - column < 32 ? columns - column : 32;
            for (size_t i = 0; i < 16; i++) {
                const char *source = weights + ((first + i) * stride + column) * bytes;
                block[i] = first + i >= rows ? _mm512_setzero_si512()
                           : stored          ? stored_words(source, count)
                                             : rounded_words((const float *)source, count);
            }
            put_words(block, (count + 1) / 2,
                      panel + (first / 32 * words + column / 2) * 128 + first % 32 * 4);
        }
}

static void pack_rounded_f32(const float *weights, size_t rows, size_t columns, size_t stride,
                             void *panel) {
    pack_words(0, (const char *)weights, rows, columns, stride, panel);
}

static void pack_rounded_bf16(const void *weights, size_t rows, size_t columns, size_t stride,
                              void *panel) {
    pack_words(1, weights, rows, columns, stride, panel);
}

// The upper halves of words of sixteen floats.
static inline __m512i rounded_halves(const float *x, __mmask16 mask) {
    __m256bh halves = _mm512_cvtneps_pbh(without_small(_mm512_maskz_loadu_ps(mask, x)));
    return _mm512_slli_epi32(_mm512_cvtepu16_epi32((__m256i)halves), 16);
}

static void pack_rounded_columns(const float *weights, size_t rows, size_t columns, size_t stride,
                                 void *panel) {
    char *target = panel;
    for (size_t first = 0; first < rows; first += 32)
        for (size_t column = 0; column < columns; column += 2)
            for (size_t half = first; half < first + 32; half += 16, target += 64) {
                __mmask16 mask = half < rows ? (__mmask16)lowest(rows - half) : 0;
                const float *source = weights + column * stride + half;
                __m512i words = rounded_halves(source, mask);
                if (column + 1 < columns)
                    words = _mm512_or_si512(
                        words, _mm512_srli_epi32(rounded_halves(source + stride, mask), 16));
                _mm512_storeu_si512(target, words);
            }
}

enum { CHAINS_BF16 = 28, OPERATIONS_BF16 = 2 * CHAINS_BF16 * 32 };

static float multiply_adds_bf16(size_t n) {
    __m512 sums[CHAINS_BF16];
    __m512bh x = (__m512bh)_mm512_set1_epi32(0x3F803F80), w = (__m512bh)_mm512_set1_epi32(0x3A003A00);
    for (int c = 0; c < CHAINS_BF16; c++) sums[c] = _mm512_set1_ps((float)(n + (size_t)c));
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS_BF16; c++) sums[c] = _mm512_dpbf16_ps(sums[c], x, w);
    for (int c = 1; c < CHAINS_BF16; c++) sums[0] = _mm512_add_ps(sums[0], sums[c]);
    return _mm512_reduce_add_ps(sums[0]);
}
