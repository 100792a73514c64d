#include "sqlite_guard.h"

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

/// Called for the first time when a statement has used up what it may.
static int stop(void *context) {
    (void)context;
    return 1;
}

void sqlite_guard_operations(sqlite3 *connection, int most) {
    sqlite3_progress_handler(connection, most, stop, (void *)0);
}
