#define SK_TABLE portable_kernels
#define SK_NAME "portable"
#include "kernels_body.h"

const sk_kernels *sk_kernels_portable(void) { return &portable_kernels; }

const sk_kernels *sk_kernels_best(void) {
    const sk_kernels *avx2 = sk_kernels_avx2();
    return avx2 ? avx2 : &portable_kernels;
}
