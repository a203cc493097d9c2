/*
 * The stream: events in from a descriptor into the window, and what goes back
 * to their writer: acks, rejections, and whether there is a connection. When
 * to read, and what follows from the end of it, is the caller's.
 */
#ifndef WSSINK_STREAM_H
#define WSSINK_STREAM_H

#include "stage/chan.h"
#include "stage/log.h"
#include "wssink/window.h"
#include "wssink/wslink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct stream {
	/* For the caller. */
	struct chan chan;     /* events in; the acks out, if a socket */
	struct chan *reverse; /* where its writer is told: `chan`, or another
			       * that the caller sets; NULL: nowhere, or not
			       * yet */
	bool needs_reverse;   /* no event is taken while that is NULL */
	bool is_over;	      /* no more events are taken from it */
	bool is_faulty;	      /* that is so because the rest of it cannot be
			       * taken, as was logged */
	bool is_skipping;     /* inside a line that is too long */
	uint64_t rejected;    /* events refused */
	uint64_t untellable;  /* those of them that nobody was told of */

	/* For the functions below only. */
	uint64_t acked;	      /* the last ack queued */
	bool breaker_is_open; /* as it was last told */
	struct log_limit reject_limit;
};

/*
 * Makes a stream of descriptor `fd`, which stays open. Its writer is told there
 * as well, if that is a socket, unless `needs_reverse`: then no event is taken
 * before the caller has set another place.
 */
void stream_init(struct stream *stream, int fd, bool needs_reverse);

/* Frees its memory. */
void stream_fini(struct stream *stream);

/* Says whether an event of `bytes` may be taken into the window. */
bool stream_has_room(
    const struct stream *stream, const struct window *window, size_t bytes);

/*
 * Takes all events that are there and for which there is room. Those that
 * cannot be sent are refused, and their writer is told. Sets is_over at the end
 * of the input, or of what can be told apart of it. Returns whether there were
 * any.
 */
bool stream_take(struct stream *stream, struct window *window);

/* Tells the writer that event `n` of the window can never be delivered. */
void stream_reject(struct stream *stream, uint64_t n, const char *why);

/*
 * Tells the writer what has ended, and, if `with_breaker`, whether the link is
 * open, as far as that is news. Returns 0, or -1 with errno set if that failed;
 * a writer that is gone is no failure.
 */
int stream_tell(struct stream *stream, const struct window *window,
    const struct wslink *link, bool with_breaker);

/* Says whether the writer was told of all that has ended, or nobody is to be
 * told. */
bool stream_is_told(const struct stream *stream, const struct window *window);

#endif
