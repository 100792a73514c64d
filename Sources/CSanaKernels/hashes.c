#include "sana_hashes.h"

#include <stdatomic.h>
#include <string.h>

static const uint32_t sha256_start[8] = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                         0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};

static const uint32_t sha1_start[8] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};

static const uint32_t round_constants[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

static uint32_t rotated(uint32_t x, int bits) { return x >> bits | x << (32 - bits); }

static uint32_t big_endian(const uint8_t *bytes) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

static void sha256_portable(uint32_t *state, const uint8_t *data, size_t blocks) {
    for (; blocks > 0; blocks--, data += 64) {
        uint32_t words[64], s[8];
        for (int i = 0; i < 16; i++) words[i] = big_endian(data + 4 * i);
        for (int i = 16; i < 64; i++) {
            uint32_t a = words[i - 15], b = words[i - 2];
            words[i] = words[i - 16] + (rotated(a, 7) ^ rotated(a, 18) ^ a >> 3) + words[i - 7] +
                       (rotated(b, 17) ^ rotated(b, 19) ^ b >> 10);
        }
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 64; i++) {
            uint32_t a = s[0], e = s[4];
            uint32_t first = s[7] + (rotated(e, 6) ^ rotated(e, 11) ^ rotated(e, 25)) +
                             ((e & s[5]) ^ (~e & s[6])) + round_constants[i] + words[i];
            uint32_t second = (rotated(a, 2) ^ rotated(a, 13) ^ rotated(a, 22)) +
                              ((a & s[1]) ^ (a & s[2]) ^ (s[1] & s[2]));
            memmove(s + 1, s, 7 * sizeof *s);
            s[4] += first;
            s[0] = first + second;
        }
        for (int i = 0; i < 8; i++) state[i] += s[i];
    }
}

static void sha1(uint32_t *state, const uint8_t *data, size_t blocks) {
    for (; blocks > 0; blocks--, data += 64) {
        uint32_t words[80], s[5];
        for (int i = 0; i < 16; i++) words[i] = big_endian(data + 4 * i);
        for (int i = 16; i < 80; i++)
            words[i] = rotated(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 31);
        memcpy(s, state, sizeof s);
        for (int i = 0; i < 80; i++) {
            uint32_t b = s[1], c = s[2], d = s[3], mixed;
            if (i < 20)
                mixed = ((b & c) | (~b & d)) + 0x5a827999;
            else if (i < 40)
                mixed = (b ^ c ^ d) + 0x6ed9eba1;
            else if (i < 60)
                mixed = ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc;
            else
                mixed = (b ^ c ^ d) + 0xca62c1d6;
            uint32_t next = rotated(s[0], 27) + mixed + s[4] + words[i];
            memmove(s + 1, s, 4 * sizeof *s);
            s[2] = rotated(s[2], 2);
            s[0] = next;
        }
        for (int i = 0; i < 5; i++) state[i] += s[i];
    }
}

#if defined(__x86_64__)

#include <immintrin.h>

#define SHA_TARGET __attribute__((target("sha,sse4.1,ssse3")))

static int has_instructions(void) {
    // The compiler's own feature test does not know these instructions under every name.
    unsigned eax = 7, ebx, ecx = 0, edx;
    __asm__("cpuid" : "+a"(eax), "=b"(ebx), "+c"(ecx), "=d"(edx));
    return __builtin_cpu_supports("sse4.1") && (ebx >> 29 & 1);
}

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

#elif defined(__aarch64__) && defined(__linux__)

#include <arm_neon.h>
#include <sys/auxv.h>

#define SHA_TARGET __attribute__((target("sha2")))

static int has_instructions(void) { return getauxval(AT_HWCAP) >> 6 & 1; }

// As above.
SHA_TARGET static inline __attribute__((always_inline)) void compress(
    int lanes, uint32_t *const states[], const uint8_t *const data[], size_t blocks) {
    uint32x4_t abcd[2], efgh[2], words[2][4];
    for (int j = 0; j < lanes; j++) {
        abcd[j] = vld1q_u32(states[j]);
        efgh[j] = vld1q_u32(states[j] + 4);
    }
    for (size_t block = 0; block < blocks; block++) {
        uint32x4_t first[2], second[2];
        for (int j = 0; j < lanes; j++) {
            first[j] = abcd[j];
            second[j] = efgh[j];
            for (int i = 0; i < 4; i++)
                words[j][i] = vreinterpretq_u32_u8(
                    vrev32q_u8(vld1q_u8(data[j] + 64 * block + 16 * i)));
        }
#pragma clang loop unroll(full)
        for (int i = 0; i < 16; i++) {
            uint32x4_t constants = vld1q_u32(round_constants + 4 * i);
#pragma clang loop unroll(full)
            for (int j = 0; j < lanes; j++) {
                uint32x4_t sum = vaddq_u32(words[j][i & 3], constants), before = abcd[j];
                if (i < 12)
                    words[j][i & 3] = vsha256su1q_u32(
                        vsha256su0q_u32(words[j][i & 3], words[j][(i + 1) & 3]),
                        words[j][(i + 2) & 3], words[j][(i + 3) & 3]);
                abcd[j] = vsha256hq_u32(before, efgh[j], sum);
                efgh[j] = vsha256h2q_u32(efgh[j], before, sum);
            }
        }
        for (int j = 0; j < lanes; j++) {
            abcd[j] = vaddq_u32(abcd[j], first[j]);
            efgh[j] = vaddq_u32(efgh[j], second[j]);
        }
    }
    for (int j = 0; j < lanes; j++) {
        vst1q_u32(states[j], abcd[j]);
        vst1q_u32(states[j] + 4, efgh[j]);
    }
}

#else

#define SHA_TARGET

static int has_instructions(void) { return 0; }

static void compress(int lanes, uint32_t *const states[], const uint8_t *const data[],
                     size_t blocks) {
    for (int j = 0; j < lanes; j++) sha256_portable(states[j], data[j], blocks);
}

#endif

SHA_TARGET static void sha256_one(uint32_t *state, const uint8_t *data, size_t blocks) {
    uint32_t *const states[] = {state};
    const uint8_t *const streams[] = {data};
    compress(1, states, streams, blocks);
}

SHA_TARGET static void sha256_two(uint32_t *state_a, const uint8_t *data_a, uint32_t *state_b,
                                  const uint8_t *data_b, size_t blocks) {
    uint32_t *const states[] = {state_a, state_b};
    const uint8_t *const streams[] = {data_a, data_b};
    compress(2, states, streams, blocks);
}

// Whether the processor has the instructions; asked once, since a hypervisor answers slowly.
static int uses_instructions(void) {
    static atomic_int known;  // 1 without, 2 with them
    int answer = atomic_load_explicit(&known, memory_order_relaxed);
    if (answer == 0) {
        answer = 1 + (has_instructions() != 0);
        atomic_store_explicit(&known, answer, memory_order_relaxed);
    }
    return answer == 2;
}

void sk_hash_start(sk_hash *hash, sk_hash_kind kind) {
    memset(hash, 0, sizeof *hash);
    memcpy(hash->state, kind == SK_SHA1 ? sha1_start : sha256_start, sizeof hash->state);
    hash->kind = kind == SK_SHA256 && !uses_instructions() ? SK_SHA256_PORTABLE : kind;
}

static void compress_whole(sk_hash *hash, const uint8_t *data, size_t blocks) {
    switch (hash->kind) {
        case SK_SHA256: sha256_one(hash->state, data, blocks); break;
        case SK_SHA256_PORTABLE: sha256_portable(hash->state, data, blocks); break;
        case SK_SHA1: sha1(hash->state, data, blocks); break;
    }
}

// Completes a block that is not full. Returns how many bytes of `data` it took.
static size_t fill(sk_hash *hash, const uint8_t *data, size_t n) {
    size_t used = hash->count % 64;
    if (used == 0) return 0;
    size_t taken = n < 64 - used ? n : 64 - used;
    memcpy(hash->pending + used, data, taken);
    hash->count += taken;
    if (used + taken == 64) compress_whole(hash, hash->pending, 1);
    return taken;
}

void sk_hash_update(sk_hash *hash, const void *data, size_t n) {
    if (n == 0) return;
    size_t taken = fill(hash, data, n);
    const uint8_t *rest = (const uint8_t *)data + taken;
    size_t blocks = (n - taken) / 64;
    if (blocks > 0) compress_whole(hash, rest, blocks);
    size_t left = n - taken - 64 * blocks;
    if (left > 0) memcpy(hash->pending, rest + 64 * blocks, left);
    hash->count += n - taken;
}

void sk_hash_update_two(sk_hash *a, const void *data_a, sk_hash *b, const void *data_b, size_t n) {
    if (n == 0) return;
    size_t taken_a = fill(a, data_a, n), taken_b = fill(b, data_b, n);
    const uint8_t *rest_a = (const uint8_t *)data_a + taken_a;
    const uint8_t *rest_b = (const uint8_t *)data_b + taken_b;
    size_t blocks_a = (n - taken_a) / 64, blocks_b = (n - taken_b) / 64, done = 0;
    if (a->kind == SK_SHA256 && b->kind == SK_SHA256) {
        size_t blocks = blocks_a < blocks_b ? blocks_a : blocks_b;
        // A lane that did not fill its block has no whole blocks: its count is then no multiple of
        // 64.
        if (blocks > 0) sha256_two(a->state, rest_a, b->state, rest_b, blocks);
        done = 64 * blocks;
        a->count += done;
        b->count += done;
    }
    sk_hash_update(a, rest_a + done, n - taken_a - done);
    sk_hash_update(b, rest_b + done, n - taken_b - done);
}

size_t sk_hash_digest(const sk_hash *hash, uint8_t digest[32]) {
    sk_hash last = *hash;
    uint64_t bits = last.count * 8;
    uint8_t padding[72] = {0x80};
    size_t used = last.count % 64;
    size_t count = (used < 56 ? 56 : 120) - used;
    for (int i = 0; i < 8; i++) padding[count + i] = (uint8_t)(bits >> (56 - 8 * i));
    sk_hash_update(&last, padding, count + 8);
    size_t bytes = hash->kind == SK_SHA1 ? 20 : 32;
    for (size_t i = 0; i < bytes; i++)
        digest[i] = (uint8_t)(last.state[i / 4] >> (24 - 8 * (i % 4)));
    return bytes;
}
