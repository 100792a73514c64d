// For syscall().
#define _GNU_SOURCE
#include "file_names.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>
#ifdef __linux__
#include <sys/syscall.h>
#endif

static int at_once(const char *from, const char *to) {
#if defined(__APPLE__)
    return renamex_np(from, to, RENAME_EXCL);
#elif defined(SYS_renameat2)
    enum { NO_REPLACE = 1 };
    return (int)syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, NO_REPLACE);
#else
    (void)from, (void)to;
    errno = ENOSYS;
    return -1;
#endif
}

static int by_link(const char *from, const char *to) {
    if (link(from, to) != 0) return -1;
    unlink(from);
    return 0;
}

static int by_claim(const char *from, const char *to) {
    int claim = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    if (claim < 0) return -1;
    close(claim);
    if (rename(from, to) == 0) return 0;
    int code = errno;
    unlink(to);
    errno = code;
    return -1;
}

/// Whether the file system does not have what was asked for, rather than that it failed.
static int is_unsupported(int code) {
    return code == EINVAL || code == ENOSYS || code == ENOTSUP || code == EOPNOTSUPP || code == EPERM || code == EMLINK;
}

int rename_to_free_name(const char *from, const char *to, enum rename_means first) {
    static int (*const means[])(const char *, const char *) = {at_once, by_link, by_claim};
    int result = -1;
    for (int number = (int)first; number <= RENAME_BY_CLAIM; number++) {
        result = means[number](from, to);
        if (result == 0 || !is_unsupported(errno)) break;
    }
    return result;
}
