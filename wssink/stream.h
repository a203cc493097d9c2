/*
 * The stream: events in from a descriptor into the window, and what goes back
 * to their writer: acks, rejections, and whether there is a connection. When
 * to read, and what follows from the end of it, is the caller's.
 *
 * One stream may follow another on the descriptor. To its writer each counts
 * its own events, from 1, whatever the window has counted before.
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
	bool is_repeated;     /* its writer, or who follows it, sends all again
			       * that was not acked: it may end anywhere */
	bool is_last;	      /* no other stream follows this one */
	bool is_held;	      /* it has not begun: see stream_renew */
	bool is_over;	      /* no more events are taken from it */
	bool is_faulty;	      /* that is so because the rest of it cannot be
			       * taken, as was logged */
	bool is_skipping;     /* inside a line that is too long */
	uint64_t rejected;    /* events refused */
	uint64_t untellable;  /* those of them that nobody was told of */

	/* For the functions below only. */
	uint64_t base;	      /* events of the window in front of its first */
	uint64_t acked;	      /* the last ack queued */
	bool breaker_is_open; /* as it was last told */
	struct log_limit reject_limit;
};

/*
 * Makes a stream of descriptor `fd`, which stays open. Its writer is told there
 * as well, if that is a socket, unless `needs_reverse`: then no event is taken
 * before the caller has set another place. It is the last one, and its events
 * come once; the caller may set that otherwise.
 */
void stream_init(struct stream *stream, int fd, bool needs_reverse);

/* Frees its memory. */
void stream_fini(struct stream *stream);

/*
 * Makes a new stream of the same descriptor, which is another's now. What came
 * of the old one and was not taken, and what was not yet told there, is
 * dropped. The new one is held: the breaker is told to its writer, but no event
 * is taken, before stream_begin.
 */
void stream_renew(struct stream *stream);

/* Begins with the stream. All events of the window have ended. */
void stream_begin(struct stream *stream, const struct window *window);

/* Says whether an event of `bytes` may be taken into the window. */
bool stream_has_room(
    const struct stream *stream, const struct window *window, size_t bytes);

/*
 * Takes all events that are there and for which there is room. Those that
 * cannot be sent are refused, and their writer is told. Sets is_over at the end
 * of the last stream, or of what can be told apart of one. Returns whether
 * there were any.
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
 * told, or any more. */
bool stream_is_told(const struct stream *stream, const struct window *window);

#endif
