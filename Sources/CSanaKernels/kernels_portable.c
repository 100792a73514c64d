#define SK_TABLE portable_kernels
#define SK_NAME "portable"
#include "kernels_body.h"

const sk_kernels *sk_kernels_portable(void) { return &portable_kernels; }
