#ifndef SQLITE_GUARD_H
#define SQLITE_GUARD_H

#include <sqlite3.h>

/// Lets a connection do nothing that a file's own schema asks for: no triggers, no writes to the schema,
/// no functions with side effects, no other files; small limits on texts and statements.
void sqlite_guard(sqlite3 *connection);

/// Interrupts statements that still run after so many seconds from now.
void sqlite_guard_deadline(sqlite3 *connection, double seconds);

/// Vacuuming attaches a file of its own.
void sqlite_guard_allow_vacuum(sqlite3 *connection, int is_allowed);

#endif
