#include "sana_kernels.h"

#if defined(__x86_64__)

// Headers first: their functions must not take the target attribute below.
#include <cpuid.h>
#include <immintrin.h>
#include <math.h>
#include <string.h>

// Multiply and add are not contracted: a fused one would round once where the portable twin rounds
// twice.
#pragma clang attribute push(__attribute__((target("avx2,fma,avxvnni"))), apply_to = function)
#define SK_TABLE avxvnni_kernels
#define SK_NAME "avxvnni"
#define SK_ADD_PRODUCTS(sums, bytes, signed_bytes) \
    _mm256_dpbusd_avx_epi32(sums, bytes, signed_bytes)
#include "avx2_body.h"
#pragma clang attribute pop

static int has_avxvnni(void) {
    unsigned a, b, c, d;
    return __get_cpuid_count(7, 1, &a, &b, &c, &d) && a >> 4 & 1;
}

const sk_kernels *sk_kernels_avxvnni(void) {
    return sk_kernels_avx2() && has_avxvnni() ? &avxvnni_kernels : sk_kernels_avxvnni_in_avx512();
}

#else

const sk_kernels *sk_kernels_avxvnni(void) { return NULL; }

#endif
