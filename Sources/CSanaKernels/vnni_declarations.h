// What vnni_products_body.h defines, ahead of the table that kernels_body.h ends with.
//
// vpdpbusd multiplies unsigned bytes with signed ones. Weights stand in the panel with 128 added,
// [rows / SK_VECTOR][columns / 4][SK_VECTOR][4], and a token is its values padded with zeros to a
// multiple of four, then their sum, with which 128 times it is taken off again. Sums wrap around and
// come back.

#define SK_HAS_OWN_I8
#define SK_MULTIPLY_I8 multiply_i8

enum { PACKED_ROWS = SK_VECTOR, GROUP = 4, TILE_BLOCKS = 2, BLOCK_TOKENS = 8 * TILE_TOKENS };
enum { OPERATIONS_I8 = 2 * CHAINS_I8 * SK_VECTOR * GROUP };

static int32_t multiply_adds_i8(size_t n);
static size_t token_bytes(size_t columns);
static size_t panel_bytes(size_t rows, size_t columns);
static float quantize_token(const float *x, size_t n, void *token);
static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel);
static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes);
