#include "sana_kernels.h"

#if defined(__x86_64__)

// Headers first: their functions must not take the target attribute below.
#include <immintrin.h>
#include <math.h>
#include <string.h>

// Multiply and add are not contracted: a fused one would round once where the portable twin rounds
// twice.
#pragma clang attribute push(__attribute__((target("avx2,fma"))), apply_to = function)
#define SK_TABLE avx2_kernels
#define SK_NAME "avx2"
#include "avx2_body.h"
#pragma clang attribute pop

const sk_kernels *sk_kernels_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") ? &avx2_kernels : NULL;
}

#else

const sk_kernels *sk_kernels_avx2(void) { return NULL; }

#endif
