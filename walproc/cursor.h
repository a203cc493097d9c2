/*
 * The cursor: how far the events of a log are ended, in the file "cursor" of
 * its directory (bytes: layout.h); where there are several sinks each has
 * another, "cursor.NAME" (wal_sinks.h). It is a hint. Losing it costs
 * duplicates and counts, never events, so it is written often and synced only
 * at the start and the end of a run, before a segment is unlinked, and where
 * what it counts is on record nowhere else. What was synced last is never
 * written over before the next is synced too.
 */
#ifndef WALPROC_CURSOR_H
#define WALPROC_CURSOR_H

#include "walproc/layout.h"

#include <stdbool.h>

/* The log's file in its directory, and what those of sinks begin with. */
#define CURSOR_NAME "cursor"
#define CURSOR_SINK_NAME "cursor."

struct cursor {
	int fd;			   /* owned; -1 before it is opened */
	struct layout_cursor slot; /* what was written last */
	unsigned int place;	   /* of the slot to write, 0 or 1; while not
				    * synced, of the one written last */
	bool is_synced;		   /* what was written last is durable */
};

enum cursor_status {
	CURSOR_OK,    /* read from the file */
	CURSOR_NONE,  /* no file, or no valid slot in it */
	CURSOR_NEWER, /* a major version that is not ours: refuse the log */
	CURSOR_ERROR, /* errno is set */
};

/*
 * Opens the cursor `name` of the directory `dir_fd`, creating an empty file
 * where there is none, durably. CURSOR_OK sets cursor->slot from the better of
 * the two slots; CURSOR_NONE leaves it zeroed, for the caller to fill. In both
 * cases the file is open; otherwise nothing is. *lost says whether there was
 * something in the file, or in what of it cannot be read, and yet no slot was
 * valid.
 */
enum cursor_status cursor_open(
    struct cursor *cursor, int dir_fd, const char *name, bool *lost);

/* What one of the two slots is. */
enum cursor_slot {
	CURSOR_SLOT_SOUND,
	CURSOR_SLOT_EMPTY, /* never written */
	CURSOR_SLOT_BAD,   /* damaged, unreadable, or half written */
};

/*
 * Reads the cursor `name` of the directory `dir_fd` and changes nothing.
 * CURSOR_OK sets *slot to the better of the two, CURSOR_NONE leaves it as it
 * was, as any failure does. `slots` tells of each.
 */
enum cursor_status cursor_look(int dir_fd, const char *name,
    struct layout_cursor *slot, enum cursor_slot slots[2]);

/*
 * Writes cursor->slot, with the next generation, over the slot in the file that
 * is not the one synced last; not synced. Returns 0, or -1 with errno set and
 * the other slot as it was.
 */
int cursor_write(struct cursor *cursor);

/* Makes durable what was written. Returns 0, or -1 with errno set, which is
 * never that of a full disk: a failed sync is not to be tried again. */
int cursor_sync(struct cursor *cursor);

/*
 * Makes durable what was written, and in the other slot too: then neither is
 * older, whichever of them is damaged. Returns as cursor_write or cursor_sync.
 */
int cursor_sync_both(struct cursor *cursor);

/*
 * Writes both slots and makes them durable, so that no later write of one has
 * to find room on a disk. Returns 0, or -1 with errno set; after a full disk it
 * can be tried again.
 */
int cursor_claim(struct cursor *cursor);

/* Closes the file. */
void cursor_close(struct cursor *cursor);

#endif
