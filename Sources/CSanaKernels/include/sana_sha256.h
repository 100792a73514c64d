// SHA-256 of two byte streams at once.
//
// One stream waits for itself: each pair of rounds needs the one before. Two independent streams
// fill the gaps, so a core hashes nearly twice as much. Source: FIPS 180-4; Intel, "New
// Instructions Supporting the Secure Hash Algorithm".
#ifndef SANA_SHA256_H
#define SANA_SHA256_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// A hash that is still taking bytes.
typedef struct {
    uint32_t state[8];
    uint8_t pending[64];  // bytes of a block that is not full yet
    uint64_t count;       // bytes taken so far
} sk_sha256;

/// Whether this processor has the instructions; the other functions must not be called otherwise.
int sk_sha256_is_supported(void);

void sk_sha256_start(sk_sha256 *hash);

/// Appends n bytes; n may be 0.
void sk_sha256_update(sk_sha256 *hash, const void *data, size_t n);

/// Appends n bytes of `data_a` to `a` and n bytes of `data_b` to `b`, which are two hashes.
void sk_sha256_update_two(sk_sha256 *a, const void *data_a, sk_sha256 *b, const void *data_b, size_t n);

/// The hash of all bytes so far, which can still take more.
void sk_sha256_digest(const sk_sha256 *hash, uint8_t digest[32]);

#ifdef __cplusplus
}
#endif
#endif
