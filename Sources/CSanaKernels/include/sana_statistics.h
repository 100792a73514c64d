// What the values of a tensor are like, in one pass.
#ifndef SANA_STATISTICS_H
#define SANA_STATISTICS_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// Bins by sign, exponent and the five highest digits of the mantissa: a float's bits >> 18.
enum { SK_VALUE_BINS = 1 << 14 };

/// Sums over the values of one run. NaN and infinity enter their counts and the bins only.
typedef struct {
    double sum;            // of finite values
    double squares;        // of finite values
    float minimum;         // of finite values; +infinity where there are none
    float maximum;         // of finite values; -infinity where there are none
    uint64_t finite;
    uint64_t zeros;
    uint64_t nans;
    uint64_t infinities;
    uint64_t subnormals;   // 0 < |x| < smallest_normal
    uint64_t over_f16;     // 65504 < |x| < infinity
    uint64_t under_f16;    // 0 < |x| < 2^-24
} sk_values;

/// Measures n values, in a fixed order of summation: the same bits from every processor.
///
/// `smallest_normal` is that of the type that stores them. `bins` (SK_VALUE_BINS) are added to.
sk_values sk_measure_values(const float *x, size_t n, float smallest_normal, uint32_t *bins);

#ifdef __cplusplus
}
#endif
#endif
