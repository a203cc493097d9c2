/*
 * One websocket connection at a time: connect, Upgrade, messages out, pings
 * and acks in, the closing handshake. It counts which of the messages it was
 * given are confirmed, in the sense of the ack level, and says when a
 * connection is over and why. When to connect again, and what to send, is the
 * caller's; it keeps no message longer than it takes to write it.
 *
 * A server is taken for dead when a ping is not answered in time (wsping.h), or
 * when bytes wait to be written and none goes, or its TCP acknowledges nothing,
 * for as long as wsping_silence_ms says.
 */
#ifndef WSSINK_WSLINK_H
#define WSSINK_WSLINK_H

#include "stage/loop.h"
#include "wssink/auth.h"
#include "wssink/conn.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* When a message counts as confirmed. */
enum wslink_ack {
	WSLINK_ACK_PONG,  /* a ping sent behind it was answered */
	WSLINK_ACK_WRITE, /* the system took its last byte */
	WSLINK_ACK_APP,	  /* the server counted it in {"ack":N} */
};

/* How to connect. All is borrowed as long as the link lives. */
struct wslink_options {
	struct conn_url url;
	struct conn_options conn;
	struct auth *auth;     /* read once; read anew with each dial */
	const char *protocols; /* subprotocols, "a, b"; NULL: none */
	enum wslink_ack ack;
	bool is_binary; /* messages are binary, not text */
	uint64_t ping_interval_ms;
	uint64_t ping_timeout_ms;
};

enum wslink_state {
	WSLINK_DOWN,	   /* no connection: see wslink_why */
	WSLINK_CONNECTING, /* name, TCP, proxy, TLS */
	WSLINK_UPGRADING,  /* asked, not answered */
	WSLINK_OPEN,	   /* messages may be sent */
	WSLINK_CLOSING,	   /* no more messages; some may yet be confirmed */
};

/* How a connection came to its end. */
enum wslink_end {
	WSLINK_END_NEVER_OPEN, /* it was none: see wslink_retry_after_ms */
	WSLINK_END_CLOSED,     /* the server sent a Close: see wslink_code */
	WSLINK_END_HUNG_UP,    /* the server ended it without one */
	WSLINK_END_BROKEN,     /* the server broke the protocol: we closed */
	WSLINK_END_GIVEN_UP, /* we ended it, or TCP: the server did not answer;
			      * or we were told to */
};

struct wslink;

/* Makes a link that is down; NULL if libcurl cannot be set up. */
struct wslink *wslink_new(const struct wslink_options *options);

/* Drops the connection and frees the link; NULL is allowed. */
void wslink_free(struct wslink *link);

/* Returns the state after the last call. */
enum wslink_state wslink_state(const struct wslink *link);

/* Returns why the last connection ended, or is ending: one line of printable
 * text, borrowed until the next call that changes the link. */
const char *wslink_why(const struct wslink *link);

/* Says how the last connection ended. The link is down. */
enum wslink_end wslink_end(const struct wslink *link);

/* Returns the code of the server's Close, or WSFRAME_NO_CODE, where that is
 * how the connection ended; else 0. */
unsigned wslink_code(const struct wslink *link);

/* Returns for how long the server, which refused the Upgrade, wants no other
 * try, in ms; 0 if it did not say. */
uint64_t wslink_retry_after_ms(const struct wslink *link);

/* Begins to connect. The link is down; it may be so again on return. */
void wslink_dial(struct wslink *link);

/* States what the link waits for in this turn, deadlines included. */
void wslink_watch(struct wslink *link, struct loop *loop);

/* Does what poll found ready and what is due. */
void wslink_turn(struct wslink *link, const struct loop *loop);

/* Says whether a message may be sent now. */
bool wslink_has_room(const struct wslink *link);

/*
 * Queues one message of at most FRAME_MAX_BYTES; valid UTF-8, if messages are
 * text. The link has room for it. It is down afterwards if OpenSSL has no
 * random numbers.
 */
void wslink_send(struct wslink *link, const uint8_t *payload, size_t bytes);

/*
 * Adds what pings are needed behind the messages queued and writes as much as
 * the system takes. Call it when all that can be sent was queued. Returns
 * whether everything was written.
 */
bool wslink_flush(struct wslink *link);

/* Returns how many messages of this connection are confirmed, from the first;
 * it starts at 0 with each dial, and never falls until then. */
uint64_t wslink_confirmed(const struct wslink *link);

/* Asks for a ping now, if there was none on this connection yet. */
void wslink_probe(struct wslink *link);

/* Says whether a ping was answered on this connection. */
bool wslink_was_answered(const struct wslink *link);

/*
 * Begins the closing handshake with `code`; the connection is dropped if it
 * takes longer than `wait_ms`. Without an open connection the link is down at
 * once.
 */
void wslink_close(struct wslink *link, unsigned code, uint64_t wait_ms);

#endif
