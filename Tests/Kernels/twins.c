// Every set of kernels that this processor runs against the portable one, bit for bit; NaN equals
// NaN. `make test-aarch64` builds it for aarch64 and runs it under user-mode emulation.
//
// Arguments: names of sets that must be among them; `sha256` for the instructions of that hash.
#include "sana_hashes.h"
#include "sana_kernels.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint64_t state = 88172645463325252ull;

static uint32_t next(void) {
    state ^= state << 13, state ^= state >> 7, state ^= state << 17;
    return (uint32_t)(state >> 16);
}

static void *memory(size_t bytes) {
    void *result = calloc(1, bytes + 64);
    if (!result) exit(70);
    return result;
}

// Floats up to 1.5, and with `wild` of any bits among them.
static float *floats(size_t n, int wild) {
    float *x = memory(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        x[i] = ((float)(next() % 30001) - 15000.0f) / 10000.0f;
        uint32_t bits = next() ^ next() << 16;
        if (wild && next() % 7 == 0) memcpy(x + i, &bits, sizeof bits);
    }
    return x;
}

static int failures, comparisons;
static const sk_kernels *set;

static void same(const char *what, size_t n, const float *expected, const float *found) {
    comparisons++;
    for (size_t i = 0; i < n; i++) {
        if (isnan(expected[i]) && isnan(found[i])) continue;
        if (memcmp(expected + i, found + i, sizeof *found) == 0) continue;
        printf("%s: %s differs at %zu of %zu: %a, portable %a\n", set->name, what, i, n,
               (double)found[i], (double)expected[i]);
        failures++;
        return;
    }
}

// Runs the statement at the end with the kernels `k` and the result `y` of each set.
#define TWINS(what, count, ...)                                        \
    do {                                                               \
        size_t n_ = (count);                                           \
        const sk_kernels *k = sk_kernels_portable();                   \
        float *y = memory(n_ * sizeof *y), *expected = y;              \
        __VA_ARGS__;                                                   \
        k = set, y = memory(n_ * sizeof *y);                           \
        __VA_ARGS__;                                                   \
        same(what, n_, expected, y);                                   \
        free(y), free(expected);                                       \
    } while (0)

static void rows(size_t n) {
    float *x = floats(n, 1), *z = floats(n, 0), *w = floats(n, 0);
    uint16_t *half = memory(2 * n);
    for (size_t i = 0; i < n; i++) half[i] = (uint16_t)next();
    TWINS("widen_bf16", n, k->widen_bf16(half, y, n));
    TWINS("widen_f16", n, k->widen_f16(half, y, n));
    TWINS("narrow_bf16", n, (k->narrow_bf16(x, y, n), k->widen_bf16(memcpy(half, y, 2 * n), y, n)));
    TWINS("narrow_f16", n, (k->narrow_f16(x, y, n), k->widen_f16(memcpy(half, y, 2 * n), y, n)));
    TWINS("layer_norm", n, k->layer_norm(z, y, n, 1e-5f));
    TWINS("rms_norm", n, k->rms_norm(z, w, y, n, 1e-5f));
    TWINS("rms_norm_add", n, k->rms_norm_add(z, w, x, z, y, n, 1e-5f));
    TWINS("modulate", n, (memcpy(y, x, 4 * n), k->modulate(y, z, w, n)));
    TWINS("affine", n, (memcpy(y, x, 4 * n), k->affine(y, z, w, n)));
    TWINS("add_gated", n, (memcpy(y, x, 4 * n), k->add_gated(y, z, w, n)));
    TWINS("silu", n, (memcpy(y, x, 4 * n), k->silu(y, n)));
    TWINS("gelu_tanh", n, (memcpy(y, x, 4 * n), k->gelu_tanh(y, n)));
    TWINS("gelu", n, (memcpy(y, x, 4 * n), k->gelu(y, n)));
    TWINS("mish", n, (memcpy(y, x, 4 * n), k->mish(y, n)));
    TWINS("gated_silu", n, k->gated_silu(x, z, y, n));
    TWINS("gated_gelu", n, k->gated_gelu(x, z, y, n));
    TWINS("soft_cap", n, (memcpy(y, z, 4 * n), k->soft_cap(y, 0.7f, 5.0f, n)));
    TWINS("softmax", n, (memcpy(y, z, 4 * n), k->softmax(y, w, 3.0f, n)));
    TWINS("clip", n, (memcpy(y, x, 4 * n), k->clip(y, 1.0f, n)));
    TWINS("relu", n, (memcpy(y, x, 4 * n), k->relu(y, n)));
    TWINS("absolute_maximum", 1, y[0] = k->absolute_maximum(x, n));
    free(x), free(z), free(w), free(half);
}

static void images(size_t width, size_t channels) {
    size_t n = width * channels;
    float *x = floats(4 * n, 1), *w = floats(25 * channels, 0), *zeros = memory(4 * channels + 256);
    const float *lines[5] = {NULL, x, x + n, x + 2 * n, x + 3 * n};
    TWINS("depthwise3x3_row", n,
          k->depthwise3x3_row(NULL, x, x + n, width, channels, channels, w, w + 9 * channels, zeros,
                              y, channels));
    TWINS("depthwise_row", n, k->depthwise_row(lines, 5, width, channels, w, y));
    size_t squares = (width + 1) / 2, plane = squares * channels;
    TWINS("winograd_input", 16 * plane,
          k->winograd_input(lines, width, channels, 0, squares, zeros, y, plane));
    float *products = floats(16 * plane, 0);
    TWINS("winograd_output", 2 * n, {
        float *const targets[2] = {y, y + n};
        k->winograd_output(products, plane, squares, channels, w, targets, width, channels);
    });
    TWINS("winograd_weights", 16 * channels, k->winograd_weights(w, channels, y, channels));
    free(x), free(w), free(zeros), free(products);
}

static void products(size_t tokens, size_t columns, size_t rows, int wild) {
    size_t stride = columns + 3, out = rows + 3;
    float *x = floats(tokens * stride, wild), *w = floats(rows * stride + columns * rows, wild);
    float *bias = floats(rows, 0);
    uint16_t *half = memory(2 * rows * stride);
    sk_kernels_portable()->narrow_bf16(w, half, rows * stride);
    for (int kind = 0; kind < 3; kind++) {
        TWINS("multiply_f32", tokens * out, {
            float *panel = memory(4 * k->panel_floats(rows, columns));
            if (kind == 0) k->pack_f32(w, rows, columns, stride, panel);
            if (kind == 1) k->pack_bf16(half, rows, columns, stride, panel);
            if (kind == 2) k->pack_columns_f32(w, rows, columns, rows, panel);
            k->multiply_f32(x, stride, tokens, columns, panel, rows, kind ? bias : NULL, y, out, x,
                            64);
            k->multiply_add_f32(x, stride, tokens, columns, panel, rows, y, out, panel, 64);
            free(panel);
        });
        TWINS("multiply_rounded", tokens * out, {
            void *panel = memory(k->rounded_panel_bytes(rows, columns));
            size_t bytes = k->rounded_bytes(columns);
            void *rounded = memory(tokens * bytes);
            k->round_tokens(x, stride, tokens, columns, rounded);
            if (kind == 0) k->pack_rounded_f32(w, rows, columns, stride, panel);
            if (kind == 1) k->pack_rounded_bf16(half, rows, columns, stride, panel);
            if (kind == 2) k->pack_rounded_columns(w, rows, columns, rows, panel);
            k->multiply_rounded(rounded, bytes, tokens, columns, panel, rows, kind ? bias : NULL, y,
                                out, x, 64);
            k->multiply_add_rounded(rounded, bytes, tokens, columns, panel, rows, y, out, panel, 64);
            free(panel), free(rounded);
        });
    }
    int8_t *q = memory(rows * columns);
    for (size_t i = 0; i < rows * columns; i++) q[i] = (int8_t)(next() % 255) - 127;
    TWINS("multiply_i8", tokens * out, {
        void *panel = memory(k->panel_bytes(rows, columns));
        size_t bytes = k->token_bytes(columns);
        char *rounded = memory(tokens * bytes);
        float *scales = memory(4 * tokens);
        for (size_t t = 0; t < tokens; t++)
            scales[t] = k->quantize_token(x + t * stride, columns, rounded + t * bytes);
        k->pack_i8(q, rows, columns, panel);
        k->multiply_i8(rounded, tokens, columns, panel, rows, scales, bias, bias, y, out, x, 64);
        free(panel), free(rounded), free(scales);
    });
    free(x), free(w), free(bias), free(half), free(q);
}

// Two streams, first apart and then together, against each of them whole by the portable hash.
static void hashes(size_t first, size_t second) {
    uint8_t *data = memory(first + second + 1), expected[2][32], digests[2][32];
    for (size_t i = 0; i < first + second; i++) data[i] = (uint8_t)next();
    const uint8_t *streams[] = {data, data + first};
    size_t counts[] = {first, second}, common = first < second ? first : second;
    sk_hash hash[2];
    for (int j = 0; j < 2; j++) {
        sk_hash_start(hash + j, SK_SHA256_PORTABLE);
        sk_hash_update(hash + j, streams[j], counts[j]);
        sk_hash_digest(hash + j, expected[j]);
        sk_hash_start(hash + j, SK_SHA256);
        sk_hash_update(hash + j, streams[j], counts[j] - common);
    }
    sk_hash_update_two(hash, streams[0] + first - common, hash + 1, streams[1] + second - common,
                       common);
    for (int j = 0; j < 2; j++) {
        sk_hash_digest(hash + j, digests[j]);
        comparisons++;
        if (memcmp(digests[j], expected[j], sizeof *digests) == 0) continue;
        printf("SHA-256 of %zu bytes with %zu differs\n", counts[j], counts[1 - j]);
        failures++;
    }
    free(data);
}

int main(int count, char **names) {
    int found = 1;
    sk_hash probe;
    sk_hash_start(&probe, SK_SHA256);
    // Without the instructions there is but one hash.
    if (probe.kind == SK_SHA256) {
        printf("sha256\n");
        for (int name = 1; name < count; name++) found += strcmp(names[name], "sha256") == 0;
        for (size_t first = 0; first < 200; first += 7)
            for (size_t second = 0; second < 1000; second += 61) hashes(first, second);
    }
    for (size_t i = 0; (set = sk_kernels_at(i)); i++) {
        for (int name = 1; name < count; name++) found += strcmp(names[name], set->name) == 0;
        if (set == sk_kernels_portable()) continue;
        printf("%s\n", set->name);
        static const size_t lengths[] = {1, 3, 7, 8, 15, 17, 33, 100, 1152};
        for (size_t n = 0; n < sizeof lengths / sizeof *lengths; n++) rows(lengths[n]);
        images(1, 5), images(7, 33), images(16, 64);
        static const size_t shapes[][3] = {{1, 1, 1},     {5, 2, 7},    {14, 64, 32}, {15, 63, 33},
                                           {29, 511, 31}, {3, 513, 64}, {4, 1025, 40}, {3, 4095, 33}, {12, 33, 96},
                                           {31, 1021, 40}, {17, 2048, 40}};
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (int wild = 0; wild < 2; wild++)
                products(shapes[s][0], shapes[s][1], shapes[s][2], wild);
    }
    if (found < count) printf("not all of the sets asked for run here\n");
    printf("%d comparisons, %d failures\n", comparisons, failures);
    return failures || found < count || !comparisons;
}
