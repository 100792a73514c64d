// The frozen work that the latency gate measures a model against.
#ifndef SANA_CANARY_H
#define SANA_CANARY_H

#include <stddef.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
    /// Floats of memory that one thread's canary works on, aligned to 64 bytes.
    SC_FLOATS = 6 * 448 + 8 * 448 * 16 + 64 * 448 * 16 + 4 * 32768,
    /// Multiply-adds of one round, each counted as two operations; a nominal figure, from which rates
    /// are made.
    SC_ROUND_OPERATIONS = 2 * (18 * 6 * 16 * 448 + 9 * 18 * 18 * 64 + 8 * 16384)
};

/// Fills the memory of one thread with values that stay within range, whatever number of rounds runs.
void sc_fill(float *memory);

/// Runs so many rounds of the mix, beginning with the panel of memory numbered `start`.
///
/// - Returns: a checksum, so that no part of the work can be left out.
float sc_run(float *memory, size_t start, size_t rounds);

#ifdef __cplusplus
}
#endif
#endif
