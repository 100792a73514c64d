#include "sana_kernels.h"

#if defined(__x86_64__)

// Headers first: their functions must not take the target attribute below.
#include <immintrin.h>
#include <math.h>
#include <string.h>

// Multiply and add are not contracted: a fused one would round once where the portable twin rounds
// twice.
#pragma clang attribute push( \
    __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,avx512bf16"))), apply_to = function)
#define SK_TABLE avx512bf16_kernels
#define SK_NAME "avx512bf16"
#define SK_HAS_OWN_BF16
#include "avx512_body.h"
#pragma clang attribute pop

const sk_kernels *sk_kernels_avx512bf16(void) {
    return sk_kernels_avx512() && __builtin_cpu_supports("avx512bf16") ? &avx512bf16_kernels : NULL;
}

#else

const sk_kernels *sk_kernels_avx512bf16(void) { return NULL; }

#endif
