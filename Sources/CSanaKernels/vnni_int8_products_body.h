// Int8 products of vpdpbusd on vectors of SK_VECTOR words; avx2_body.h and avx512_body.h include it
// behind kernels_body.h.

static inline size_t padded(size_t columns) { return parts(columns, GROUP) * GROUP; }

static size_t token_bytes(size_t columns) { return padded(columns) + sizeof(int32_t); }

static size_t panel_bytes(size_t rows, size_t columns) {
    return parts(rows, PACKED_ROWS) * PACKED_ROWS * padded(columns);
}

static float quantize_token(const float *x, size_t n, void *token) {
    int8_t *q = token;
    int32_t sum = 0;
    float inverse, scale = token_scale_of(x, n, &inverse);
    memset(q + n, 0, padded(n) - n);
    if (inverse == 0.0f) {
        memset(q, 0, n);
    } else {
        for (size_t i = 0; i < n; i++) {
            int32_t value = token_value(x[i], inverse);
            q[i] = (int8_t)value;
            sum += value;
        }
    }
    memcpy(q + padded(n), &sum, sizeof sum);
    return scale;
}

static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel) {
    uint8_t *packed = panel;
    const SK_WORDS sign = SK_SAME_BYTES(-128);
    const size_t step = SK_VECTOR * GROUP;
    for (size_t first = 0; first < rows; first += PACKED_ROWS) {
        size_t column = 0;
        // As many groups of a whole block as it has rows: a vector of each of them.
        if (first + PACKED_ROWS <= rows)
            for (; column + step <= columns; column += step) {
                SK_WORDS block[SK_VECTOR];
                for (int i = 0; i < SK_VECTOR; i++)
                    block[i] = SK_LOAD_WORDS(
                        (const SK_WORDS *)(weights + (first + (size_t)i) * columns + column));
                transpose_words(block);
                for (int i = 0; i < SK_VECTOR; i++, packed += PACKED_ROWS * GROUP)
                    SK_STORE_WORDS((SK_WORDS *)packed, block[i] ^ sign);
            }
        for (; column < padded(columns); column += GROUP)
            for (size_t row = first; row < first + PACKED_ROWS; row++)
                for (size_t k = column; k < column + GROUP; k++)
                    *packed++ = row < rows && k < columns
                                    ? (uint8_t)(weights[row * columns + k] + 128)
                                    : 0;
    }
}

// Exact sums of `height` tokens with `blocks` times SK_VECTOR rows. As in tile, the rows of y that
// they become and the tokens of the next tile are fetched meanwhile.
static inline __attribute__((always_inline)) void tile_i8(const int8_t *x, size_t bytes,
                                                          size_t columns, int height, int blocks,
                                                          const uint8_t *panel, int32_t *sums,
                                                          const float *y, size_t stride) {
    SK_WORDS tile[TILE_TOKENS][TILE_BLOCKS];
    size_t block_bytes = columns * PACKED_ROWS;
    for (int t = 0; t < height; t++)
        for (int b = 0; b < blocks; b++) {
            tile[t][b] = SK_ZERO_WORDS();
            __builtin_prefetch(y + (size_t)t * stride + b * PACKED_ROWS, 1);
        }
    const int8_t *next = x + (size_t)height * bytes;
    for (size_t k = 0; k < columns; k += GROUP) {
        SK_WORDS weights[TILE_BLOCKS];
        for (int b = 0; b < blocks; b++)
            weights[b] = SK_LOAD_WORDS(
                (const SK_WORDS *)(panel + (size_t)b * block_bytes + k * PACKED_ROWS));
        size_t row = k / GROUP % 16;
        __builtin_prefetch(next + (row < (size_t)height ? row : 0) * bytes + k / 64 * 64);
        for (int t = 0; t < height; t++) {
            int32_t group;
            memcpy(&group, x + (size_t)t * bytes + k, sizeof group);
            SK_WORDS values = SK_SAME_WORDS(group);
            for (int b = 0; b < blocks; b++)
                tile[t][b] = SK_ADD_PRODUCTS(tile[t][b], weights[b], values);
        }
    }
    for (int t = 0; t < height; t++) {
        int32_t sum;
        memcpy(&sum, x + (size_t)t * bytes + columns, sizeof sum);
        uint32_t offset = (uint32_t)sum * 128u;
        int32_t *target = sums + t * TILE_BLOCKS * PACKED_ROWS;
        for (int b = 0; b < blocks; b++)
            SK_STORE_WORDS((SK_WORDS *)(target + b * PACKED_ROWS), tile[t][b]);
        for (int r = 0; r < blocks * PACKED_ROWS; r++)
            target[r] = (int32_t)((uint32_t)target[r] - offset);
    }
}

// Constant counts let the compiler keep the tile in registers.
static void tile_i8_of(const int8_t *x, size_t bytes, size_t columns, size_t height, size_t blocks,
                       const uint8_t *panel, int32_t *sums, const float *y, size_t stride) {
    if (height == TILE_TOKENS && blocks == TILE_BLOCKS) {
        tile_i8(x, bytes, columns, TILE_TOKENS, TILE_BLOCKS, panel, sums, y, stride);
        return;
    }
    for (; height; height--, x += bytes, sums += TILE_BLOCKS * PACKED_ROWS, y += stride)
        if (blocks == TILE_BLOCKS)
            tile_i8(x, bytes, columns, 1, TILE_BLOCKS, panel, sums, y, stride);
        else
            tile_i8(x, bytes, columns, 1, 1, panel, sums, y, stride);
}

static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes) {
    const int8_t *x = tokens;
    size_t bytes = token_bytes(columns), width = padded(columns);
    fetched memory = fetched_by(parts(count, TILE_TOKENS) * parts(rows, TILE_BLOCKS * PACKED_ROWS),
                                soon, soon_bytes);
    int32_t sums[TILE_TOKENS * TILE_BLOCKS * PACKED_ROWS];
    for (size_t start = 0; start < count; start += BLOCK_TOKENS) {
        size_t end = count - start < BLOCK_TOKENS ? count : start + BLOCK_TOKENS;
        for (size_t first = 0; first < rows; first += TILE_BLOCKS * PACKED_ROWS) {
            size_t left = rows - first;
            size_t channels = left < TILE_BLOCKS * PACKED_ROWS ? left : TILE_BLOCKS * PACKED_ROWS;
            size_t blocks = (channels + PACKED_ROWS - 1) / PACKED_ROWS;
            for (size_t token = start; token < end; token += TILE_TOKENS) {
                size_t height = end - token < TILE_TOKENS ? end - token : TILE_TOKENS;
                float *target = y + token * stride + first;
                fetch_share(&memory);
                tile_i8_of(x + token * bytes, bytes, width, height, blocks,
                           (const uint8_t *)panel + first * width, sums, target, stride);
                for (size_t t = 0; t < height; t++)
                    scale_sums(sums + t * TILE_BLOCKS * PACKED_ROWS, channels,
                               token_scale[token + t], row_scale + first,
                               bias ? bias + first : NULL, target + t * stride);
            }
        }
    }
}

static int32_t multiply_adds_i8(size_t n) {
    SK_WORDS sums[CHAINS_I8], weights = SK_SAME_BYTES(5), values = SK_SAME_BYTES(-3);
    for (int c = 0; c < CHAINS_I8; c++) sums[c] = SK_SAME_WORDS(c);
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS_I8; c++)
            sums[c] = SK_ADD_PRODUCTS(sums[c], weights, values);
    int32_t words[CHAINS_I8 * SK_VECTOR];
    for (int c = 0; c < CHAINS_I8; c++) SK_STORE_WORDS((SK_WORDS *)(words + c * SK_VECTOR), sums[c]);
    uint32_t total = 0;
    for (int i = 0; i < CHAINS_I8 * SK_VECTOR; i++) total += (uint32_t)words[i];
    return (int32_t)total;
}
