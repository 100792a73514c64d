// Which instruction set's kernels a process uses.
#include <string.h>

#include "sana_kernels.h"

const sk_kernels *sk_kernels_at(size_t index) {
    // The fastest first; NULL where the CPU, or the build, does not have the set.
    const sk_kernels *sets[] = {sk_kernels_avx512bf16(), sk_kernels_avx512(), sk_kernels_avxvnni(),
                                sk_kernels_avx2(),       sk_kernels_neoni8mm(),
                                sk_kernels_neondot(),    sk_kernels_neon(), sk_kernels_portable()};
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
