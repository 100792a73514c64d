// The part of ICU's data that packages have in place of the whole in the statically linked
// Foundation: scripts/icu_data.py.
#include "sana_build_info.h"

#ifdef SANA_ICU_DATA
__asm__(".include \"" SANA_ICU_DATA "\"");
#endif
