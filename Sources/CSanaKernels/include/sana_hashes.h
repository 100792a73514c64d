// SHA-256 of two byte streams at once, and SHA-1 for names that git has given.
//
// One stream waits for itself: each pair of rounds needs the one before. Two independent streams
// fill the gaps, so a core hashes nearly twice as much. Sources: FIPS 180-4; Intel, "New
// Instructions Supporting the Secure Hash Algorithm"; Arm C Language Extensions, "SHA256".
#ifndef SANA_HASHES_H
#define SANA_HASHES_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef enum {
    SK_SHA256,           // with the processor's instructions, if it has them
    SK_SHA256_PORTABLE,  // the same hash without them
    SK_SHA1,
} sk_hash_kind;

/// A hash that is still taking bytes.
typedef struct {
    uint32_t state[8];
    uint8_t pending[64];  // bytes of a block that is not full yet
    uint64_t count;       // bytes taken so far
    sk_hash_kind kind;
} sk_hash;

void sk_hash_start(sk_hash *hash, sk_hash_kind kind);

/// Appends n bytes; n may be 0.
void sk_hash_update(sk_hash *hash, const void *data, size_t n);

/// Appends n bytes of `data_a` to `a` and n bytes of `data_b` to `b`, which are two hashes.
void sk_hash_update_two(sk_hash *a, const void *data_a, sk_hash *b, const void *data_b, size_t n);

/// The hash of all bytes so far, which can still take more: 32 bytes, 20 of SHA-1. Returns how
/// many.
size_t sk_hash_digest(const sk_hash *hash, uint8_t digest[32]);

#ifdef __cplusplus
}
#endif
#endif
