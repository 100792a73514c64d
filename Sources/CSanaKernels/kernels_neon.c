#include "sana_kernels.h"

#if defined(__aarch64__)

#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define SK_TABLE neon_kernels
#define SK_NAME "neon"
#define SK_VECTOR 4
#define SK_TILE_TOKENS 12
#define SK_FUSED 1
#include "kernels_body.h"

const sk_kernels *sk_kernels_neon(void) { return &neon_kernels; }

#else

const sk_kernels *sk_kernels_neon(void) { return NULL; }

#endif
