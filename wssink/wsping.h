/*
 * The pings of one connection: which messages each stands behind, what their
 * pongs confirm, and by when one is overdue. Pure bookkeeping: the caller sends
 * the frames and says what time it is (CLOCK_MONOTONIC).
 *
 * Pings are numbered from 1 and cumulative: a server may answer only the newest
 * (RFC 6455, section 5.5.3). A pong is due within the ping timeout from when
 * the system took its ping, or from the last answer, and a second later for
 * each MiB, up to 16, that stands between that answer and the ping: so a slow
 * reader that gets ahead is left alone. TCP is granted the same.
 */
#ifndef WSSINK_WSPING_H
#define WSSINK_WSPING_H

#include <stdbool.h>
#include <stdint.h>

/* On their way at once: the next messages need not wait for a pong. */
#define WSPING_MAX 4

/* Messages without a ping behind them, at most, while one may be sent: so a
 * server that closes after some messages, each time, has confirmed those. */
#define WSPING_STRIDE 64

/* A ping that was not answered yet. */
struct wsping_entry {
	uint64_t messages;  /* of the connection, in front of it */
	uint64_t end_bytes; /* of the connection, up to its end */
	int64_t written_ns; /* when the system had taken it; 0: not yet */
};

struct wsping {
	struct wsping_entry entries[WSPING_MAX]; /* by number modulo it */
	uint64_t pinged;			 /* 1..pinged were queued */
	uint64_t ponged;			 /* 1..ponged are answered */
	uint64_t behind;	 /* messages in front of the last one queued */
	uint64_t answered_bytes; /* end_bytes of the last one answered */
	int64_t pinged_ns;	 /* the last one was queued, or the start */
	int64_t heard_ns;	 /* the server last showed that it reads */
};

/* Starts a connection. */
void wsping_init(struct wsping *pings, int64_t now_ns);

/* Says whether one more may be on its way. */
bool wsping_has_room(const struct wsping *pings);

/*
 * Says whether a ping is to be sent: because of the `messages` queued so far,
 * if they are to be confirmed by pongs (`confirms`), or because there was none
 * for `interval_ns`; and the number on their way allows it.
 */
bool wsping_is_due(const struct wsping *pings, uint64_t messages, bool confirms,
    int64_t interval_ns, int64_t now_ns);

/* Notes a ping queued behind `messages`, up to `end_bytes` of the connection,
 * its own included. Returns its number; wsping_next_number told it before. */
uint64_t wsping_queue(struct wsping *pings, uint64_t messages,
    uint64_t end_bytes, int64_t now_ns);
uint64_t wsping_next_number(const struct wsping *pings);

/* Notes that the system has taken `bytes` of the connection. */
void wsping_written(struct wsping *pings, uint64_t bytes, int64_t now_ns);

/*
 * Takes a pong with that number. Returns true and sets *messages to how many
 * messages it confirms, or false if it answers none that is on its way.
 */
bool wsping_answer(
    struct wsping *pings, uint64_t number, int64_t now_ns, uint64_t *messages);

/* Notes that the server has shown in another way that it reads. */
void wsping_heard(struct wsping *pings, int64_t now_ns);

/* Returns when the oldest ping must have been answered, or INT64_MAX. */
int64_t wsping_deadline_ns(const struct wsping *pings, int64_t timeout_ns);

/* Returns for how long TCP may hear nothing, once `queued_bytes` of the
 * connection were queued: the timeout, and a second for each whole MiB, up to
 * 16, that was queued since the last answer. */
uint64_t wsping_silence_ms(
    const struct wsping *pings, uint64_t queued_bytes, uint64_t timeout_ms);

/* Returns when the next ping is due though nothing is sent, or INT64_MAX while
 * one is on its way. */
int64_t wsping_keepalive_ns(const struct wsping *pings, int64_t interval_ns);

#endif
