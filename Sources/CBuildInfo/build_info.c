#include "sana_build_info.h"

#ifndef SANA_COMMIT
#define SANA_COMMIT ""
#endif

const char *sana_build_commit(void) {
    return SANA_COMMIT;
}
