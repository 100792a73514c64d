// FROZEN. Never edit this file, not even to make it faster or to correct a typo.
//
// The latency gate judges a model's CPU time over that of this code, which runs on the same threads
// between the blocks of the same forward. A change here would shift every ratio that was ever
// recorded. The SHA-256 of this file is recorded with each run and pinned by a test; runs with
// another canary are another series. To change the canary, add a new file, and let the old go.
//
// A host slows different code by different factors: a neighbour on the other half of a core, or in
// the shared cache, costs code that keeps the multipliers busy far more than code that waits for
// itself. So the canary must use the processor as a forward does, or dividing by it leaves most of
// the noise. It is the same kinds of product, as tight: sums of all loops stay in registers (a
// script checks it), weights come from the second cache, activations from the third, in the
// proportions of a transformer's linear layers and attention. It uses neither OpenBLAS nor the
// product's kernels, and vectors of fixed width rather than loops that a compiler may or may not
// vectorize.

#include "sana_canary.h"

typedef float v8 __attribute__((vector_size(32), aligned(4)));

#define INLINE static inline __attribute__((always_inline))
#define SPLAT(x) ((v8){x, x, x, x, x, x, x, x})

// Everything is inlined: no vector is passed to a function.
#pragma clang diagnostic ignored "-Wpsabi"

enum {
    TILE = 6,      // tokens of a round
    TOKENS = 480,  // tokens that rounds take in turn
    WIDTH = 128,
    INNER = 640,
    KEYS = 304,
    DEPTH = 448,  // of products whose operands stay near
    NEAR = 32,
    NEARS = 4
};

// The parts of one thread's memory, one after the other.
typedef struct {
    float *tokens;   // TOKENS x WIDTH
    float *weights;  // WIDTH x INNER, in panels of 16 outputs
    float *inner;    // TOKENS x INNER
    float *mixed;    // TOKENS x WIDTH
    float *scores;   // TILE x KEYS
    float *near;     // TILE x DEPTH
    float *panels;   // DEPTH x NEAR, in panels of 16 outputs
    float *sums;     // TILE x NEAR
} parts;

enum {
    FLOATS = 2 * TOKENS * WIDTH + WIDTH * INNER + TOKENS * INNER + TILE * KEYS + TILE * DEPTH
        + DEPTH * NEAR + TILE * NEAR,
    MULTIPLY_ADDS = TILE * (WIDTH * INNER + 2 * WIDTH * KEYS + NEARS * DEPTH * NEAR)
};
_Static_assert(SC_FLOATS == FLOATS, "the header is frozen too");
_Static_assert(SC_ROUND_OPERATIONS == 2 * MULTIPLY_ADDS, "the header is frozen too");

INLINE parts parts_of(float *memory) {
    parts p;
    p.tokens = memory;
    p.weights = p.tokens + TOKENS * WIDTH;
    p.inner = p.weights + WIDTH * INNER;
    p.mixed = p.inner + TOKENS * INNER;
    p.scores = p.mixed + TOKENS * WIDTH;
    p.near = p.scores + TILE * KEYS;
    p.panels = p.near + TILE * DEPTH;
    p.sums = p.panels + DEPTH * NEAR;
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

// Six tokens of `depth` values times panels of sixteen outputs.
INLINE void product(
    const float *x, const float *panels, float *y, int depth, int outputs, int fused) {
    for (int output = 0; output < outputs; output += 16) {
        const float *panel = panels + output * depth;
        v8 sums[TILE][2];
#pragma clang loop unroll(full)
        for (int token = 0; token < TILE; token++) sums[token][0] = sums[token][1] = SPLAT(0);
        for (int column = 0; column < depth; column++) {
            v8 low = *(const v8 *)(panel + column * 16);
            v8 high = *(const v8 *)(panel + column * 16 + 8);
#pragma clang loop unroll(full)
            for (int token = 0; token < TILE; token++) {
                float factor = x[token * depth + column];
                v8 value = SPLAT(factor);
                sums[token][0] = multiply_add(value, low, sums[token][0], fused);
                sums[token][1] = multiply_add(value, high, sums[token][1], fused);
            }
        }
#pragma clang loop unroll(full)
        for (int token = 0; token < TILE; token++) {
            *(v8 *)(y + token * outputs + output) = sums[token][0];
            *(v8 *)(y + token * outputs + output + 8) = sums[token][1];
        }
    }
}

// A curve between 0 and 1 in the manner of an exponential: a polynomial and a division.
INLINE void weigh(float *scores, int count, int fused) {
    for (int i = 0; i < count; i += 8) {
        v8 x = *(v8 *)(scores + i);
        v8 y = multiply_add(x, SPLAT(0.00833f), SPLAT(0.04166f), fused);
        y = multiply_add(x, y, SPLAT(0.1666f), fused);
        y = multiply_add(x, y, SPLAT(0.5f), fused);
        y = multiply_add(x, y, SPLAT(1), fused);
        y = multiply_add(x, y, SPLAT(1), fused);
        *(v8 *)(scores + i) = y / (SPLAT(1) + y * y);
    }
}

INLINE float run(float *memory, size_t start, size_t rounds, int fused) {
    parts p = parts_of(memory);
    float check = 0;
    for (size_t round = 0; round < rounds; round++) {
        size_t token = (start + round) % (TOKENS / TILE) * TILE;
        const float *tokens = p.tokens + token * WIDTH;
        float *inner = p.inner + token * INNER, *mixed = p.mixed + token * WIDTH;
        product(tokens, p.weights, inner, WIDTH, INNER, fused);
        product(tokens, p.weights, p.scores, WIDTH, KEYS, fused);
        weigh(p.scores, TILE * KEYS, fused);
        product(p.scores, p.weights, mixed, KEYS, WIDTH, fused);
        for (int repeat = 0; repeat < NEARS; repeat++) {
            product(p.near, p.panels, p.sums, DEPTH, NEAR, fused);
            // So that each product needs the one before.
            p.near[repeat] = p.sums[repeat] / (1 + p.sums[repeat] * p.sums[repeat]);
        }
        check += inner[0] + mixed[WIDTH - 1] + p.near[0];
    }
    return check;
}

#if defined(__x86_64__)
static float run_portable(float *memory, size_t start, size_t rounds) {
    return run(memory, start, rounds, 0);
}

__attribute__((target("avx2,fma")))
static float run_avx2(float *memory, size_t start, size_t rounds) {
    return run(memory, start, rounds, 1);
}

float sc_run(float *memory, size_t start, size_t rounds) {
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma"))
        return run_avx2(memory, start, rounds);
    return run_portable(memory, start, rounds);
}
#else
float sc_run(float *memory, size_t start, size_t rounds) { return run(memory, start, rounds, 1); }
#endif
