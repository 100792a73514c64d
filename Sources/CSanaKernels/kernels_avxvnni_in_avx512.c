#include "sana_kernels.h"

#if defined(__x86_64__)

// Headers first: their functions must not take the target attribute below.
#include <immintrin.h>
#include <math.h>
#include <string.h>

// Multiply and add are not contracted: a fused one would round once where the portable twin rounds
// twice.
// The same vectors in the encoding of AVX-512, whose processors came first: what AVX-VNNI computes
// can be tested and measured on them.
#pragma clang attribute push(__attribute__((target("avx2,fma,avx512vl,avx512vnni,prefer-256-bit"))), \
                             apply_to = function)
#define SK_TABLE avxvnni_in_avx512_kernels
#define SK_NAME "avxvnni"
#define SK_ADD_PRODUCTS(sums, bytes, signed_bytes) _mm256_dpbusd_epi32(sums, bytes, signed_bytes)
#include "avx2_body.h"
#pragma clang attribute pop

const sk_kernels *sk_kernels_avxvnni_in_avx512(void) {
    return sk_kernels_avx512() ? &avxvnni_in_avx512_kernels : NULL;
}

#else

const sk_kernels *sk_kernels_avxvnni_in_avx512(void) { return NULL; }

#endif
