/*
 * Messages: what travels on the reverse channel of a stream, from its reader
 * back to its writer, each one JSON object in a `length` frame. The names of
 * the fields live only here. Unknown keys are ignored; so is a message that
 * has none of ours.
 *
 *   {"ack":N}                          the first N events are taken over
 *   {"reject":N,"reason":"..."}        event N can never be delivered
 *   {"breaker":"open","reason":"..."}  send nothing for now
 *   {"breaker":"closed"}               go on
 *
 * N counts the events of this stream, from 1.
 */
#ifndef STAGE_MSG_H
#define STAGE_MSG_H

#include <stddef.h>
#include <stdint.h>

enum msg_kind {
	MSG_UNKNOWN, /* well formed, nothing of ours in it: ignore */
	MSG_ACK,
	MSG_REJECT,
	MSG_BREAKER_OPEN,
	MSG_BREAKER_CLOSED,
};

/* Longest reason carried, NUL included; a longer one is cut. */
#define MSG_REASON_BYTES 256
/* Longest message written, and longest message read. */
#define MSG_MAX_BYTES 2048
/* Largest N: integers up to here are exact in every JSON reader. */
#define MSG_MAX_N ((UINT64_C(1) << 53) - 1)

struct msg {
	enum msg_kind kind;
	uint64_t n;		       /* ack, reject: 0..MSG_MAX_N */
	char reason[MSG_REASON_BYTES]; /* reject, breaker open; may be "" */
};

/*
 * Reads one message. Returns 0 with *msg set, or -1 with *why saying what is
 * wrong with it (a constant string): not a JSON object, longer than
 * MSG_MAX_BYTES, N not a whole number in range, or a breaker neither "open"
 * nor "closed". In the last two cases msg->kind says what it was to be; all
 * else of *msg is as it was.
 */
int msg_parse(
    const uint8_t *in, size_t in_bytes, struct msg *msg, const char **why);

/*
 * Writes one message, not framed, to `out`. Returns its length. `kind` is not
 * MSG_UNKNOWN. Of a reason that was cut inside a character the rest of that
 * character is left out, of one that is not valid UTF-8 all of it.
 */
size_t msg_put(uint8_t out[MSG_MAX_BYTES], const struct msg *msg);

#endif
