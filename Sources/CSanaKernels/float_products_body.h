// Products of fp32 matrices, compiled for each instruction set. Included by kernels_body.h.
//
// Each sum is a chain of fused multiply-adds over at most SUM_COLUMNS columns in their order, and
// the chains of longer rows are added in theirs. That order does not depend on vectors, tiles or
// neighbours: all instruction sets give the same bits, and a token's result is its own.
//
// An instruction set defines SK_VECTOR, the floats of a vector, SK_TILE_TOKENS, the tokens of a
// tile, and may define SK_TRANSPOSE(source, stride, target, target_stride) for a square block of
// SK_VECTOR rows, SK_WIDEN_PAIRS(source, stride, target, target_stride) for one of SK_VECTOR rows
// of twice as many bf16 values. SK_WORD(address) broadcasts a word of two bf16 values, and
// SK_ADD_PAIRS(sums, word, weights) adds to each sum two products, that of the upper halves first.

#ifndef SK_VECTOR
#define SK_VECTOR 4
#define SK_TILE_TOKENS 4
#define SK_FUSED 0
#endif

// Rows (output channels) that stand side by side in a panel: [columns][PANEL_ROWS].
enum { PANEL_ROWS = 2 * SK_VECTOR, SUM_COLUMNS = 512 };

// Bytes and floats of a cache line, and floats after which lines of the first cache share a place.
enum { LINE_BYTES = 64, LINE = LINE_BYTES / 4, PLACES = 4096 / 4 };

typedef float vector __attribute__((vector_size(4 * SK_VECTOR), aligned(4)));

static inline size_t least(size_t a, size_t b) { return a < b ? a : b; }

static inline size_t parts(size_t whole, size_t part) { return (whole + part - 1) / part; }

// Memory that is fetched into the second cache, a share of it for each of some tiles.
typedef struct {
    const char *next, *end;
    size_t share;
} fetched;

static inline fetched fetched_by(size_t tiles, const void *soon, size_t bytes) {
    return (fetched){soon, (const char *)soon + bytes, tiles ? bytes / tiles + LINE_BYTES : 0};
}

static inline void fetch_share(fetched *memory) {
    for (size_t done = 0; done < memory->share && memory->next < memory->end; done += LINE_BYTES) {
        __builtin_prefetch(memory->next, 0, 2);
        memory->next += LINE_BYTES;
    }
}

// What a tile fetches into the second cache, as the first one holds the tile at work: a line for
// each of its columns, since a core waits where it asks for many at once. Lines from `soon` on, and
// tokens of the next tile.
typedef struct {
    const float *tokens;
    size_t stride;
    const char *soon;
    size_t lines;
} ahead;

// Not with 16 registers, as AVX2 has: the addresses would drive sums to the stack.
enum { FETCHES_TOKENS = SK_TILE_TOKENS > 8 };

// A tile's share of memory; lines that it has no columns for are fetched at once.
static inline ahead ahead_of(const float *tokens, size_t stride, fetched *memory, size_t columns) {
    const char *start = memory->next, *end = memory->end;
    size_t left = (size_t)(end - start);
    size_t lines = parts(least(left, memory->share), LINE_BYTES);
    while (lines > columns) {
        __builtin_prefetch(start, 0, 2);
        start += LINE_BYTES;
        lines--;
    }
    memory->next = left > lines * LINE_BYTES ? start + lines * LINE_BYTES : end;
    return (ahead){tokens, stride, start, lines};
}

// Columns summed in one chain: equal shares of at most `most`, in whole pairs.
static inline size_t chain_columns(size_t columns, size_t most) {
    size_t chains = parts(columns, most);
    return chains ? parts(parts(columns, chains), 2) * 2 : 2;
}

static inline size_t padded_rows(size_t rows) {
    return parts(rows, PANEL_ROWS) * PANEL_ROWS;
}

static size_t panel_floats(size_t rows, size_t columns) { return padded_rows(rows) * columns; }

#ifndef SK_TRANSPOSE
#define SK_TRANSPOSE(source, stride, target, target_stride) \
    transpose_part(source, SK_VECTOR, SK_VECTOR, stride, target, target_stride)
#endif

static inline void transpose_part(const float *source, size_t rows, size_t columns, size_t stride,
                                  float *target, size_t target_stride) {
    for (size_t row = 0; row < rows; row++)
        for (size_t column = 0; column < columns; column++)
            target[column * target_stride + row] = source[row * stride + column];
}

static void transpose(const float *source, size_t rows, size_t columns, size_t stride,
                      float *target, size_t target_stride) {
    size_t height = rows / SK_VECTOR * SK_VECTOR, width = columns / SK_VECTOR * SK_VECTOR;
    for (size_t row = 0; row < height; row += SK_VECTOR)
        for (size_t column = 0; column < width; column += SK_VECTOR)
            SK_TRANSPOSE(source + row * stride + column, stride,
                         target + column * target_stride + row, target_stride);
    transpose_part(source + width, height, columns - width, stride, target + width * target_stride,
                   target_stride);
    transpose_part(source + height * stride, rows - height, columns, stride, target + height,
                   target_stride);
}

// Rows [rows, columns], `stride` apart, to [columns][PANEL_ROWS]; what is left of the width is 0.
static void pack_block(const float *weights, size_t rows, size_t columns, size_t stride,
                       float *panel) {
    if (rows < PANEL_ROWS) memset(panel, 0, columns * PANEL_ROWS * sizeof *panel);
    transpose(weights, rows, columns, stride, panel, PANEL_ROWS);
}

static void pack_f32(const float *weights, size_t rows, size_t columns, size_t stride,
                     float *panel) {
    for (size_t first = 0; first < rows; first += PANEL_ROWS)
        pack_block(weights + first * stride, least(PANEL_ROWS, rows - first), columns, stride,
                   panel + first * columns);
}

// Values of bf16 to the panel of their fp32 ones.
static void pack_bf16(const void *weights, size_t rows, size_t columns, size_t stride,
                      float *panel) {
    const char *source = weights;
    if (rows % PANEL_ROWS) {
        size_t last = rows / PANEL_ROWS * PANEL_ROWS;
        memset(panel + last * columns, 0, columns * PANEL_ROWS * sizeof *panel);
    }
    for (size_t first = 0; first < rows; first += SK_VECTOR) {
        float *block = panel + first / PANEL_ROWS * PANEL_ROWS * columns + first % PANEL_ROWS;
        size_t height = least(SK_VECTOR, rows - first), column = 0;
#ifdef SK_WIDEN_PAIRS
        for (; height == SK_VECTOR && column + 2 * SK_VECTOR <= columns; column += 2 * SK_VECTOR)
            SK_WIDEN_PAIRS(source + 2 * (first * stride + column), 2 * stride,
                           block + column * PANEL_ROWS, PANEL_ROWS);
#endif
        for (; column < columns; column++)
            for (size_t row = 0; row < height; row++)
                block[column * PANEL_ROWS + row] =
                    widened_bf16(source, (first + row) * stride + column);
    }
}

static void pack_columns_f32(const float *weights, size_t rows, size_t columns, size_t stride,
                             float *panel) {
    for (size_t first = 0; first < rows; first += PANEL_ROWS) {
        size_t width = least(PANEL_ROWS, rows - first);
        for (size_t column = 0; column < columns; column++, panel += PANEL_ROWS) {
            const float *source = weights + column * stride + first;
            if (width == PANEL_ROWS) {
                memcpy(panel, source, PANEL_ROWS * sizeof *panel);
            } else {
                memcpy(panel, source, width * sizeof *panel);
                memset(panel + width, 0, (PANEL_ROWS - width) * sizeof *panel);
            }
        }
    }
}

#ifndef SK_ADD_PAIRS
#define SK_WORD(address) ((vector){0})
#define SK_ADD_PAIRS(sums, word, weights) (sums)
#endif

// What tokens and panels are made of: fp32 values, or words of two bf16 values.
enum { FLOATS, PAIRS };

static inline __attribute__((always_inline)) void
fetch_tokens(ahead next, size_t column, int height) {
    if (FETCHES_TOKENS)
        __builtin_prefetch(next.tokens + least(column % LINE, (size_t)height - 1) * next.stride
                               + column / LINE * LINE, 0, 2);
}

// Adds the products of a column to the sums of a tile.
static inline __attribute__((always_inline)) void
add_column(int kind, const float *x, size_t x_stride, int height, int vectors, const float *panel,
           vector sums[][2]) {
    vector weights[2];
#pragma clang loop unroll(full)
    for (int v = 0; v < vectors; v++) weights[v] = *(const vector *)(panel + v * SK_VECTOR);
#pragma clang loop unroll(full)
    for (int t = 0; t < height; t++) {
        const float *place = x + (size_t)t * x_stride;
        vector value = kind == PAIRS ? SK_WORD(place) : *place - (vector){0};
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++)
            sums[t][v] = kind == PAIRS ? SK_ADD_PAIRS(sums[t][v], value, weights[v])
                                       : __builtin_elementwise_fma(value, weights[v], sums[t][v]);
    }
}

// y = base + x * panel for `height` tokens and `vectors` of the panel's two; base is NULL for 0,
// else base_stride apart. What the processor does not foresee is fetched meanwhile: the rows of y,
// and what comes next.
static inline __attribute__((always_inline)) void
tile(int kind, const float *x, size_t x_stride, size_t columns, int height, int vectors,
     const float *panel, const float *base, size_t base_stride, float *y, size_t y_stride,
     ahead next) {
    vector sums[SK_TILE_TOKENS][2];
#pragma clang loop unroll(full)
    for (int t = 0; t < height; t++)
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) {
            sums[t][v] = (vector){0};
            __builtin_prefetch(y + (size_t)t * y_stride + v * SK_VECTOR, 1);
        }
    size_t k = 0, lines = kind == FLOATS ? least(columns, next.lines) : 0;
    const char *soon = next.soon;
#pragma clang loop unroll(disable)
    for (; k < lines; k++, panel += PANEL_ROWS, soon += LINE_BYTES) {
        __builtin_prefetch(soon, 0, 2);
        fetch_tokens(next, k, height);
        add_column(kind, x + k, x_stride, height, vectors, panel, sums);
    }
#pragma clang loop unroll(disable)
    for (; k < columns; k++, panel += PANEL_ROWS) {
        fetch_tokens(next, k, height);
        add_column(kind, x + k, x_stride, height, vectors, panel, sums);
    }
#pragma clang loop unroll(full)
    for (int t = 0; t < height; t++)
#pragma clang loop unroll(full)
        for (int v = 0; v < vectors; v++) {
            vector sum = sums[t][v];
            if (base) sum += *(const vector *)(base + (size_t)t * base_stride + v * SK_VECTOR);
            *(vector *)(y + (size_t)t * y_stride + v * SK_VECTOR) = sum;
        }
}

// Constant counts let the compiler keep the tile in registers: powers of two and the whole tile
// cover every number of tokens.
static void column(int kind, const float *x, size_t x_stride, size_t columns, size_t tokens,
                   int vectors, const float *panel, const float *base, size_t base_stride, float *y,
                   size_t y_stride, ahead next) {
#define SK_TILE_OF(kind, height, vectors) \
    tile(kind, x, x_stride, columns, height, vectors, panel, base, base_stride, y, y_stride, next)
#define SK_TILE(height)                                                                   \
    do {                                                                                  \
        if (kind == PAIRS)                                                                \
            vectors == 2 ? SK_TILE_OF(PAIRS, height, 2) : SK_TILE_OF(PAIRS, height, 1);   \
        else                                                                              \
            vectors == 2 ? SK_TILE_OF(FLOATS, height, 2) : SK_TILE_OF(FLOATS, height, 1); \
        x += height * x_stride;                                                           \
        y += height * y_stride;                                                           \
        if (base) base += height * base_stride;                                           \
        tokens -= height;                                                                 \
        next.lines = 0;                                                                   \
    } while (0)
    while (tokens >= SK_TILE_TOKENS) SK_TILE(SK_TILE_TOKENS);
#if SK_TILE_TOKENS > 8
    if (tokens >= 8) SK_TILE(8);
#endif
    if (tokens >= 4) SK_TILE(4);
    if (tokens >= 2) SK_TILE(2);
    if (tokens) SK_TILE(1);
#undef SK_TILE
#undef SK_TILE_OF
}

// The block of a panel that is not full, by way of memory with room for whole vectors.
static void narrow(int kind, const float *x, size_t x_stride, size_t columns, size_t tokens,
                   size_t rows, const float *panel, const float *base, size_t base_stride, float *y,
                   size_t y_stride, ahead next) {
    float sums[SK_TILE_TOKENS * PANEL_ROWS];
    column(kind, x, x_stride, columns, tokens, rows > SK_VECTOR ? 2 : 1, panel, NULL, 0, sums,
           PANEL_ROWS, next);
    for (size_t t = 0; t < tokens; t++)
        for (size_t r = 0; r < rows; r++) {
            float sum = sums[t * PANEL_ROWS + r];
            y[t * y_stride + r] = base ? sum + base[t * base_stride + r] : sum;
        }
}

// y = base + x * panel; base is NULL for 0, else its tokens lie base_stride apart. `chain` of the
// columns, which are pairs where tokens are made of them, are summed at a time.
static inline void product(int kind, const float *x, size_t x_stride, size_t tokens, size_t columns,
                           size_t chain, const float *panel, size_t rows, const float *base,
                           size_t base_stride, float *y, size_t y_stride, const void *soon,
                           size_t soon_bytes) {
    fetched memory = fetched_by(
        parts(columns, chain) * parts(tokens, SK_TILE_TOKENS) * parts(rows, PANEL_ROWS), soon,
        soon_bytes);
    // Tokens whose columns share a few lines of the first cache are multiplied from copies.
    enum { MOST_COPIED = 1024, APART = MOST_COPIED + LINE };
    float copies[SK_TILE_TOKENS * APART];
    int copied = x_stride && x_stride % PLACES == 0 && chain <= MOST_COPIED;
    // A product without columns still writes the base.
    for (size_t start = 0; start == 0 || start < columns; start += chain) {
        size_t count = least(chain, columns - start);
        for (size_t token = 0; token < tokens; token += SK_TILE_TOKENS) {
            size_t height = least(SK_TILE_TOKENS, tokens - token);
            const float *source = x + token * x_stride + start, *values = source;
            size_t stride = x_stride;
            if (copied) {
                for (size_t t = 0; t < height; t++)
                    memcpy(copies + t * APART, source + t * x_stride, count * sizeof *x);
                values = copies;
                stride = APART;
            }
            for (size_t first = 0; first < rows; first += PANEL_ROWS) {
                // Pairs leave a tile too little time for lines of its own.
                ahead next = ahead_of(source + height * x_stride, x_stride, &memory,
                                      kind == FLOATS ? count : 0);
                const float *block = panel + first * columns + start * PANEL_ROWS;
                float *target = y + token * y_stride + first;
                // The first chain starts from the base, others go on.
                const float *from = target;
                size_t from_stride = y_stride;
                if (!start) {
                    from = base ? base + token * base_stride + first : NULL;
                    from_stride = base_stride;
                }
                if (rows - first >= PANEL_ROWS)
                    column(kind, values, stride, count, height, 2, block, from, from_stride,
                           target, y_stride, next);
                else
                    narrow(kind, values, stride, count, height, rows - first, block, from,
                           from_stride, target, y_stride, next);
            }
        }
    }
}

static size_t chain_f32(size_t columns) { return chain_columns(columns, SUM_COLUMNS); }

static void multiply_f32(const float *x, size_t x_stride, size_t tokens, size_t columns,
                         const float *panel, size_t rows, const float *bias, float *y,
                         size_t y_stride, const void *soon, size_t soon_bytes) {
    product(FLOATS, x, x_stride, tokens, columns, chain_f32(columns), panel, rows, bias, 0, y, y_stride,
            soon, soon_bytes);
}

static void multiply_add_f32(const float *x, size_t x_stride, size_t tokens, size_t columns,
                             const float *panel, size_t rows, float *y, size_t y_stride,
                             const void *soon, size_t soon_bytes) {
    product(FLOATS, x, x_stride, tokens, columns, chain_f32(columns), panel, rows, y, y_stride, y, y_stride,
            soon, soon_bytes);
}

enum { CHAINS = 2 * SK_TILE_TOKENS, OPERATIONS = 2 * CHAINS * SK_VECTOR };

// Chains start from what the compiler cannot know: it drops one that it sees never to change.
static float multiply_adds(size_t n) {
    vector sums[CHAINS];
    for (int i = 0; i < CHAINS; i++) sums[i] = (vector){0} + (float)(n + (size_t)i);
    vector factor = (vector){0} + 0.999f, summand = (vector){0} + 1e-3f;
    for (size_t i = 0; i < n; i++)
        for (int c = 0; c < CHAINS; c++)
            sums[c] = __builtin_elementwise_fma(sums[c], factor, summand);
    vector total = sums[0];
    for (int c = 1; c < CHAINS; c++) total += sums[c];
    return total[0];
}
