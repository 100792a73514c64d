#include "sana_kernels.h"

#if defined(__x86_64__)

// Headers first: their functions must not take the target attribute below.
#include <math.h>
#include <string.h>

// No FMA: a fused multiply-add would round once where the portable twin rounds twice.
#pragma clang attribute push(__attribute__((target("avx2"))), apply_to = function)
#define SK_TABLE avx2_kernels
#define SK_NAME "avx2"
#include "kernels_body.h"
#pragma clang attribute pop

const sk_kernels *sk_kernels_avx2(void) {
    return __builtin_cpu_supports("avx2") ? &avx2_kernels : NULL;
}

#else

const sk_kernels *sk_kernels_avx2(void) { return NULL; }

#endif
