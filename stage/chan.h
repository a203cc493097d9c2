/*
 * One peer of a stage: a descriptor to read from, one to write to (the same
 * one, where it is a socket), a capped queue for each way, and the framing of
 * each way. It carries frames and knows neither events nor messages, but for
 * chan_send_msg and chan_next_msg, which are the reverse channel.
 *
 * The descriptors are borrowed: their flags stay as they are, since other
 * processes may share them, and chan_fini does not close them. So a socket is
 * used with MSG_DONTWAIT; a pipe is read once for each time that poll(2) said
 * it was ready, and given at most PIPE_BUF bytes, which never blocks and is not
 * mixed with what others write (pipe(7)); or, where nobody else writes, all
 * that it holds when it is empty. Lines that fit into that are given whole, so
 * that they stay whole when this process ends at any moment.
 */
#ifndef STAGE_CHAN_H
#define STAGE_CHAN_H

#include "stage/buf.h"
#include "stage/frame.h"
#include "stage/loop.h"
#include "stage/msg.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct chan {
	int in_fd;  /* borrowed; -1: nothing to read from */
	int out_fd; /* borrowed; -1: nothing to write to */
	bool in_is_socket;
	bool out_is_socket;
	bool out_is_ours; /* the caller's to set: no other process can have
			   * reason to write there, so more is written at
			   * once */
	enum framing in_framing;  /* FRAMING_AUTO until the first byte */
	enum framing out_framing; /* never FRAMING_AUTO */
	struct buf in;
	struct buf out;
	size_t in_searched;    /* front bytes known to hold no \n */
	size_t in_frame_bytes; /* frame given out and not yet dropped */
	bool in_starved;       /* the frame at the front is not whole */
	bool in_ended;	       /* end of input, or the peer is gone */
	bool out_broken;       /* the peer is gone */
	size_t in_slot;	       /* this turn's slots in the loop, or 0 */
	size_t out_slot;
};

/* Read-ahead: more is queued only while one frame needs it. */
#define CHAN_READ_BYTES ((size_t)256 << 10)
/* Fits the longest frame and a read-ahead behind it. */
#define CHAN_MAX_BYTES (FRAME_MAX_BYTES + 2 * CHAN_READ_BYTES)
/* Memory that a queue which is empty keeps for what is written next, at most.
 */
#define CHAN_KEEP_BYTES ((size_t)1 << 20)

/*
 * Makes a peer of two descriptors, each -1 for none. `out_framing` FRAMING_AUTO
 * picks `length` on a socket and `ndjson` on anything else; `in_framing`
 * FRAMING_AUTO is found by the first byte.
 */
void chan_init(struct chan *chan, int in_fd, enum framing in_framing,
    int out_fd, enum framing out_framing);

/* Frees the queues. */
void chan_fini(struct chan *chan);

/*
 * States what the peer waits for in this turn: to read if `reading` and there
 * is room, to write if bytes are queued.
 */
void chan_watch(struct chan *chan, struct loop *loop, bool reading);

/*
 * Does what poll found ready: one read, one write; nothing without a
 * chan_watch before it in this turn. A peer that left is no error: it shows in
 * in_ended and out_broken. Returns 0, or -1 with errno set
 * when a descriptor failed otherwise.
 */
int chan_turn(struct chan *chan, const struct loop *loop);

/* Writes queued bytes without waiting for poll, as far as a socket takes them;
 * nothing on anything but a socket. Returns as chan_turn. */
int chan_push(struct chan *chan);

/* Reads without waiting for poll what has come on a socket, up to the
 * read-ahead; nothing on anything but a socket. Returns as chan_turn. */
int chan_pull(struct chan *chan);

/*
 * Looks at the frame at the front. FRAME_READY: *payload (borrowed until
 * chan_drop) and *bytes are set. FRAME_PARTIAL: more is needed, or nothing is
 * there. FRAME_TOO_LONG: see frame.h. At the end of the input an ndjson line
 * without its \n is FRAME_READY too.
 */
enum frame_status chan_next(
    struct chan *chan, const uint8_t **payload, size_t *bytes);

/* Drops the frame that chan_next gave. */
void chan_drop(struct chan *chan);

/*
 * After FRAME_TOO_LONG in ndjson, or for the rest of a broken stream: gives
 * the next piece of the line, *bytes long (0: none is there), borrowed until
 * chan_drop. Returns true when the line ends with this piece. In `length` the
 * piece is all that is queued, and it never ends.
 */
bool chan_next_piece(struct chan *chan, const uint8_t **piece, size_t *bytes);

/*
 * Queues one event in the peer's framing. Returns 0, or -1 and queues nothing
 * if the queue has no room for it.
 */
int chan_send(struct chan *chan, const uint8_t *payload, size_t bytes);

/* Queues one message of the reverse channel, if there is a way to send it. */
void chan_send_msg(struct chan *chan, const struct msg *msg);

/*
 * Takes the next message of the reverse channel. FRAME_READY: *msg is set,
 * maybe to MSG_UNKNOWN. FRAME_PARTIAL: none is there. FRAME_TOO_LONG: what
 * came is no message; *why says why, and the peer cannot be followed.
 */
enum frame_status chan_next_msg(
    struct chan *chan, struct msg *msg, const char **why);

/* Says whether every queued byte was written. */
bool chan_is_flushed(const struct chan *chan);

#endif
