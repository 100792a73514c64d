#include "blas.h"

#include <dlfcn.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#ifdef __APPLE__
static const char library[] = "libopenblas.0.dylib";
#else
static const char library[] = "libopenblas.so.0";
#endif

/// What OpenBLAS maps for each caller, and what the libraries take, with room for what is allocated
/// beside them.
enum { BUFFER_MIB = 128, LIBRARY_MIB = 64, CALLERS = 64 };

enum { ROW_MAJOR = 101, AS_IS = 111, TRANSPOSED = 112 };

static struct {
    void (*sgemm)(int, int, int, int, int, int, float, const float *, int, const float *, int, float, float *, int);
    float (*sasum)(int, const float *, int);
    void (*set_threads)(int);
    char *(*core)(void);
    // Absent from very old builds.
    char *(*config)(void);
    // LAPACK, which some builds leave out. Characters of Fortran have hidden lengths behind the
    // others.
    void (*dgesdd)(const char *, const int *, const int *, double *, const int *, double *, double *, const int *,
                   double *, const int *, double *, const int *, int *, int *, size_t);
    // Absent from builds without threads of their own.
    int (*stop_threads)(void);
    void *(*take)(int);
    void (*give)(void *);
} blas;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static void *handle;
static int prepared;

/// Whether that much can still be mapped.
static int has_room(size_t mebibytes) {
    void *probe = mmap(NULL, mebibytes << 20, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED) return 0;
    munmap(probe, mebibytes << 20);
    return 1;
}

static const char *load(void) {
    // Started with one thread it maps no memory yet. Children get what was set.
    static const char variable[] = "OPENBLAS_NUM_THREADS";
    const char *old = getenv(variable);
    char *kept = old ? strdup(old) : NULL;
    setenv(variable, "1", 1);
    void *opened = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (kept) setenv(variable, kept, 1);
    else unsetenv(variable);
    free(kept);
    if (!opened) return "OpenBLAS (libopenblas.so.0) cannot be loaded";
    blas.sgemm = dlsym(opened, "cblas_sgemm");
    blas.sasum = dlsym(opened, "cblas_sasum");
    blas.set_threads = dlsym(opened, "openblas_set_num_threads");
    blas.core = dlsym(opened, "openblas_get_corename");
    blas.config = dlsym(opened, "openblas_get_config");
    blas.dgesdd = dlsym(opened, "dgesdd_");
    blas.stop_threads = dlsym(opened, "blas_thread_shutdown_");
    blas.take = dlsym(opened, "blas_memory_alloc");
    blas.give = dlsym(opened, "blas_memory_free");
    if (!blas.sgemm || !blas.sasum || !blas.set_threads || !blas.core)
        return "libopenblas.so.0 is not OpenBLAS";
    handle = opened;
    return NULL;
}

const char *blas_prepare(int callers) {
    if (callers < 1) callers = 1;
    if (callers > CALLERS) callers = CALLERS;
    pthread_mutex_lock(&lock);
    const char *problem = NULL;
    if (callers > prepared) {
        size_t room = (size_t)BUFFER_MIB * (size_t)(callers - prepared) + LIBRARY_MIB;
        if (!has_room(room)) problem = "not enough memory for OpenBLAS";
        else if (!handle) problem = load();
    }
    if (!problem && callers > prepared) {
        if (blas.take && blas.give) {
            void *buffers[CALLERS];
            for (int index = 0; index < callers; index++) buffers[index] = blas.take(0);
            for (int index = 0; index < callers; index++) blas.give(buffers[index]);
        }
        prepared = callers;
    }
    pthread_mutex_unlock(&lock);
    return problem;
}

/// For callers that nobody prepared for.
static void need(void) {
    if (__atomic_load_n(&prepared, __ATOMIC_ACQUIRE) > 0) return;
    const char *problem = blas_prepare(1);
    if (!problem) return;
    fprintf(stderr, "sana-tools: error: %s\n", problem);
    abort();
}

void blas_sgemm(int transposes_b, int rows, int columns, int depth, float alpha, const float *a, int a_stride,
                const float *b, int b_stride, float beta, float *c, int c_stride) {
    need();
    blas.sgemm(ROW_MAJOR, AS_IS, transposes_b ? TRANSPOSED : AS_IS, rows, columns, depth, alpha, a, a_stride, b,
               b_stride, beta, c, c_stride);
}

float blas_sasum(int count, const float *values) {
    need();
    return blas.sasum(count, values, 1);
}

void blas_set_threads(int count) {
    need();
    blas.set_threads(count);
    if (count == 1 && blas.stop_threads) blas.stop_threads();
}

const char *blas_core(void) {
    need();
    return blas.core();
}

const char *blas_config(void) {
    need();
    return blas.config ? blas.config() : "";
}

int blas_svd(int rows, int columns, double *a, double *values, double *left, double *right) {
    need();
    if (!blas.dgesdd) return -1;
    // Rows of ours are columns of Fortran's: it takes the transpose apart, left and right
    // exchanged.
    int rank = rows < columns ? rows : columns, status = 0, wanted = -1;
    double size = 0;
    int *integers = malloc((size_t)8 * (size_t)rank * sizeof(int));
    if (!integers) return -2;
    blas.dgesdd("S", &columns, &rows, a, &columns, values, right, &columns, left, &rank, &size, &wanted, integers,
                &status, 1);
    double *work = NULL;
    if (!status) {
        wanted = (int)size;
        work = malloc((size_t)wanted * sizeof(double));
        if (!work) status = -2;
    }
    if (work)
        blas.dgesdd("S", &columns, &rows, a, &columns, values, right, &columns, left, &rank, work, &wanted, integers,
                    &status, 1);
    free(work);
    free(integers);
    return status;
}
