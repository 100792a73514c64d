#ifndef SANA_BUILD_INFO_H
#define SANA_BUILD_INFO_H

/// The commit that this program was built from, as the environment variable SANA_COMMIT told the
/// build; empty where it did not.
const char *sana_build_commit(void);

#endif
