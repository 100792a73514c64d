#ifndef SIGNAL_CLEANUP_H
#define SIGNAL_CLEANUP_H

#include <stddef.h>
#include <sys/types.h>

/// What a command does when a signal ends it: remove what it has half written and end its child.
///
/// In C because a handler may interrupt an allocation and so must not allocate, which Swift
/// promises of no loop.

enum signal_cleanup_kind { SIGNAL_CLEANUP_FILE, SIGNAL_CLEANUP_FOLDER };

/// Has `path` removed; a folder only if it is empty then.
///
/// Returns a number for signal_cleanup_forget, or -1 where too many are held: its owner alone
/// removes it then.
int signal_cleanup_add(enum signal_cleanup_kind kind, const char *path);
void signal_cleanup_forget(enum signal_cleanup_kind kind, int number);

/// Notes that an output got its name: an interruption no longer leaves nothing.
void signal_cleanup_note_output(void);

/// Passes signals on to this process as well; to none where 0.
void signal_cleanup_set_child(pid_t child);

/// Installs the handlers. Interrupted, the process says on a terminal what became of outputs that
/// it was writing, and ends as the signal would have ended it; a hangup that nohup
/// ignores stays ignored. A mapped file that another program cut off ends it with exit code 74.
/// Where the program stops itself, as Swift does when a check fails or memory cannot be had, the
/// process ends with a message and exit code 70, or 74 where memory is known to be short; with
/// SWIFT_BACKTRACE set it is left to Swift's own handlers.
void signal_cleanup_install(void);

/// Ends the process, which was refused that many bytes, with a message and exit code 74.
_Noreturn void signal_cleanup_out_of_memory(long byte_count);

#endif
