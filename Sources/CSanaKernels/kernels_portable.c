#define SK_TABLE portable_kernels
#define SK_NAME "portable"
#include "kernels_body.h"

const sk_kernels *sk_kernels_portable(void) { return &portable_kernels; }

const sk_kernels *sk_kernels_at(size_t index) {
    const sk_kernels *sets[] = {sk_kernels_avx512bf16(), sk_kernels_avx512(), sk_kernels_avxvnni(),
                                sk_kernels_avx2(),       sk_kernels_neoni8mm(),
                                sk_kernels_neondot(),    sk_kernels_neon(), &portable_kernels};
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++)
        if (sets[i] && index-- == 0) return sets[i];
    return NULL;
}

static const sk_kernels *chosen;

int sk_kernels_choose(const char *name) {
    for (size_t i = 0; sk_kernels_at(i); i++)
        if (strcmp(sk_kernels_at(i)->name, name) == 0) {
            chosen = sk_kernels_at(i);
            return 1;
        }
    return 0;
}

const sk_kernels *sk_kernels_best(void) { return chosen ? chosen : sk_kernels_at(0); }

size_t sk_histogram_bin(const uint32_t *bins, uint64_t rank) {
    uint64_t total = 0;
    for (size_t bin = 0; bin < SK_HISTOGRAM_BINS; bin++) {
        total += bins[bin];
        if (total >= rank) return bin;
    }
    return SK_HISTOGRAM_BINS - 1;
}
