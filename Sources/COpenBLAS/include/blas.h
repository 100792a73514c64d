#ifndef BLAS_H
#define BLAS_H

/// OpenBLAS, loaded when something is first multiplied with it: its start maps libraries and memory
/// that most commands never use, and where address space is short (`ulimit -v`) its allocator
/// retries without end.

/// Loads OpenBLAS, without threads of its own, and takes its memory for `callers` threads at once.
///
/// Returns NULL, or what is missing. Calls after the first that succeeded only take more memory.
const char *blas_prepare(int callers);

/// c = alpha · a · b + beta · c in rows, b transposed or not. Ends the process where OpenBLAS
/// cannot be loaded; so do the others.
void blas_sgemm(int transposes_b, int rows, int columns, int depth, float alpha, const float *a, int a_stride,
                const float *b, int b_stride, float beta, float *c, int c_stride);

/// The sum of magnitudes.
float blas_sasum(int count, const float *values);

/// Lets one call use several threads of OpenBLAS's own. With 1 they end: after every use they look
/// for work a tenth of a second long, each at a processor's full cost.
void blas_set_threads(int count);

/// The processor that OpenBLAS takes this one for.
const char *blas_core(void);

/// How OpenBLAS was built, such as "OpenBLAS 0.3.21 DYNAMIC_ARCH"; empty where it does not tell.
const char *blas_config(void);

/// The singular value decomposition a = left · diag(values) · right of a matrix in rows, which is
/// overwritten: with k = min(rows, columns), left is [rows, k], values [k] and right [k, columns],
/// the largest value first.
///
/// Returns 0; -1 where OpenBLAS has no LAPACK, -2 where memory is short, else what LAPACK's dgesdd
/// returns.
int blas_svd(int rows, int columns, double *a, double *values, double *left, double *right);

#endif
