#define SK_TABLE portable_kernels
#define SK_NAME "portable"
#include "kernels_body.h"

const sk_kernels *sk_kernels_portable(void) { return &portable_kernels; }

const sk_kernels *sk_kernels_best(void) {
    const sk_kernels *avx512 = sk_kernels_avx512(), *avx2 = sk_kernels_avx2();
    return avx512 ? avx512 : avx2 ? avx2 : &portable_kernels;
}

size_t sk_histogram_bin(const uint32_t *bins, uint64_t rank) {
    uint64_t total = 0;
    for (size_t bin = 0; bin < SK_HISTOGRAM_BINS; bin++) {
        total += bins[bin];
        if (total >= rank) return bin;
    }
    return SK_HISTOGRAM_BINS - 1;
}
