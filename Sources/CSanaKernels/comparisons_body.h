// Comparisons of tensors and of what conversion did to them, compiled for each instruction set.
// Included by kernels_body.h.

// Eight elements: their sums, which elements differ most, and magnitudes.
typedef struct {
    double difference[DOUBLE_LANES], reference[DOUBLE_LANES], actual[DOUBLE_LANES],
        product[DOUBLE_LANES], absolute[DOUBLE_LANES], maximum[DOUBLE_LANES],
        max_actual[DOUBLE_LANES], max_reference[DOUBLE_LANES];
    uint64_t index[DOUBLE_LANES], nonfinite[DOUBLE_LANES];
} comparison_lanes;

static inline void compare_lane(float actual, float reference, uint64_t index, size_t j,
                                comparison_lanes *lanes) {
    uint32_t exponent = 0xFFu << 23;
    int finite = (as_bits(actual) & exponent) != exponent && (as_bits(reference) & exponent) != exponent;
    double a = finite ? (double)actual : 0.0, r = finite ? (double)reference : 0.0;
    double d = a - r, magnitude = finite ? fabs(d) : (double)INFINITY;
    lanes->difference[j] += d * d;
    lanes->reference[j] += r * r;
    lanes->actual[j] += a * a;
    lanes->product[j] += a * r;
    lanes->absolute[j] += fabs(d);
    lanes->index[j] = magnitude > lanes->maximum[j] ? index : lanes->index[j];
    lanes->maximum[j] = magnitude > lanes->maximum[j] ? magnitude : lanes->maximum[j];
    lanes->max_actual[j] = fabs(a) > lanes->max_actual[j] ? fabs(a) : lanes->max_actual[j];
    lanes->max_reference[j] = fabs(r) > lanes->max_reference[j] ? fabs(r) : lanes->max_reference[j];
    lanes->nonfinite[j] += finite ? 0 : 1;
}

static inline double larger(double a, double b) { return a > b ? a : b; }

static void compare(const float *actual, const float *reference, size_t n, sk_comparison *sums) {
    comparison_lanes lanes = {0};
    uint64_t first = sums->count;
    size_t i = 0;
    for (; i + DOUBLE_LANES <= n; i += DOUBLE_LANES)
        for (size_t j = 0; j < DOUBLE_LANES; j++)
            compare_lane(actual[i + j], reference[i + j], first + i + j, j, &lanes);
    for (size_t j = 0; i < n; i++, j++) compare_lane(actual[i], reference[i], first + i, j, &lanes);
    double maximum = 0;
    uint64_t index = UINT64_MAX;
    for (int j = 0; j < DOUBLE_LANES; j++) {
        sums->squared_difference += lanes.difference[j];
        sums->squared_reference += lanes.reference[j];
        sums->squared_actual += lanes.actual[j];
        sums->product += lanes.product[j];
        sums->absolute_difference += lanes.absolute[j];
        sums->max_actual = larger(lanes.max_actual[j], sums->max_actual);
        sums->max_reference = larger(lanes.max_reference[j], sums->max_reference);
        sums->nonfinite += lanes.nonfinite[j];
        int is_first = lanes.maximum[j] == maximum && lanes.index[j] < index;
        if (lanes.maximum[j] > maximum || is_first) {
            maximum = lanes.maximum[j];
            index = lanes.index[j];
        }
    }
    if (maximum > sums->max_difference) {
        sums->max_difference = maximum;
        sums->max_index = index;
    }
    sums->count += n;
}

static void difference_histogram(const float *actual, const float *reference, size_t n,
                                 uint32_t *bins) {
    for (size_t i = 0; i < n; i++) bins[(as_bits(actual[i] - reference[i]) & 0x7FFFFFFFu) >> 16]++;
}

// Eight elements: their errors in fp64, and their counters, which are as narrow as the values so
// that both are whole vectors.
typedef struct {
    double difference[DOUBLE_LANES], reference[DOUBLE_LANES], maximum[DOUBLE_LANES];
    uint32_t changed[DOUBLE_LANES], clipped[DOUBLE_LANES], flushed[DOUBLE_LANES];
} rounding_lanes;

static inline void measure_lane(float actual, float reference, uint32_t limit, int j,
                                rounding_lanes *lanes) {
    double r = reference, d = (double)actual - r, magnitude = fabs(d);
    lanes->difference[j] += d * d;
    lanes->reference[j] += r * r;
    lanes->maximum[j] = magnitude > lanes->maximum[j] ? magnitude : lanes->maximum[j];
    // Magnitudes order as integers; the shift drops the sign, so that both zeros are one number.
    uint32_t new = as_bits(actual) << 1, old = as_bits(reference) << 1;
    lanes->changed[j] += new != old;
    lanes->clipped[j] += old > limit;
    lanes->flushed[j] += new == 0 && old != 0;
}

static void measure_rounding(const float *actual, const float *reference, float limit, size_t n,
                             sk_rounding *sums) {
    uint32_t doubled = as_bits(limit) << 1;
    for (size_t start = 0; start < n; start += 1 << 16) {
        size_t end = n - start < 1 << 16 ? n : start + (1 << 16), i = start;
        rounding_lanes lanes = {0};
        for (; i + DOUBLE_LANES <= end; i += DOUBLE_LANES)
            for (int j = 0; j < DOUBLE_LANES; j++)
                measure_lane(actual[i + j], reference[i + j], doubled, j, &lanes);
        for (int j = 0; i < end; i++, j++)
            measure_lane(actual[i], reference[i], doubled, j, &lanes);
        for (int j = 0; j < DOUBLE_LANES; j++) {
            double maximum = lanes.maximum[j];
            sums->squared_difference += lanes.difference[j];
            sums->squared_reference += lanes.reference[j];
            sums->max_difference = maximum > sums->max_difference ? maximum : sums->max_difference;
            sums->changed += lanes.changed[j];
            sums->clipped += lanes.clipped[j];
            sums->flushed += lanes.flushed[j];
        }
    }
}
