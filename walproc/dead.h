/*
 * Dead letters: events that cannot go on, kept for a person to look at. The
 * file "dead-letters.ndjson" in the log's directory has one object a line:
 *
 *   {"time":"2026-01-31T12:00:00.123Z","reason":"invalid UTF-8","at":17,
 *    "bytes":"eyJh..."}
 *
 * "bytes" is exactly what came, in base64; "at", where it is known, the offset
 * in it where the reason shows; a letter that the sink rejected has "seq", its
 * number in the log. The file only grows; who has read it may move it away at
 * any time.
 */
#ifndef WALPROC_DEAD_H
#define WALPROC_DEAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define DEAD_NAME "dead-letters.ndjson"

struct dead {
	int dir_fd;	    /* borrowed: the log's directory */
	int fd;		    /* owned; -1 while closed */
	uint64_t end_bytes; /* size of the file: whole letters only */
	bool is_synced;	    /* all that was written is durable */
};

/* A letter that comes in pieces, until it is whole. */
struct dead_part {
	int fd;		 /* owned; its file, which has no name; -1: none */
	uint64_t bytes;	 /* written to it */
	uint8_t rest[3]; /* of the event: not yet a group of three */
	size_t rest_bytes;
};

/* No offset, no sequence number. */
#define DEAD_NONE UINT64_MAX

/*
 * Opens the file in the directory, or makes it, and cuts off what a crash left
 * half written, which was never acked: behind the first `durable_bytes` all
 * from the first line on that is not whole; where it is not known how many are
 * durable (UINT64_MAX), or no line ends there, what stands behind the last line
 * end. On a full disk that is left to the first letter. Returns 0, or -1 with
 * errno set.
 */
int dead_open(struct dead *dead, int dir_fd, uint64_t durable_bytes);

/* Closes the file. */
void dead_close(struct dead *dead);

/*
 * Looks whether the file is still what stands under its name: one that was
 * moved away or removed is let go, which frees its space, and made anew; one
 * that was cut is written on at its end. Every letter begins with this. What
 * was not synced is synced first. Returns 0, or -1 with errno set.
 */
int dead_refresh(struct dead *dead);

/*
 * Writes one letter, not synced: dead_sync does that. Of `reason` only what is
 * printable ASCII is kept, and a long one is cut. Returns 0, or -1 with
 * errno set and nothing of it in the file, so that it can be tried again when
 * a full disk has room.
 */
int dead_write(struct dead *dead, const char *reason, uint64_t at, uint64_t seq,
    const void *bytes, size_t count);

/*
 * The same in pieces, for what does not fit into memory. Each returns 0, or -1
 * with errno set and nothing done by that call, so that it can be repeated. The
 * pieces gather in a file of their own, which a crash takes away; dead_end puts
 * the letter into its place. Meanwhile others can be written, in pieces too.
 */
int dead_begin(
    const struct dead *dead, struct dead_part *part, const char *reason);
int dead_add(struct dead_part *part, const void *bytes, size_t count);
int dead_end(struct dead *dead, struct dead_part *part);

/* Makes a part that is not begun. */
void dead_part_init(struct dead_part *part);

/* Says whether it was begun and not ended. */
bool dead_part_is_open(const struct dead_part *part);

/* Closes it: what is not ended is gone. */
void dead_part_close(struct dead_part *part);

/* Makes all letters durable. Returns 0, or -1 with errno set: as after any
 * failed sync, the process must then end without acking. */
int dead_sync(struct dead *dead);

#endif
