#include "signal_cleanup.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { SLOTS = 1024 };

static _Atomic(char *) slots[2][SLOTS];
static _Atomic pid_t child;

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

void signal_cleanup_set_child(pid_t new_child) { atomic_store(&child, new_child); }

static void clean_up(void) {
    for (int number = 0; number < SLOTS; number++) {
        char *path = atomic_exchange(&slots[SIGNAL_CLEANUP_FILE][number], NULL);
        if (path) unlink(path);
    }
    // A folder comes after those above it, unless it has taken a slot that became free.
    for (int round = 0; round < 2; round++) {
        for (int number = SLOTS - 1; number >= 0; number--) {
            char *path = atomic_load(&slots[SIGNAL_CLEANUP_FOLDER][number]);
            if (path) rmdir(path);
        }
    }
}

static void interrupted(int number) {
    clean_up();
    pid_t running = atomic_load(&child);
    if (running > 0) kill(running, number);
    signal(number, SIG_DFL);
    raise(number);
}

static void input_cut_off(int number) {
    (void)number;
    static const char message[] = "sana-tools: error: an input file was cut off while it was read\n";
    clean_up();
    ssize_t written = write(STDERR_FILENO, message, sizeof message - 1);
    (void)written;
    _exit(74);
}

void signal_cleanup_install(void) {
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
}
