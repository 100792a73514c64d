#include "sana_kernels.h"

#if defined(__x86_64__)

// Headers first: their functions must not take the target attribute below.
#include <immintrin.h>
#include <math.h>
#include <string.h>

// Multiply and add are not contracted: a fused one would round once where the portable twin rounds
// twice.
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni"))), apply_to = function)
#define SK_TABLE avx512_kernels
#define SK_NAME "avx512vnni"
#include "avx512_body.h"
#pragma clang attribute pop

const sk_kernels *sk_kernels_avx512(void) {
    int runs = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
               __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
               __builtin_cpu_supports("avx512vnni");
    return runs ? &avx512_kernels : NULL;
}

#else

const sk_kernels *sk_kernels_avx512(void) { return NULL; }

#endif
