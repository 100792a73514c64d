// What vnni_int8_products_body.h defines, ahead of the table that kernels_body.h ends with.
//
// vpdpbusd multiplies unsigned bytes with signed ones. Weights stand in the panel with 128 added,
// [rows / SK_VECTOR][columns / 4][SK_VECTOR][4], and a token is its values padded with zeros to a
// multiple of four, then their sum, with which 128 times it is taken off again. Sums wrap around
// and come back.

enum { PACKED_ROWS = SK_VECTOR, GROUP = 4, TILE_BLOCKS = 2, BLOCK_TOKENS = 8 * TILE_TOKENS };
enum { OPERATIONS_I8 = 2 * CHAINS_I8 * SK_VECTOR * GROUP };

#include "int8_declarations.h"
