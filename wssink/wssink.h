/*
 * wssink, the program: events in from descriptor 0, each given to the delivery,
 * acks and rejections back. It decides what is taken in, and when all is done.
 *
 * The acks go into a FIFO if one is named, else back on descriptor 0 where that
 * is a socket, else nowhere. Before there is a reader of a FIFO that is named,
 * no event is taken.
 *
 * Under a supervisor the end of the input is not the end of the events: a new
 * input may be attached. What was read of the old one and is not sent is
 * forgotten then, for its writer sends all that it has no ack for again. What
 * was sent is waited for before the new one is read, so that the acks of that
 * count nothing else.
 */
#ifndef WSSINK_WSSINK_H
#define WSSINK_WSSINK_H

#include "stage/control.h"
#include "stage/exitcode.h"
#include "wssink/delivery.h"
#include "wssink/permit.h"

#include <stdbool.h>
#include <stdint.h>

/* What to do. All strings are borrowed as long as the sink lives. */
struct wssink_options {
	struct delivery_options delivery;
	struct control *control;     /* open, maybe to nobody */
	const char *acks_path;	     /* FIFO for the acks; NULL: none, as under
				      * a supervisor */
	bool has_drain_timeout;	     /* else there is none */
	uint64_t drain_timeout_ms;   /* from the end of the input, or from when
				      * an event was confirmed or taken last if
				      * no more are taken and that end is there */
	const struct permit *permit; /* borrowed; NULL: not confined */
};

struct wssink;

/*
 * Makes a sink of descriptor 0, which stays open; nothing is sent or read yet.
 * SIGTERM and SIGINT are blocked from here on. Returns NULL, and has logged
 * why, if that failed.
 */
struct wssink *wssink_open(const struct wssink_options *options);

/*
 * Runs until the input has ended and all of it was confirmed, or a signal
 * came, or it cannot go on. Under a supervisor the input has ended once no
 * other will come, and a reader of the acks that is gone is no failure. Returns
 * EXITCODE_DONE; EXITCODE_AGAIN, and has logged why: events were refused and
 * there was nobody to tell, the input is not framed, the reader of the acks or
 * the supervisor is gone, the drain timeout has passed, a file was replaced
 * that it may not read any more, or a call of the system failed; or
 * EXITCODE_FINAL: the acks path is no FIFO, or another wssink writes it.
 */
enum exitcode wssink_run(struct wssink *sink);

/* Drops the connection and frees the sink. */
void wssink_close(struct wssink *sink);

#endif
