#include "sana_statistics.h"

#include <math.h>
#include <string.h>

#include "sana_kernels.h"

enum { LANES = 8 };

static uint32_t bits_of(float x) {
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    return bits;
}

static const uint32_t magnitude_mask = 0x7FFFFFFF, infinity_bits = 0x7F800000;
static const uint32_t largest_f16_bits = 0x477FE000;   // 65504
static const uint32_t smallest_f16_bits = 0x33800000;  // 2^-24

// Counts fit into 32 bits: a run is measured in blocks.
static void measure_block(const float *x, size_t n, uint32_t normal_bits, uint32_t *bins,
                          sk_values *result) {
    double sum[LANES] = {0}, squares[LANES] = {0};
    float minimum[LANES], maximum[LANES];
    uint32_t finite[LANES] = {0}, zeros[LANES] = {0}, nans[LANES] = {0}, subnormals[LANES] = {0};
    uint32_t over[LANES] = {0}, under[LANES] = {0};
    for (int lane = 0; lane < LANES; lane++) minimum[lane] = INFINITY, maximum[lane] = -INFINITY;
    for (size_t start = 0; start < n; start += LANES) {
        size_t lanes = n - start < LANES ? n - start : LANES;
        for (size_t lane = 0; lane < lanes; lane++) {
            float value = x[start + lane];
            uint32_t bits = bits_of(value), magnitude = bits & magnitude_mask;
            uint32_t is_finite = magnitude < infinity_bits;
            double number = is_finite ? (double)value : 0.0;
            sum[lane] += number;
            squares[lane] += number * number;
            minimum[lane] = is_finite && value < minimum[lane] ? value : minimum[lane];
            maximum[lane] = is_finite && value > maximum[lane] ? value : maximum[lane];
            finite[lane] += is_finite;
            zeros[lane] += magnitude == 0;
            nans[lane] += magnitude > infinity_bits;
            subnormals[lane] += (magnitude != 0) & (magnitude < normal_bits);
            over[lane] += is_finite & (magnitude > largest_f16_bits);
            under[lane] += (magnitude != 0) & (magnitude < smallest_f16_bits);
        }
        for (size_t lane = 0; lane < lanes; lane++) bins[bits_of(x[start + lane]) >> 18]++;
    }
    for (int lane = 0; lane < LANES; lane++) {
        result->sum += sum[lane];
        result->squares += squares[lane];
        if (minimum[lane] < result->minimum) result->minimum = minimum[lane];
        if (maximum[lane] > result->maximum) result->maximum = maximum[lane];
        result->finite += finite[lane];
        result->zeros += zeros[lane];
        result->nans += nans[lane];
        result->subnormals += subnormals[lane];
        result->over_f16 += over[lane];
        result->under_f16 += under[lane];
    }
}

sk_values sk_measure_values(const float *x, size_t n, float smallest_normal, uint32_t *bins) {
    sk_values result = {.minimum = INFINITY, .maximum = -INFINITY};
    const size_t block = (size_t)1 << 16;
    for (size_t start = 0; start < n; start += block) {
        size_t count = n - start < block ? n - start : block;
        measure_block(x + start, count, bits_of(smallest_normal), bins, &result);
    }
    result.infinities = n - result.finite - result.nans;
    return result;
}

size_t sk_histogram_bin(const uint32_t *bins, uint64_t rank) {
    uint64_t total = 0;
    for (size_t bin = 0; bin < SK_HISTOGRAM_BINS; bin++) {
        total += bins[bin];
        if (total >= rank) return bin;
    }
    return SK_HISTOGRAM_BINS - 1;
}
