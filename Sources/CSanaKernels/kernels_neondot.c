#include "sana_kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>
#include <string.h>
#include <sys/auxv.h>

#pragma clang attribute push(__attribute__((target("dotprod"))), apply_to = function)
#define SK_TABLE neondot_kernels
#define SK_NAME "neondot"
// sdot adds four products to each of four sums: a word of a token with those of four rows.
#define SK_GROUP 4
#include "neon_body.h"
#pragma clang attribute pop

// HWCAP_ASIMDDP
const sk_kernels *sk_kernels_neondot(void) {
    return getauxval(AT_HWCAP) >> 20 & 1 ? &neondot_kernels : NULL;
}

#else

const sk_kernels *sk_kernels_neondot(void) { return NULL; }

#endif
