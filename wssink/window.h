/*
 * The window: the events that were taken in and are not ended yet, in order,
 * kept so that they can be sent again. An event ends when the server has
 * confirmed it or when it was refused; the window counts the events of the
 * input from 1 and knows up to which of them all have ended. If told to, it
 * keeps the last of those that the server has confirmed as well. Memory only.
 */
#ifndef WSSINK_WINDOW_H
#define WSSINK_WINDOW_H

#include "stage/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Events held at most, refused ones among them. */
#define WINDOW_EVENTS ((size_t)4096)
/* Bytes held at most, unless it is a single event; and above so many events,
 * since a connection is kept busy by less and memory counts. */
#define WINDOW_BYTES ((size_t)8 << 20)
#define WINDOW_FEW_EVENTS 128
#define WINDOW_MANY_BYTES ((size_t)3 << 19)
/* Events kept at most after they were confirmed; and their bytes, unless it is
 * a single event. */
#define WINDOW_KEPT_EVENTS ((size_t)4096)
#define WINDOW_KEPT_BYTES ((size_t)8 << 20)

/* One event of the window. */
struct window_slot {
	uint32_t bytes;	 /* held; 0 if refused */
	bool is_refused; /* never given out again */
};

struct window {
	struct buf bytes;	   /* the events' bytes, one behind the other */
	struct window_slot *slots; /* owned; by number modulo their count */
	size_t keep;		   /* confirmed events to keep, at most */
	size_t kept;		   /* that many are */
	uint64_t forgotten;	   /* events 1..forgotten are not held */
	uint64_t ended;		   /* events 1..ended have ended */
	uint64_t taken;		   /* events 1..taken came in */
	uint64_t next;		   /* events 1..next were given out; less than
				    * `ended` only if one that ended is to be
				    * given out again */
	size_t ended_bytes;	   /* in bytes: of those that have ended */
	size_t next_offset;	   /* in bytes: of the event behind `next` */
};

/*
 * Makes an empty window that keeps the last `keep` (0..WINDOW_KEPT_EVENTS) of
 * the events that were confirmed, or fewer: no more than have WINDOW_KEPT_BYTES
 * together, and none from before the last 8192 that have ended, refused ones
 * among these.
 */
void window_init(struct window *window, size_t keep);

/* Frees its memory. */
void window_fini(struct window *window);

/* Says whether all events have ended. */
bool window_is_empty(const struct window *window);

/* Says whether an event of `bytes` may be added. */
bool window_has_room(const struct window *window, size_t bytes);

/* Adds the next event, a copy of `bytes` (1..FRAME_MAX_BYTES) at `payload`.
 * There was room. */
void window_add(struct window *window, const uint8_t *payload, size_t bytes);

/* Counts the next event of the input as refused: it is never given out. There
 * was room for an event of 0 bytes. */
void window_add_refused(struct window *window);

/*
 * Gives the next event to send. Returns false if all were given out. *payload
 * is borrowed until the next call that changes the window.
 */
bool window_next(struct window *window, const uint8_t **payload, size_t *bytes);

/* Ends the first `count` of the events given out and not ended. */
void window_end(struct window *window, uint64_t count);

/* Ends the first event that has not ended, as refused. There is one. */
void window_refuse_first(struct window *window);

/*
 * Drops the events that were not given out, or, of those that had not ended,
 * not again: as if they had never been added, so that their numbers are given
 * to others.
 */
void window_drop_rest(struct window *window);

/* As window_drop_rest, and those that were given out and have not ended as
 * well. Returns how many of these there were, but for refused ones. */
uint64_t window_drop_all(struct window *window);

/* Gives out again all that has not ended. */
void window_rewind(struct window *window);

/* As window_rewind, and in front of that all confirmed events that are kept.
 * Returns how many of these there are. */
size_t window_rewind_kept(struct window *window);

#endif
