/*
 * The sinks of a log, where it has more than one: how far each has come. An
 * event is ended in the log, and leaves it, when the last of them has ended it;
 * how that one did counts there. What each did is counted in a cursor of its
 * own (cursor.h), which is a hint like the log's: a sink whose cursor is lost
 * starts at the oldest event stored. A log with one sink has no such file.
 */
#ifndef WALPROC_WAL_SINKS_H
#define WALPROC_WAL_SINKS_H

#include "walproc/cursor.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The longest name. */
#define WAL_SINKS_NAME_BYTES 64
/* Sinks of one log, at most. */
#define WAL_SINKS_MAX 32

struct wal;

struct wal_sink {
	char name[WAL_SINKS_NAME_BYTES + 1];
	struct cursor cursor;  /* how far it has come; its fd is -1 as long as
				* the log's own cursor says it */
	uint64_t ended_offset; /* in the log: where that is */
	uint64_t saved_seq;    /* acked_seq in its file */
	bool is_named;	       /* the caller has named it; else what an
				* earlier process left of it */
};

struct wal_sinks {
	struct wal_sink *list; /* owned */
	size_t count;	       /* of them */
	bool are_many;	       /* more than one is named: each has its file */
	int64_t retry_ns;      /* when to make files for which the disk had no
				* room; LOOP_NEVER: none is missing */
};

/*
 * Reads the cursors of sinks that are in a log's directory into the empty list.
 * Where `log_id` is given, those of another log are left out. Those that cannot
 * be read are lost. Nothing is changed. Returns 0, or -1 with errno set.
 */
int wal_sinks_find(struct wal_sinks *sinks, int dir_fd, const uint8_t *log_id);

/* Forgets those of another log. */
void wal_sinks_keep(struct wal_sinks *sinks, const uint8_t *log_id);

/* Return the highest of all that was found: what was durable when one was
 * written, and what was ended. */
uint64_t wal_sinks_durable_seq(const struct wal *wal);
uint64_t wal_sinks_acked_seq(const struct wal *wal);

/*
 * Names the sinks of the log, all of them. One that is new starts at the oldest
 * event stored; one that is not named any more holds nothing back, and its
 * cursor is removed. For want of room on the disk the new one's can wait.
 * Returns 0, or -1 with errno set.
 */
int wal_sinks_name(struct wal *wal, const char *const *names, size_t count);

/* Finds anew where in the log each of them stands, to the batch: what is not
 * ended stands elsewhere once it was settled. 0, or -1 with errno set. */
int wal_sinks_find_ended(struct wal *wal);

/*
 * Returns the place of the sink in the list, which it keeps until
 * wal_sinks_name; or WAL_SINKS_NONE, which stands for the only one of a log
 * whose sinks have no names.
 */
#define WAL_SINKS_NONE SIZE_MAX
size_t wal_sinks_place(const struct wal *wal, const char *name);

/* Returns the highest number that the sink at that place has ended. */
uint64_t wal_sinks_acked_of(const struct wal *wal, size_t place);

/* Returns the one that has ended the least; there is one. */
const struct wal_sink *wal_sinks_last(const struct wal *wal);

/* Returns its counts, and where it stands: the log's, where it is the only
 * one. */
const struct layout_cursor *wal_sinks_slot(const struct wal *wal, size_t place);

/* Writes the cursors that have changed. Returns 0, also where a full disk
 * leaves some for the next call, or -1 with errno set. */
int wal_sinks_save(struct wal *wal);

/* Makes them durable. 0, or -1 with errno set. */
int wal_sinks_sync(struct wal *wal);

/* Closes them. */
void wal_sinks_fini(struct wal_sinks *sinks);

#endif
