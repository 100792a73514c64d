// Conversions between float types, int8 and bytes, compiled for each instruction set.
// Included by kernels_body.h.

static void widen_bf16(const void *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = widened_bf16(source, i);
}

static inline float half_value(uint16_t half) {
    uint32_t word = (uint32_t)half << 16;
    uint32_t sign = word & 0x80000000u;
    uint32_t magnitude = word + word;
    // Normal numbers: shift the exponent into place and rebias it by a multiplication.
    float normal = as_float((magnitude >> 4) + (0xE0u << 23)) * 0x1.0p-112f;
    // Subnormal numbers: place the mantissa below 0.5 and subtract 0.5.
    float subnormal = as_float((magnitude >> 17) | (126u << 23)) - 0.5f;
    uint32_t bits = magnitude < (1u << 27) ? as_bits(subnormal) : as_bits(normal);
    return as_float(sign | bits);
}

static inline uint16_t half_bits(float value) {
    uint32_t bits = as_bits(value);
    uint32_t sign = bits >> 16 & 0x8000u;
    uint32_t magnitude = bits & 0x7FFFFFFFu;
    // Below 2^-14 adding 0.5 rounds to multiples of 2^-24; above, the mantissa is rounded to ten
    // bits.
    uint32_t subnormal = as_bits(as_float(magnitude) + 0.5f) - (126u << 23);
    uint32_t rounded = magnitude + 0xFFFu + (magnitude >> 13 & 1u);
    uint32_t normal = (rounded >> 13) - (112u << 10);
    uint32_t result = magnitude < (113u << 23) ? subnormal : normal;
    result = magnitude >= 0x477FF000u ? 0x7C00u : result;
    result = magnitude > 0x7F800000u ? 0x7E00u : result;
    return (uint16_t)(sign | result);
}

static void widen_f16(const void *source, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = half_value(load16(source, i));
}

static void widen_i8(const int8_t *source, float scale, float *target, size_t n) {
    for (size_t i = 0; i < n; i++) target[i] = (float)source[i] * scale;
}

static void narrow_f16(const float *source, void *target, size_t n) {
    for (size_t i = 0; i < n; i++) store16(target, i, half_bits(source[i]));
}

static size_t inexact_f16(const float *source, size_t n) {
    size_t total = 0;
    // Blocks keep the counter of each inner loop as narrow as the values, which lets it vectorise.
    for (size_t start = 0; start < n; start += 1 << 16) {
        size_t end = n - start < 1 << 16 ? n : start + (1 << 16);
        uint32_t count = 0;
        for (size_t i = start; i < end; i++) {
            float value = source[i];
            count += value == value && as_bits(half_value(half_bits(value))) != as_bits(value);
        }
        total += count;
    }
    return total;
}

static size_t inexact_f16_of_bf16(const void *source, size_t n) {
    size_t total = 0;
    for (size_t start = 0; start < n; start += 64) {
        size_t end = n - start < 64 ? n : start + 64;
        // All that lies from 2^-17 to 65280 is exact, and in weights there is little else.
        uint16_t outside = 0;
        for (size_t i = start; i < end; i++) {
            uint16_t magnitude = load16(source, i) & 0x7FFFu;
            outside |= (uint16_t)(magnitude - 0x3700u) > 0x477Fu - 0x3700u;
        }
        if (!outside) continue;
        for (size_t i = start; i < end; i++) {
            float value = as_float((uint32_t)load16(source, i) << 16);
            total += inexact_f16(&value, 1);
        }
    }
    return total;
}

static uint16_t largest_magnitude16(const void *source, size_t n) {
    uint16_t largest = 0;
    for (size_t i = 0; i < n; i++) {
        uint16_t magnitude = load16(source, i) & 0x7FFFu;
        largest = magnitude > largest ? magnitude : largest;
    }
    return largest;
}

static void narrow_bf16(const float *source, void *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        uint32_t bits = as_bits(source[i]);
        uint32_t rounded = (bits + 0x7FFFu + (bits >> 16 & 1u)) >> 16;
        uint32_t quiet = bits >> 16 | 0x40u;
        store16(target, i, (uint16_t)((bits & 0x7FFFFFFFu) > 0x7F800000u ? quiet : rounded));
    }
}

static void quantize_i8(const float *source, float inverse_scale, int8_t *target, size_t n) {
    for (size_t i = 0; i < n; i++) {
        float value = source[i] * inverse_scale;
        value = value < -127.0f ? -127.0f : value;
        value = value > 127.0f ? 127.0f : value;
        target[i] = (int8_t)rounded_integer(value + ROUNDER);
    }
}

static void split_plane(const void *source, int plane, uint8_t *target, size_t n) {
    int shift = 8 * plane;
    for (size_t i = 0; i < n; i++) target[i] = (uint8_t)(load16(source, i) >> shift);
}

static void join_planes(const uint8_t *low, const uint8_t *high, void *target, size_t n) {
    for (size_t i = 0; i < n; i++) store16(target, i, (uint16_t)(low[i] | high[i] << 8));
}
