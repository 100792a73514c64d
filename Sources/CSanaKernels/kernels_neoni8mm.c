#include "sana_kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>
#include <string.h>
#include <sys/auxv.h>

#pragma clang attribute push(__attribute__((target("dotprod,i8mm"))), apply_to = function)
#define SK_TABLE neoni8mm_kernels
#define SK_NAME "neoni8mm"
// smmla multiplies two rows of eight values with two others.
#define SK_GROUP 8
#include "neon_body.h"
#pragma clang attribute pop

// HWCAP_ASIMDDP, HWCAP2_I8MM
const sk_kernels *sk_kernels_neoni8mm(void) {
    return (getauxval(AT_HWCAP) >> 20 & 1) && (getauxval(AT_HWCAP2) >> 13 & 1) ? &neoni8mm_kernels
                                                                              : NULL;
}

#else

const sk_kernels *sk_kernels_neoni8mm(void) { return NULL; }

#endif
