#include <cblas.h>

// Where OpenBLAS has threads of its own; absent from its builds without.
int blas_thread_shutdown_(void) __attribute__((weak));

// Ends OpenBLAS's own threads. It starts them with the process and after every use of them they look for
// work a tenth of a second long, each at a processor's full cost. A call that may use several starts them
// again.
static inline void openblas_stop_threads(void) {
    openblas_set_num_threads(1);
    if (blas_thread_shutdown_) blas_thread_shutdown_();
}
