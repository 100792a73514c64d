// The frozen work that the latency gate measures a model against.
#ifndef SANA_CANARY_H
#define SANA_CANARY_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    /// Floats of memory that one thread's canary works on, aligned to 64 bytes.
    SC_FLOATS = 2 * 480 * 128 + 128 * 640 + 480 * 640 + 6 * 304 + 6 * 448 + 448 * 32 + 6 * 32,
    /// Multiply-adds of one round, each counted as two operations; a nominal figure, from which rates
    /// are made.
    SC_ROUND_OPERATIONS = 2 * 6 * (128 * 640 + 2 * 128 * 304 + 4 * 448 * 32)
};

/// Fills the memory of one thread with values that stay within range, whatever number of rounds runs.
void sc_fill(float *memory);

/// Runs so many rounds of the mix, beginning with the tokens of round `start`.
///
/// - Returns: a checksum, so that no part of the work can be left out.
float sc_run(float *memory, size_t start, size_t rounds);

#ifdef __cplusplus
}
#endif
#endif
