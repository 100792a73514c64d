// Passes over the pixels of channels-last images, compiled for each instruction set.
// Included by kernels_body.h.

static void rms_norm_add(const float *x, const float *weight, const float *bias,
                         const float *residual, float *y, size_t n, float eps) {
    float scale = 1.0f / sqrtf(squared_distance(x, 0.0f, n) / (float)n + eps);
    if (residual)
        for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * weight[i] + bias[i] + residual[i];
    else
        for (size_t i = 0; i < n; i++) y[i] = x[i] * scale * weight[i] + bias[i];
}

static void at_least(const float *x, const float *lower, float *y, size_t n) {
    for (size_t i = 0; i < n; i++) y[i] = x[i] < lower[i] ? lower[i] : x[i];
}

static void gelu(float *x, size_t n) {
    for (size_t i = 0; i < n; i++) x[i] = 0.5f * x[i] * (1.0f + erff(x[i] * 0.70710678118654752f));
}

// x * tanh(ln(1 + e^x)) by e = e^x: tanh is e (e + 2) / (e (e + 2) + 2), and 1 above 20.
static void mish(float *x, size_t n) {
    SK_TWO_AT_A_TIME
    for (size_t i = 0; i < n; i++) {
        float bounded = x[i] > 20.0f ? 20.0f : x[i];
        bounded = bounded < -87.0f ? -87.0f : bounded;
        float e = bounded_exponential(bounded);
        float product = e * (e + 2.0f);
        x[i] *= product / (product + 2.0f);
    }
}

static void add_gathered(float *y, const float *x, const int32_t *index, size_t group, size_t n) {
    if (group == 1) {
        for (size_t i = 0; i < n; i++) y[i] += x[index[i]];
        return;
    }
    for (size_t i = 0; i < n; i++) {
        float total = 0.0f;
        for (size_t j = 0; j < group; j++) total += x[index[i * group + j]];
        y[i] += total / (float)group;
    }
}

static inline __attribute__((always_inline)) void depthwise_block(
    const float *const *lines, size_t kernel, size_t width, size_t stride, size_t first,
    int channels, const float *weight, float *y) {
    size_t reach = kernel / 2;
    for (size_t x = 0; x < width; x++) {
        // Taps of columns that lie inside the image.
        size_t left = x < reach ? reach - x : 0;
        size_t right = width - x <= reach ? reach + width - x : kernel;
        float sums[DEPTHWISE_CHANNELS] = {0};
        for (size_t dy = 0; dy < kernel; dy++) {
            if (!lines[dy]) continue;
            for (size_t dx = left; dx < right; dx++) {
                const float *tap = lines[dy] + (x + dx - reach) * stride + first;
                const float *factor = weight + (dy * kernel + dx) * stride + first;
                for (int c = 0; c < channels; c++)
                    sums[c] = __builtin_fmaf(tap[c], factor[c], sums[c]);
            }
        }
        for (int c = 0; c < channels; c++) y[x * stride + first + c] = sums[c];
    }
}

static void depthwise_row(const float *const *lines, size_t kernel, size_t width, size_t channels,
                          const float *weight, float *y) {
    size_t first = 0;
    for (; first + DEPTHWISE_CHANNELS <= channels; first += DEPTHWISE_CHANNELS)
        depthwise_block(lines, kernel, width, channels, first, DEPTHWISE_CHANNELS, weight, y);
    if (first < channels)
        depthwise_block(lines, kernel, width, channels, first, (int)(channels - first), weight, y);
}
