/*
 * Poison: an event upon which the server ends the connection, each time. Found
 * by how connections end, and refused at last, so that those behind it get
 * through. Pure bookkeeping; the caller sends, and counts the events of the
 * input from 1.
 *
 * What counts is that the server ends a connection while the first event on it
 * is not confirmed. After POISON_ENDS such ends at the same event events are
 * sent alone: one, and the next when that is confirmed, on a connection that
 * has answered a ping before, so that the event is what ends it.
 *
 * An end by Close 1007, 1008 or 1009 (RFC 6455, section 7.4.1), or without any
 * Close, is a strike against that event. An event with more than POISON_ENDS
 * strikes, the last of them alone, is refused for good. An end without Close
 * may be the server's own misfortune, or that of something between which cuts
 * connections: it takes POISON_HANG_UPS of those alone, and each time the
 * connection must first have held twice as long, without the event, as any
 * before has with it (POISON_HOLD_MAX_NS at most).
 *
 * Other Closes, and a broken protocol, only lead to events being sent alone: a
 * server that takes a few and closes, each time, so confirms those few.
 *
 * A server that refuses everything, because its disk is full or our account
 * is closed, must not empty the log: after POISON_ROW refusals with nothing
 * confirmed between them the next one takes 8 strikes alone, and each one after
 * it twice as many as the last, up to POISON_STRIKES_MAX. But where the code
 * speaks of the message (1007: its data, 1009: its size) it is taken at its
 * word.
 */
#ifndef WSSINK_POISON_H
#define WSSINK_POISON_H

#include <stdbool.h>
#include <stdint.h>

#define POISON_ENDS 3
#define POISON_HANG_UPS 3
#define POISON_ROW 3
#define POISON_STRIKES_MAX 64
#define POISON_HOLD_MAX_NS (INT64_C(60) * 1000000000)

/* What is held against whom. The counts stop at POISON_STRIKES_MAX. */
struct poison {
	uint64_t suspect;	/* the event of the ends below; 0: none */
	unsigned ends;		/* of connections, at it, in a row */
	unsigned strikes;	/* those of them against it */
	unsigned alone;		/* those of these when it was sent alone */
	int64_t longest_ns;	/* that one of them held with the event, but for
				 * the first, which may have been up for days */
	uint64_t careful_until; /* events up to here are sent alone; 0: none */
	unsigned row;		/* refused, and nothing confirmed since */
};

/* How the server ended a connection. */
enum poison_end {
	POISON_HANG_UP, /* without a Close */
	POISON_POLICY,	/* Close 1008 */
	POISON_MESSAGE, /* Close 1007, 1009: the code speaks of the message */
	POISON_OTHER,	/* in any other way: no strike */
};

/* What it leads to. */
enum poison_verdict {
	POISON_AGAIN,	/* send it again, as before */
	POISON_ISOLATE, /* the same, but from here on events go alone */
	POISON_REFUSE,	/* the suspect is refused: end it */
};

/* Starts without any suspicion. */
void poison_init(struct poison *poison);

/* Says whether events are to be sent alone. */
bool poison_is_careful(const struct poison *poison);

/* Returns for how long a connection must have held before the next event is
 * sent on it alone. */
int64_t poison_hold_ns(const struct poison *poison);

/* Notes that events 1..ended have ended, and some of them were confirmed since
 * the last call. */
void poison_confirmed(struct poison *poison, uint64_t ended);

/*
 * Notes that the events behind `from` come again, and are counted from `to`
 * then. Nobody is suspected: which of them comes first is not known. But events
 * are sent alone for as many as before.
 */
void poison_renumber(struct poison *poison, uint64_t from, uint64_t to);

/*
 * Notes that the server has ended a connection, or broken the protocol on it,
 * while event `first` was not confirmed, and events up to `last` had been sent
 * on it, which held for `with_ns` with it. `is_alone`: it was sent alone,
 * behind a ping that was answered. After POISON_REFUSE nobody is suspected.
 * From POISON_ISOLATE on poison_is_careful says yes, until all events up to the
 * `last` of that call have ended: any of them may be the cause.
 */
enum poison_verdict poison_ended(struct poison *poison, uint64_t first,
    uint64_t last, enum poison_end end, int64_t with_ns, bool is_alone);

#endif
