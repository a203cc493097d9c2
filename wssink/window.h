/*
 * The window: the events that were taken in and are not ended yet, in order,
 * kept so that they can be sent again. An event ends when the server has
 * confirmed it or when it was refused; the window counts the events of the
 * input from 1 and knows up to which of them all have ended. Memory only.
 */
#ifndef WSSINK_WINDOW_H
#define WSSINK_WINDOW_H

#include "stage/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Events held at most, refused ones among them. */
#define WINDOW_EVENTS ((size_t)4096)
/* Bytes held at most, unless it is a single event. */
#define WINDOW_BYTES ((size_t)8 << 20)

struct window {
	struct buf bytes;   /* the events' bytes, one behind the other */
	uint32_t *sizes;    /* owned; by number modulo WINDOW_EVENTS;
			     * 0: refused */
	uint64_t ended;	    /* events 1..ended have ended */
	uint64_t taken;	    /* events 1..taken came in */
	uint64_t next;	    /* events 1..next were given out */
	size_t next_offset; /* in bytes: of the event behind `next` */
};

/* Makes an empty window. */
void window_init(struct window *window);

/* Frees its memory. */
void window_fini(struct window *window);

/* Says whether no event is held. */
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

/* Gives out again all that has not ended. */
void window_rewind(struct window *window);

#endif
