/*
 * Control messages: what travels on the control channel between the supervisor
 * and a stage, each one JSON object in a packet of its own (SOCK_SEQPACKET).
 * The names of the fields live only here; those within a report belong to who
 * writes it. Unknown keys are ignored; so is a message that has none of ours.
 *
 * To the stage:
 *   {"control":1}      the first packet: this is a control channel
 *   {"streams":{"in":["a","b"],"out":["c"]}}
 *                      the names of all that may be attached from here on
 *   {"attach":"in"}    a descriptor comes along: a new stream to read from
 *   {"attach":"out"}   the same: a new stream to write to
 *   {"drain":true}     no other input will come: finish what is here, and end
 *   {"drain":"present"}
 *                      the same, as far as those that read from it are there:
 *                      nobody will come in the place of one that is not
 *   {"ask":"report"}   send a report now
 * From the stage:
 *   {"ready":true}     it has begun its work
 *   {"report":{...}}   how it stands: numbers, strings, true and false
 *   {"fault":"in"}     who writes to it has broken the protocol: that stream is
 *                      ended, and nothing is taken from there any more
 *   {"fault":"out"}    the same of who reads from it
 * An attach and a fault may have a member "name" beside that, where a stage has
 * more than one neighbour on a side: which of them.
 */
#ifndef STAGE_CTLMSG_H
#define STAGE_CTLMSG_H

#include <cjson/cJSON.h>

#include <stddef.h>
#include <stdint.h>

enum ctlmsg_kind {
	CTLMSG_UNKNOWN, /* well formed, nothing of ours in it: ignore */
	CTLMSG_HELLO,
	CTLMSG_STREAMS,
	CTLMSG_ATTACH_IN,
	CTLMSG_ATTACH_OUT,
	CTLMSG_DRAIN,
	CTLMSG_DRAIN_PRESENT,
	CTLMSG_ASK,
	CTLMSG_READY,
	CTLMSG_REPORT,
	CTLMSG_FAULT_IN,
	CTLMSG_FAULT_OUT,
	CTLMSG_KINDS,
};

/* Longest message written, and longest message read. */
#define CTLMSG_MAX_BYTES ((size_t)16384)
/* Longest name; names are as keys.h has them. */
#define CTLMSG_NAME_BYTES 64
/* Names in each list of the streams, at most. */
#define CTLMSG_MAX_NAMES 32

struct ctlmsg {
	enum ctlmsg_kind kind;
	char name[CTLMSG_NAME_BYTES + 1]; /* "": none is given */
	cJSON *body; /* REPORT, STREAMS: the object; else NULL */
};

/*
 * Reads one message. Returns 0 with *msg set, whose body the caller deletes; or
 * -1 with *why saying what is wrong with it (a constant string) and no body:
 * not a JSON object, longer than CTLMSG_MAX_BYTES, or a value that its key
 * cannot have. The lists of CTLMSG_STREAMS are there, and hold names only.
 */
int ctlmsg_parse(
    const uint8_t *in, size_t in_bytes, struct ctlmsg *msg, const char **why);

/* Writes one message to `out`. Returns its length, or 0 if it is too long to
 * be sent. */
size_t ctlmsg_put(uint8_t out[CTLMSG_MAX_BYTES], const struct ctlmsg *msg);

#endif
