// The entry point that libFuzzer offers to programs with a main of their own.
// Source: compiler-rt, "Using libFuzzer as a library".
#ifndef SANA_LIBFUZZER_H
#define SANA_LIBFUZZER_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerRunDriver(int *argc, char ***argv, int (*callback)(const uint8_t *data, size_t size));

#endif
