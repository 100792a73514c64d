#include "signal_cleanup.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { SLOTS = 1024 };

static _Atomic(char *) slots[2][SLOTS];
static _Atomic pid_t child;
static _Atomic int has_output;
static int stderr_is_terminal;

int signal_cleanup_add(enum signal_cleanup_kind kind, const char *path) {
    char *copy = strdup(path);
    if (!copy) return -1;
    for (int number = 0; number < SLOTS; number++) {
        char *expected = NULL;
        if (atomic_compare_exchange_strong(&slots[kind][number], &expected, copy)) return number;
    }
    free(copy);
    return -1;
}

void signal_cleanup_forget(enum signal_cleanup_kind kind, int number) {
    if (number >= 0) free(atomic_exchange(&slots[kind][number], NULL));
}

void signal_cleanup_note_output(void) { atomic_store(&has_output, 1); }

void signal_cleanup_set_child(pid_t new_child) { atomic_store(&child, new_child); }

/// Returns how many files it removed.
static int clean_up(void) {
    int count = 0;
    for (int number = 0; number < SLOTS; number++) {
        char *path = atomic_exchange(&slots[SIGNAL_CLEANUP_FILE][number], NULL);
        if (path && unlink(path) == 0) count++;
    }
    // A folder comes after those above it, unless it has taken a slot that became free.
    for (int round = 0; round < 2; round++) {
        for (int number = SLOTS - 1; number >= 0; number--) {
            char *path = atomic_load(&slots[SIGNAL_CLEANUP_FOLDER][number]);
            if (path) rmdir(path);
        }
    }
    return count;
}

/// Says in place of the progress line what an interruption left.
static void report_interruption(void) {
    static const char nothing[] = "sana-tools: interrupted, nothing was written\n";
    static const char some[] = "sana-tools: interrupted; finished outputs were kept, the unfinished one was removed\n";
    static const char erase[] = "\r\033[K";
    ssize_t written = 0;
    if (stderr_is_terminal) written += write(STDERR_FILENO, erase, sizeof erase - 1);
    if (atomic_load(&has_output)) written += write(STDERR_FILENO, some, sizeof some - 1);
    else written += write(STDERR_FILENO, nothing, sizeof nothing - 1);
    (void)written;
}

static void interrupted(int number) {
    if (clean_up() > 0 && number != SIGHUP) report_interruption();
    pid_t running = atomic_load(&child);
    if (running > 0) kill(running, number);
    signal(number, SIG_DFL);
    raise(number);
}

static _Noreturn void end(const char *message, int code) {
    clean_up();
    pid_t running = atomic_load(&child);
    if (running > 0) kill(running, SIGTERM);
    ssize_t written = write(STDERR_FILENO, message, strlen(message));
    (void)written;
    _exit(code);
}

static void input_cut_off(int number) {
    (void)number;
    end("sana-tools: error: an input file was cut off while it was read\n", 74);
}

static const char memory_is_short[] =
    "sana-tools: error: not enough memory\n"
    "  hint: raise the memory limit (ulimit -v), use fewer --threads, or use another machine (see "
    "docs/troubleshooting.md#memory)\n";

/// Bytes that a process which goes on can always map.
enum { LEAST_ROOM = 16 << 20 };

static void stopped_itself(int number) {
    void *probe = mmap(NULL, LEAST_ROOM, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe == MAP_FAILED) end(memory_is_short, 74);
    end(number == SIGSEGV
            ? "sana-tools: internal error: invalid memory access, or out of memory\n"
            : "sana-tools: internal error: an assertion failed, or out of memory\n",
        70);
}

_Noreturn void signal_cleanup_out_of_memory(long byte_count) {
    char message[128];
    snprintf(message, sizeof message, "sana-tools: error: not enough memory: %ld bytes were asked for\n", byte_count);
    end(message, 74);
}

void signal_cleanup_install(void) {
    stderr_is_terminal = isatty(STDERR_FILENO);
    // A parent's threads may block signals, and a child starts with what its parent blocks.
    sigset_t unblocked;
    sigemptyset(&unblocked);
    static const int numbers[] = {SIGINT, SIGTERM, SIGHUP};
    for (size_t index = 0; index < sizeof numbers / sizeof *numbers; index++) {
        sigaddset(&unblocked, numbers[index]);
        if (signal(numbers[index], interrupted) == SIG_IGN) signal(numbers[index], SIG_IGN);
    }
    sigprocmask(SIG_UNBLOCK, &unblocked, NULL);
    signal(SIGBUS, input_cut_off);
    if (getenv("SWIFT_BACKTRACE")) return;
    // On a stack of its own, for one that is used up.
    static char space[64 << 10];
    stack_t stack = {.ss_sp = space, .ss_size = sizeof space};
    sigaltstack(&stack, NULL);
    struct sigaction action = {.sa_handler = stopped_itself, .sa_flags = SA_ONSTACK | SA_RESETHAND};
    sigemptyset(&action.sa_mask);
    static const int traps[] = {SIGILL, SIGTRAP, SIGABRT, SIGSEGV, SIGFPE};
    for (size_t index = 0; index < sizeof traps / sizeof *traps; index++) sigaction(traps[index], &action, NULL);
}
