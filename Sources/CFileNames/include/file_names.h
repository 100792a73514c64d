#ifndef FILE_NAMES_H
#define FILE_NAMES_H

/// How a file gets a name that must be free.
enum rename_means {
    /// The rename itself refuses a taken name (renameat2, renamex_np), on most file systems.
    RENAME_AT_ONCE,
    /// A second name, which link(2) refuses where it is taken; then the first one goes.
    RENAME_BY_LINK,
    /// An empty file claims the name, and is replaced.
    RENAME_BY_CLAIM
};

/// Gives the file `from` the name `to` unless that is taken, whoever else tries the same at that
/// moment.
///
/// `first` is tried first, and those after it where the file system does not have it. Returns 0, or
/// -1 with errno set: EEXIST where anything has the name, a dangling link included.
int rename_to_free_name(const char *from, const char *to, enum rename_means first);

#endif
