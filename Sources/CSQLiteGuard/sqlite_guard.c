#include "sqlite_guard.h"

#include <stdint.h>
#include <time.h>

void sqlite_guard(sqlite3 *connection) {
    sqlite3_db_config(connection, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)0);
    sqlite3_db_config(connection, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)0);
    sqlite3_db_config(connection, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)0);
    sqlite3_limit(connection, SQLITE_LIMIT_ATTACHED, 0);
    sqlite3_limit(connection, SQLITE_LIMIT_LENGTH, 64 << 20);
    sqlite3_limit(connection, SQLITE_LIMIT_SQL_LENGTH, 1 << 20);
    sqlite3_limit(connection, SQLITE_LIMIT_COLUMN, 200);
    sqlite3_limit(connection, SQLITE_LIMIT_EXPR_DEPTH, 200);
    sqlite3_limit(connection, SQLITE_LIMIT_COMPOUND_SELECT, 50);
    sqlite3_limit(connection, SQLITE_LIMIT_TRIGGER_DEPTH, 10);
    sqlite3_limit(connection, SQLITE_LIMIT_WORKER_THREADS, 0);
}

void sqlite_guard_allow_vacuum(sqlite3 *connection, int is_allowed) {
    sqlite3_limit(connection, SQLITE_LIMIT_ATTACHED, is_allowed ? 1 : 0);
}

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec * 1e-9;
}

/// The context is the deadline itself, in milliseconds of the monotonic clock.
static int is_late(void *deadline) { return now() * 1e3 > (double)(uintptr_t)deadline; }

void sqlite_guard_deadline(sqlite3 *connection, double seconds) {
    uintptr_t deadline = (uintptr_t)((now() + seconds) * 1e3);
    sqlite3_progress_handler(connection, 20000, is_late, (void *)deadline);
}
