#ifndef SQLITE_GUARD_H
#define SQLITE_GUARD_H

#include <sqlite3.h>

/// Lets a connection do nothing that a file's own schema asks for: no triggers, no writes to the
/// schema, no functions with side effects, no other files; small limits on texts and statements.
void sqlite_guard(sqlite3 *connection);

/// Interrupts a statement after so many of SQLite's operations, some 50 million of which take a
/// second.
void sqlite_guard_operations(sqlite3 *connection, int most);

/// Vacuuming attaches a file of its own.
void sqlite_guard_allow_vacuum(sqlite3 *connection, int is_allowed);

#endif
