// FROZEN. Never edit this file, not even to make it faster or to correct a typo.
//
// The latency gate judges a model's CPU time over that of this code, which runs on the same threads
// between the blocks of the same forward. A change here would shift every ratio that was ever
// recorded. The SHA-256 of this file is recorded with each run and pinned by a test; runs with
// another canary are another series. To change the canary, add a new file, and let the old go.
//
// The mix is that of a Sana transformer's forward: fp32 products whose operands stay in the caches of
// a core, fp32 products whose weights come from farther away, int8-like products, passes over
// activations, and the depthwise convolution. It uses neither OpenBLAS nor the product's kernels, and
// vectors of fixed width rather than loops that a compiler may or may not vectorize.

#include "sana_canary.h"

#include <stdint.h>
#include <string.h>

typedef float v8 __attribute__((vector_size(32), aligned(4)));
typedef uint16_t u16 __attribute__((vector_size(32), aligned(4)));

#define INLINE static inline __attribute__((always_inline))
#define SPLAT(x) ((v8){x, x, x, x, x, x, x, x})

// Everything is inlined: no vector is passed to a function.
#pragma clang diagnostic ignored "-Wpsabi"

enum {
    PRODUCTS = 18,
    TOKENS = 6,
    COLUMNS = 448,
    PANEL = COLUMNS * 16,
    NEAR_PANELS = 2,
    FAR_PANELS = 64,
    FAR_EACH = 0,
    PASS = 4096,
    PASSES = 4,
    SIDE = 16,
    CHANNELS = 16,
    FOLDS = 4
};

// The parts of one thread's memory, one after the other.
typedef struct {
    float *x;       // TOKENS x COLUMNS
    float *near;    // NEAR_PANELS panels, which stay in the second cache
    float *far;     // FAR_PANELS panels, which a forward drives out of it
    float *source;  // PASS activations, and what passes make of them
    float *target;
    float *plane;   // (SIDE + 2)^2 x CHANNELS, the border included
    float *folded;
} parts;

INLINE parts parts_of(float *memory) {
    parts p;
    p.x = memory;
    p.near = p.x + TOKENS * COLUMNS;
    p.far = p.near + NEAR_PANELS * PANEL;
    p.source = p.far + FAR_PANELS * PANEL;
    p.target = p.source + PASS;
    p.plane = p.target + PASS;
    p.folded = p.plane + PASS;
    return p;
}

void sc_fill(float *memory) {
    uint32_t state = 2410;
    for (size_t i = 0; i < SC_FLOATS; i++) {
        state = state * 1664525u + 1013904223u;
        memory[i] = (float)(int32_t)(state >> 8) / 16777216.0f - 0.5f;
    }
}

INLINE v8 multiply_add(v8 a, v8 b, v8 c, int fused) {
    return fused ? __builtin_elementwise_fma(a, b, c) : a * b + c;
}

// Six tokens by sixteen outputs: the tile of a product.
INLINE float product(const float *x, const float *panel, int fused) {
    v8 sums[TOKENS][2];
    for (int token = 0; token < TOKENS; token++) sums[token][0] = sums[token][1] = SPLAT(0);
    for (int column = 0; column < COLUMNS; column++) {
        v8 low = *(const v8 *)(panel + column * 16), high = *(const v8 *)(panel + column * 16 + 8);
#pragma clang loop unroll(full)
        for (int token = 0; token < TOKENS; token++) {
            float factor = x[token * COLUMNS + column];
            v8 value = SPLAT(factor);
            sums[token][0] = multiply_add(value, low, sums[token][0], fused);
            sums[token][1] = multiply_add(value, high, sums[token][1], fused);
        }
    }
    v8 all = SPLAT(0);
    for (int token = 0; token < TOKENS; token++) all += sums[token][0] + sums[token][1];
    return all[0] + all[7];
}

// Products of 16-bit lanes, as those of int8 weights are summed.
INLINE uint32_t small_product(const float *memory) {
    u16 sums[8];
    for (int chain = 0; chain < 8; chain++) sums[chain] = (u16){0};
    for (int repeat = 0; repeat < 8; repeat++)
        for (int start = 0; start < 2048; start += 64)
#pragma clang loop unroll(full)
            for (int chain = 0; chain < 8; chain++) {
                u16 value = *(const u16 *)(memory + start + 8 * chain);
                sums[chain] += value * (value + (uint16_t)repeat);
            }
    u16 all = sums[0];
    for (int chain = 1; chain < 8; chain++) all += sums[chain];
    return (uint32_t)all[0] + all[15];
}

// An activation with a gate: x / (1 + x^2), times its neighbour.
INLINE void pass(const float *source, float *target, size_t count) {
    for (size_t i = 0; i < count; i += 16) {
        v8 x = *(const v8 *)(source + i), gate = *(const v8 *)(source + i + 8);
        v8 y = x / (SPLAT(1) + x * x);
        *(v8 *)(target + i) = y * gate;
        *(v8 *)(target + i + 8) = y + gate;
    }
}

// A 3 x 3 stencil of each channel.
INLINE void depthwise(const float *plane, float *folded, int fused) {
    enum { ROW = (SIDE + 2) * CHANNELS };
    for (int y = 0; y < SIDE; y++)
        for (int x = 0; x < SIDE; x++)
            for (int channel = 0; channel < CHANNELS; channel += 8) {
                const float *corner = plane + y * ROW + x * CHANNELS + channel;
                v8 sum = SPLAT(0);
#pragma clang loop unroll(full)
                for (int i = 0; i < 3; i++)
#pragma clang loop unroll(full)
                    for (int j = 0; j < 3; j++) {
                        float tap = 0.1f + 0.01f * (float)(3 * i + j);
                        v8 weight = SPLAT(tap);
                        sum = multiply_add(
                            *(const v8 *)(corner + i * ROW + j * CHANNELS), weight, sum, fused);
                    }
                *(v8 *)(folded + (y * SIDE + x) * CHANNELS + channel) = sum;
            }
}

INLINE float run(float *memory, size_t start, size_t rounds, int fused) {
    parts p = parts_of(memory);
    float check = 0;
    uint32_t small = 0;
    for (size_t round = 0; round < rounds; round++) {
        size_t place = start + round;
        for (size_t panel = 0; panel < FAR_EACH; panel++)
            check += product(p.x, p.far + (FAR_EACH * place + panel) % FAR_PANELS * PANEL, fused);
        for (int panel = 0; panel < PRODUCTS - FAR_EACH; panel++)
            check += product(p.x, p.near + panel % NEAR_PANELS * PANEL, fused);
        small += small_product(p.near);
        for (int repeat = 0; repeat < PASSES; repeat++) pass(p.source, p.target, PASS);
        for (int repeat = 0; repeat < FOLDS; repeat++) depthwise(p.plane, p.folded, fused);
    }
    return check + (float)(small % 1024) + p.target[0] + p.folded[0];
}

static float run_portable(float *memory, size_t start, size_t rounds) {
    return run(memory, start, rounds, 0);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma")))
static float run_avx2(float *memory, size_t start, size_t rounds) {
    return run(memory, start, rounds, 1);
}
#endif

float sc_run(float *memory, size_t start, size_t rounds) {
#if defined(__x86_64__)
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return run_avx2(memory, start, rounds);
#endif
    return run_portable(memory, start, rounds);
}
