/*
 * What a sender keeps of a stream: the events that its reader has not
 * acknowledged, as framed bytes in order, so that they can be sent again when
 * another reader takes its place. Pure; an event leaves by being acknowledged
 * and in no other way. Counts are of the present stream, from 1, as in msg.h.
 */
#ifndef STAGE_KEEP_H
#define STAGE_KEEP_H

#include "stage/buf.h"
#include "stage/frame.h"

#include <stddef.h>
#include <stdint.h>

struct keep {
	enum framing framing; /* never FRAMING_AUTO */
	struct buf bytes;     /* the events, whole, oldest first */
	uint64_t events;      /* how many that are */
	size_t sent_bytes;    /* of these bytes: given to the stream */
	size_t sent_end;      /* behind the event that is given in pieces */
	uint64_t sent;	      /* events of the stream that were given whole */
	uint64_t acked;	      /* of these: acknowledged */
	uint64_t bare;	      /* given and not acknowledged, older than all that
			       * is here, and not kept */
};

/* Makes an empty keep that holds at most `max_bytes` of framed events. */
void keep_init(struct keep *keep, enum framing framing, size_t max_bytes);

/* Frees the memory. */
void keep_fini(struct keep *keep);

/*
 * Takes an event of `bytes`, to be framed, which the caller writes to where
 * this returns before anything else is asked of the keep; it has no \n or \r.
 * Returns NULL and takes nothing if there is no room for it.
 */
uint8_t *keep_put(struct keep *keep, size_t bytes);

/*
 * Takes a line of any bytes but \n, as it is; the \n is added. One that begins
 * with a zero byte, which no JSON does, gets a space before it: the first byte
 * of a stream says what framing it has. The framing is FRAMING_NDJSON. Returns
 * 0, or -1 and takes nothing if there is no room for it.
 */
int keep_add_line(struct keep *keep, const uint8_t *line, size_t bytes);

/*
 * Gives the stream what it does not have yet, in order, until `out` holds
 * `limit` bytes or the next event would not fit in; an event that is longer
 * than that by itself is given in pieces.
 */
void keep_give(struct keep *keep, struct buf *out, size_t limit);

/* Counts an event that was given to the stream without being kept. Nothing is
 * kept at this moment. */
void keep_count_bare(struct keep *keep);

/*
 * Takes an acknowledgement of the first `n` events of the stream. Returns
 * NULL; or, with nothing changed, what is wrong with it (a constant string): it
 * falls, or is one of more than were given whole.
 */
const char *keep_ack(struct keep *keep, uint64_t n);

/* Drops what was given, where nobody acknowledges. */
void keep_drop_given(struct keep *keep);

/* Begins a new stream, to which all that is here is to be given. Returns how
 * many events are lost: those that were not kept and not acknowledged. */
uint64_t keep_restart(struct keep *keep);

/* Returns how many events were taken and not acknowledged. */
uint64_t keep_unacked(const struct keep *keep);

/* Returns how many bytes are kept, and of these how many were not given. */
size_t keep_bytes(const struct keep *keep);
size_t keep_waiting_bytes(const struct keep *keep);

#endif
