// The int8 products that an instruction set defines itself, ahead of the table that kernels_body.h
// ends with.

#define SK_HAS_OWN_I8
#define SK_MULTIPLY_I8 multiply_i8

static int32_t multiply_adds_i8(size_t n);
static size_t token_bytes(size_t columns);
static size_t panel_bytes(size_t rows, size_t columns);
static float quantize_token(const float *x, size_t n, void *token);
static void pack_i8(const int8_t *weights, size_t rows, size_t columns, void *panel);
static void multiply_i8(const void *tokens, size_t count, size_t columns, const void *panel,
                        size_t rows, const float *token_scale, const float *row_scale,
                        const float *bias, float *y, size_t stride, const void *soon,
                        size_t soon_bytes);
