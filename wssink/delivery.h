/*
 * The delivery: takes the events of its window to the server, over one
 * connection after the other, until each is confirmed or refused. It decides
 * when to connect again, what is sent again, what is sent alone and which event
 * the server cannot take; where events come from, and who is told of all that,
 * is the caller's.
 */
#ifndef WSSINK_DELIVERY_H
#define WSSINK_DELIVERY_H

#include "stage/loop.h"
#include "stage/meter.h"
#include "wssink/pace.h"
#include "wssink/poison.h"
#include "wssink/retry.h"
#include "wssink/window.h"
#include "wssink/wslink.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Longest text that says why an event was refused, NUL included. */
#define DELIVERY_WHY_BYTES 256

/* How to deliver. All strings are borrowed as long as the delivery lives. */
struct delivery_options {
	struct wslink_options link;
	uint64_t backoff_max_ms; /* longest wait between two tries */
	size_t replay;		 /* confirmed events sent again after an
				  * abnormal end; 0..WINDOW_KEPT_EVENTS */
	uint64_t rate;		 /* events a second at most; 0: no limit */
};

struct delivery {
	/* For the caller, who adds events to the window and reads the rest. */
	struct window window;
	struct wslink *link;  /* owned; its state, and why it is down */
	uint64_t confirmed;   /* events, by the server */
	int64_t confirmed_ns; /* the last of them; or the start */
	struct meter meter;   /* of them */
	uint64_t connects;    /* connections that were open */
	bool was_lost;	      /* a connection, or a try, came to its end */
	int64_t since_ns;     /* of the link's state; of upgrading, since it is
			       * connecting */
	const struct delivery_options *options; /* borrowed */

	/* For the functions below only. */
	bool is_leaving; /* no new connection is made */

	/* Of this connection, or the one to come. */
	enum wslink_state seen;	 /* its state, last looked at */
	uint64_t ended_messages; /* confirmed, looked at */
	uint64_t replayed;	 /* of its messages: events that had ended
				  * before, and are not confirmed again yet */
	bool is_replay;		 /* it began with such events */
	uint64_t dropped;	 /* of its messages: events that were dropped
				  * since, and are not confirmed yet; behind
				  * those that are replayed */
	bool is_alone;		 /* a single event was sent, to try it */
	int64_t first_ns;	 /* when it was; or, since when the connection
				  * is open */
	int64_t wake_ns;	 /* when an event that is held back may be
				  * sent; LOOP_NEVER: none is */

	uint64_t disowned; /* events up to this one, if not ended, are dropped
			    * with the connection */

	uint64_t refused;	      /* an event, not told yet; 0: none */
	char why[DELIVERY_WHY_BYTES]; /* it was */
	bool owes_replay;	      /* the last end was abnormal */
	unsigned vain_replays; /* connections that began with a replay, in a
				* row, that confirmed no event for the first
				* time */
	struct retry retry;
	struct poison poison;
	struct pace pace;
};

/*
 * Makes a delivery without events; nothing is sent yet. Returns 0, or -1 if
 * libcurl cannot be set up.
 */
int delivery_open(
    struct delivery *delivery, const struct delivery_options *options);

/* Drops the connection and all events. */
void delivery_close(struct delivery *delivery);

/* Returns how many events have not ended. */
uint64_t delivery_unended(const struct delivery *delivery);

/* States what the delivery waits for in this turn of the loop. */
void delivery_watch(struct delivery *delivery, struct loop *loop);

/* Does what poll found ready. */
void delivery_turn(struct delivery *delivery, const struct loop *loop);

/* Says whether the next delivery_follow connects. */
bool delivery_is_due(const struct delivery *delivery);

/*
 * Follows what became of the connection, and connects when it is time to.
 * Returns 0; or the number of an event that the server cannot take, as was
 * found now: it has ended so, and *why, borrowed until the next call, is for
 * its writer.
 */
uint64_t delivery_follow(struct delivery *delivery, const char **why);

/*
 * Notes that the events of the window will be added again, by a writer who does
 * not know of them. Drops those that were not sent on the connection there is.
 * The others stay until they are confirmed, or the connection ends; no event is
 * added before the window is empty.
 */
void delivery_disown(struct delivery *delivery);

/* Drops what delivery_disown has left, though it may be confirmed yet. */
void delivery_drop_disowned(struct delivery *delivery);

/* Sends what may be sent. Returns whether that, or the last turn, has confirmed
 * messages: then there may be room for more. */
bool delivery_send(struct delivery *delivery);

/*
 * Makes no new connection from here on, and ends the one there is by a closing
 * handshake with `code` that takes `wait_ms` at most.
 */
void delivery_leave(struct delivery *delivery, unsigned code, uint64_t wait_ms);

#endif
