// Int8 products of vpmaddwd; avx2_body.h includes it behind kernels_body.h.

// Tokens whose sums a tile keeps in registers: 6 x 2 of the 16, beside two of weights.
enum { TILE_TOKENS = 6, BLOCK_TOKENS = 48 };

// Exact sums of `count` tokens with 16 rows: int8 weights widened to int16, pairs multiplied and
// added by vpmaddwd. With |q| <= 127 no pair overflows.
static inline __attribute__((always_inline)) void tile_i8(const int16_t *x, size_t pairs, int count,
                                                          const int8_t *block, int32_t *sums) {
    __m256i low[TILE_TOKENS], high[TILE_TOKENS];
    for (int t = 0; t < count; t++) low[t] = high[t] = _mm256_setzero_si256();
    for (size_t p = 0; p < pairs; p++) {
        const __m128i *w = (const __m128i *)(block + p * 2 * PACKED_ROWS);
        __m256i first = _mm256_cvtepi8_epi16(_mm_loadu_si128(w));
        __m256i second = _mm256_cvtepi8_epi16(_mm_loadu_si128(w + 1));
        for (int t = 0; t < count; t++) {
            int32_t pair;
            memcpy(&pair, x + ((size_t)t * pairs + p) * 2, sizeof pair);
            __m256i values = _mm256_set1_epi32(pair);
            low[t] = _mm256_add_epi32(low[t], _mm256_madd_epi16(first, values));
            high[t] = _mm256_add_epi32(high[t], _mm256_madd_epi16(second, values));
        }
    }
    for (int t = 0; t < count; t++) {
        _mm256_storeu_si256((__m256i *)(sums + t * PACKED_ROWS), low[t]);
        _mm256_storeu_si256((__m256i *)(sums + t * PACKED_ROWS + 8), high[t]);
    }
}

// A constant count lets the compiler keep the tile in registers.
static void tile_i8_of(const int16_t *x, size_t pairs, size_t count, const int8_t *block,
                       int32_t *sums) {
    switch (count) {
    case 1: tile_i8(x, pairs, 1, block, sums); break;
    case 2: tile_i8(x, pairs, 2, block, sums); break;
    case 3: tile_i8(x, pairs, 3, block, sums); break;
    case 4: tile_i8(x, pairs, 4, block, sums); break;
    case 5: tile_i8(x, pairs, 5, block, sums); break;
    default: tile_i8(x, pairs, TILE_TOKENS, block, sums);
    }
}

static void multiply_i8_avx2(const void *tokens, size_t count, size_t columns, const void *panel,
                             size_t rows, const float *token_scale, const float *row_scale,
                             const float *bias, float *y, size_t stride, const void *soon,
                             size_t soon_bytes) {
    const int16_t *x = tokens;
    const int8_t *packed = panel;
    size_t pairs = (columns + 1) / 2;
    fetched memory = fetched_by(parts(count, TILE_TOKENS) * parts(rows, PACKED_ROWS), soon,
                                soon_bytes);
    int32_t sums[TILE_TOKENS * PACKED_ROWS];
    for (size_t start = 0; start < count; start += BLOCK_TOKENS) {
        size_t end = count - start < BLOCK_TOKENS ? count : start + BLOCK_TOKENS;
        for (size_t first = 0; first < rows; first += PACKED_ROWS) {
            size_t width = rows - first < PACKED_ROWS ? rows - first : PACKED_ROWS;
            for (size_t token = start; token < end; token += TILE_TOKENS) {
                size_t height = end - token < TILE_TOKENS ? end - token : TILE_TOKENS;
                fetch_share(&memory);
                tile_i8_of(x + token * 2 * pairs, pairs, height, packed + first * 2 * pairs, sums);
                for (size_t t = 0; t < height; t++)
                    scale_sums(sums + t * PACKED_ROWS, width, token_scale[token + t],
                               row_scale + first, bias ? bias + first : NULL,
                               y + (token + t) * stride + first);
            }
        }
    }
}

static int32_t multiply_adds_i8(size_t n) {
    __m256i sums[CHAINS_I8], factor = _mm256_set1_epi16(3);
    for (int c = 0; c < CHAINS_I8; c++) sums[c] = _mm256_set1_epi32(c);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS_I8; c++)
            sums[c] = _mm256_add_epi32(sums[c], _mm256_madd_epi16(sums[c], factor));
    for (int c = 1; c < CHAINS_I8; c++) sums[0] = _mm256_add_epi32(sums[0], sums[c]);
    return _mm256_extract_epi32(sums[0], 0);
}
