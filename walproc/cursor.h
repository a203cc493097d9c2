/*
 * The cursor: how far the events of a log are ended, in the file "cursor" of
 * its directory (bytes: layout.h). It is a hint. Losing it costs duplicates,
 * never events, so it is written often and synced only before a segment is
 * unlinked. It never runs ahead of what the log has durable.
 */
#ifndef WALPROC_CURSOR_H
#define WALPROC_CURSOR_H

#include "walproc/layout.h"

#include <stdbool.h>

struct cursor {
	int fd;			   /* owned; -1 before it is opened */
	struct layout_cursor slot; /* what was written last */
};

enum cursor_status {
	CURSOR_OK,    /* read from the file */
	CURSOR_NONE,  /* no file, or no valid slot in it */
	CURSOR_NEWER, /* a major version that is not ours: refuse the log */
	CURSOR_ERROR, /* errno is set */
};

/*
 * Opens the cursor of the directory `dir_fd`, creating an empty file where
 * there is none, durably. CURSOR_OK sets cursor->slot from the better of the
 * two slots; CURSOR_NONE leaves it zeroed, for the caller to fill. In both
 * cases the file is open; otherwise nothing is. *lost is set if the file had
 * bytes in it and yet no slot was valid.
 */
enum cursor_status cursor_open(struct cursor *cursor, int dir_fd, bool *lost);

/*
 * Writes cursor->slot, with the next generation, over the older slot; not
 * synced. Returns 0, or -1 with errno set and the other slot as it was.
 */
int cursor_write(struct cursor *cursor);

/* Makes durable what was written. 0, or -1 with errno set. */
int cursor_sync(struct cursor *cursor);

/* Closes the file. */
void cursor_close(struct cursor *cursor);

#endif
