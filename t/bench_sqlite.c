/*
 * bench_sqlite FILE EVENTS BATCH: how fast SQLite appends events that a power
 * cut must not take back. FILE is a new database with a write-ahead log, synced
 * at each commit; each transaction has BATCH events. Prints the
 * seconds that they took, from the first BEGIN to the last COMMIT.
 */
#include "t/bench_tools.h"

#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define EVENTS_MAX 100000000
#define EVENT_BYTES 120

static void
need(sqlite3 *db, int result, int wanted, const char *what)
{
	if (result != wanted)
		bench_fail(what,
		    db != NULL ? sqlite3_errmsg(db) : sqlite3_errstr(result));
}

static sqlite3_stmt *
prepare(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement = NULL;

	need(db, sqlite3_prepare_v2(db, sql, -1, &statement, NULL), SQLITE_OK,
	    sql);
	return statement;
}

static void
finish(sqlite3 *db, sqlite3_stmt *statement)
{
	need(db, sqlite3_finalize(statement), SQLITE_OK, "sqlite3_finalize");
}

/* Runs a statement that has no rows; it can be run again. */
static void
run(sqlite3 *db, sqlite3_stmt *statement)
{
	need(db, sqlite3_step(statement), SQLITE_DONE, sqlite3_sql(statement));
	need(db, sqlite3_reset(statement), SQLITE_OK, sqlite3_sql(statement));
}

static void
execute(sqlite3 *db, const char *sql)
{
	sqlite3_stmt *statement = prepare(db, sql);

	run(db, statement);
	finish(db, statement);
}

/* Asks what has one row, and fails where its first column is another. */
static void
expect(sqlite3 *db, const char *sql, const char *wanted)
{
	sqlite3_stmt *statement = prepare(db, sql);
	const char *found;

	need(db, sqlite3_step(statement), SQLITE_ROW, sql);
	found = (const char *)sqlite3_column_text(statement, 0);
	if (found == NULL || strcmp(found, wanted) != 0)
		bench_fail(sql, found == NULL ? "nothing" : found);
	finish(db, statement);
}

/* Returns in how many seconds it did. */
static double
append(sqlite3 *db, size_t events, size_t batch)
{
	sqlite3_stmt *begin = prepare(db, "BEGIN");
	sqlite3_stmt *commit = prepare(db, "COMMIT");
	sqlite3_stmt *insert =
	    prepare(db, "INSERT INTO events (event) VALUES (?1)");
	uint8_t event[EVENT_BYTES];
	int64_t start_ns = bench_now_ns(), ns;

	for (size_t n = 0; n < events; n++) {
		if (n % batch == 0)
			run(db, begin);
		(void)bench_event(event, sizeof(event), n);
		need(db,
		    sqlite3_bind_text(insert, 1, (const char *)event,
			sizeof(event), SQLITE_STATIC),
		    SQLITE_OK, "sqlite3_bind_text");
		run(db, insert);
		if (n % batch == batch - 1 || n == events - 1)
			run(db, commit);
	}
	ns = bench_now_ns() - start_ns;
	finish(db, begin);
	finish(db, commit);
	finish(db, insert);
	return (double)ns / 1e9;
}

int
main(int argc, char **argv)
{
	sqlite3 *db = NULL;
	size_t events, batch;
	char count[24];
	double seconds;

	if (argc != 4)
		bench_fail("usage", "bench_sqlite FILE EVENTS BATCH");
	events = bench_number("EVENTS", argv[2], EVENTS_MAX);
	batch = bench_number("BATCH", argv[3], EVENTS_MAX);
	need(db, sqlite3_open(argv[1], &db), SQLITE_OK, argv[1]);
	expect(db, "PRAGMA journal_mode = WAL", "wal");
	execute(db, "PRAGMA synchronous = FULL");
	expect(db, "PRAGMA synchronous", "2");
	execute(db, "CREATE TABLE events"
		    " (seq INTEGER PRIMARY KEY, event TEXT NOT NULL)");
	seconds = append(db, events, batch);
	(void)snprintf(count, sizeof(count), "%zu", events);
	expect(db, "SELECT max(seq) FROM events", count);
	need(db, sqlite3_close(db), SQLITE_OK, "sqlite3_close");
	bench_print("seconds", seconds, "s");
	return 0;
}
