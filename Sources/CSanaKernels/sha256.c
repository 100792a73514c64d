#include "sana_sha256.h"

#include <string.h>

static const uint32_t initial_state[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                          0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

void sk_sha256_start(sk_sha256 *hash) {
    memcpy(hash->state, initial_state, sizeof initial_state);
    hash->count = 0;
}

#if defined(__x86_64__)

#include <immintrin.h>

#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

int sk_sha256_is_supported(void) {
    // The compiler's own feature test does not know these instructions under every name.
    unsigned eax = 7, ebx, ecx = 0, edx;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return __builtin_cpu_supports("sse4.1") && (ebx >> 29 & 1);
}

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

// Whole blocks of one or two streams. `lanes` is a constant wherever this is inlined, so its loops
// unroll and the lanes' instructions interleave.
SHA_TARGET static inline __attribute__((always_inline)) void compress(
    int lanes, uint32_t *const states[], const uint8_t *const data[], size_t blocks) {
    const __m128i byte_order = _mm_set_epi64x(0x0c0d0e0f08090a0b, 0x0405060700010203);
    __m128i abef[2], cdgh[2], words[2][4];
    for (int j = 0; j < lanes; j++) {
        __m128i dcba = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)states[j]), 0xB1);
        __m128i hgfe = _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)states[j] + 1), 0x1B);
        abef[j] = _mm_alignr_epi8(dcba, hgfe, 8);
        cdgh[j] = _mm_blend_epi16(hgfe, dcba, 0xF0);
    }
    for (size_t block = 0; block < blocks; block++) {
        __m128i first[2], second[2];
        for (int j = 0; j < lanes; j++) {
            first[j] = abef[j];
            second[j] = cdgh[j];
            const __m128i *source = (const __m128i *)(data[j] + 64 * block);
            for (int i = 0; i < 4; i++)
                words[j][i] = _mm_shuffle_epi8(_mm_loadu_si128(source + i), byte_order);
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < 16; i++) {
            __m128i constants = _mm_loadu_si128((const __m128i *)(round_constants + 4 * i));
#pragma clang loop unroll(full)
            for (int j = 0; j < lanes; j++) {
                __m128i sum = _mm_add_epi32(words[j][i & 3], constants);
                cdgh[j] = _mm_sha256rnds2_epu32(cdgh[j], abef[j], sum);
                if (i >= 3 && i < 15) {
                    __m128i shifted = _mm_alignr_epi8(words[j][i & 3], words[j][(i + 3) & 3], 4);
                    __m128i next = _mm_add_epi32(words[j][(i + 1) & 3], shifted);
                    words[j][(i + 1) & 3] = _mm_sha256msg2_epu32(next, words[j][i & 3]);
                }
                abef[j] = _mm_sha256rnds2_epu32(abef[j], cdgh[j], _mm_shuffle_epi32(sum, 0x0E));
                if (i >= 1 && i < 13)
                    words[j][(i + 3) & 3] =
                        _mm_sha256msg1_epu32(words[j][(i + 3) & 3], words[j][i & 3]);
            }
        }
        for (int j = 0; j < lanes; j++) {
            abef[j] = _mm_add_epi32(abef[j], first[j]);
            cdgh[j] = _mm_add_epi32(cdgh[j], second[j]);
        }
    }
    for (int j = 0; j < lanes; j++) {
        __m128i feba = _mm_shuffle_epi32(abef[j], 0x1B);
        __m128i dchg = _mm_shuffle_epi32(cdgh[j], 0xB1);
        _mm_storeu_si128((__m128i *)states[j], _mm_blend_epi16(feba, dchg, 0xF0));
        _mm_storeu_si128((__m128i *)states[j] + 1, _mm_alignr_epi8(dchg, feba, 8));
    }
}

SHA_TARGET static void compress_one(uint32_t *state, const uint8_t *data, size_t blocks) {
    uint32_t *const states[] = {state};
    const uint8_t *const streams[] = {data};
    compress(1, states, streams, blocks);
}

SHA_TARGET static void compress_two(uint32_t *state_a, const uint8_t *data_a, uint32_t *state_b,
                                    const uint8_t *data_b, size_t blocks) {
    uint32_t *const states[] = {state_a, state_b};
    const uint8_t *const streams[] = {data_a, data_b};
    compress(2, states, streams, blocks);
}

#else

int sk_sha256_is_supported(void) { return 0; }

static void compress_one(uint32_t *state, const uint8_t *data, size_t blocks) {}

static void compress_two(uint32_t *state_a, const uint8_t *data_a, uint32_t *state_b,
                         const uint8_t *data_b, size_t blocks) {}

#endif

// Completes a block that is not full. Returns how many bytes of `data` it took.
static size_t fill(sk_sha256 *hash, const uint8_t *data, size_t n) {
    size_t used = hash->count % 64;
    if (used == 0) return 0;
    size_t taken = n < 64 - used ? n : 64 - used;
    memcpy(hash->pending + used, data, taken);
    hash->count += taken;
    if (used + taken == 64) compress_one(hash->state, hash->pending, 1);
    return taken;
}

void sk_sha256_update(sk_sha256 *hash, const void *data, size_t n) {
    if (n == 0) return;
    size_t taken = fill(hash, data, n);
    const uint8_t *rest = (const uint8_t *)data + taken;
    size_t blocks = (n - taken) / 64;
    if (blocks > 0) compress_one(hash->state, rest, blocks);
    size_t left = n - taken - 64 * blocks;
    if (left > 0) memcpy(hash->pending, rest + 64 * blocks, left);
    hash->count += n - taken;
}

void sk_sha256_update_two(sk_sha256 *a, const void *data_a, sk_sha256 *b, const void *data_b,
                          size_t n) {
    if (n == 0) return;
    size_t taken_a = fill(a, data_a, n), taken_b = fill(b, data_b, n);
    const uint8_t *rest_a = (const uint8_t *)data_a + taken_a;
    const uint8_t *rest_b = (const uint8_t *)data_b + taken_b;
    size_t blocks_a = (n - taken_a) / 64, blocks_b = (n - taken_b) / 64;
    size_t blocks = blocks_a < blocks_b ? blocks_a : blocks_b;
    // A lane that did not fill its block has no whole blocks: its count is then no multiple of 64.
    if (blocks > 0) {
        compress_two(a->state, rest_a, b->state, rest_b, blocks);
        a->count += 64 * blocks;
        b->count += 64 * blocks;
    }
    sk_sha256_update(a, rest_a + 64 * blocks, n - taken_a - 64 * blocks);
    sk_sha256_update(b, rest_b + 64 * blocks, n - taken_b - 64 * blocks);
}

void sk_sha256_digest(const sk_sha256 *hash, uint8_t digest[32]) {
    sk_sha256 last = *hash;
    uint64_t bits = last.count * 8;
    uint8_t padding[72] = {0x80};
    size_t used = last.count % 64;
    size_t count = (used < 56 ? 56 : 120) - used;
    for (int i = 0; i < 8; i++) padding[count + i] = (uint8_t)(bits >> (56 - 8 * i));
    sk_sha256_update(&last, padding, count + 8);
    for (int i = 0; i < 8; i++)
        for (int k = 0; k < 4; k++) digest[4 * i + k] = (uint8_t)(last.state[i] >> (24 - 8 * k));
}
