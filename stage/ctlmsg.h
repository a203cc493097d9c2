/*
 * Control messages: what travels on the control channel between the supervisor
 * and a stage, each one JSON object in a packet of its own (SOCK_SEQPACKET).
 * The names of the fields live only here; those within a report belong to who
 * writes it. Unknown keys are ignored; so is a message that has none of ours.
 *
 * To the stage:
 *   {"control":1}      the first packet: this is a control channel
 *   {"attach":"in"}    a descriptor comes along: a new stream to read from
 *   {"attach":"out"}   the same: a new stream to write to
 *   {"drain":true}     no other input will come: finish what is here, and end
 *   {"ask":"report"}   send a report now
 * From the stage:
 *   {"ready":true}     it has begun its work
 *   {"report":{...}}   how it stands: numbers, strings, true and false
 *   {"fault":"in"}     who writes to it has broken the protocol: that stream is
 *                      ended, and nothing is taken from there any more
 *   {"fault":"out"}    the same of who reads from it
 */
#ifndef STAGE_CTLMSG_H
#define STAGE_CTLMSG_H

#include <cjson/cJSON.h>

#include <stddef.h>
#include <stdint.h>

enum ctlmsg_kind {
	CTLMSG_UNKNOWN, /* well formed, nothing of ours in it: ignore */
	CTLMSG_HELLO,
	CTLMSG_ATTACH_IN,
	CTLMSG_ATTACH_OUT,
	CTLMSG_DRAIN,
	CTLMSG_ASK,
	CTLMSG_READY,
	CTLMSG_REPORT,
	CTLMSG_FAULT_IN,
	CTLMSG_FAULT_OUT,
	CTLMSG_KINDS,
};

/* Longest message written, and longest message read. */
#define CTLMSG_MAX_BYTES ((size_t)8192)

/*
 * Reads one message. Returns 0 with *kind set and, for CTLMSG_REPORT only,
 * *report set to the object, which the caller deletes (else to NULL); or -1
 * with *why saying what is wrong with it (a constant string): not a JSON
 * object, longer than CTLMSG_MAX_BYTES, or a value that its key cannot have.
 */
int ctlmsg_parse(const uint8_t *in, size_t in_bytes, enum ctlmsg_kind *kind,
    cJSON **report, const char **why);

/*
 * Writes one message to `out`. `report` is an object for CTLMSG_REPORT, not
 * used else. Returns its length, or 0 if the report is too long to be sent.
 */
size_t ctlmsg_put(
    uint8_t out[CTLMSG_MAX_BYTES], enum ctlmsg_kind kind, const cJSON *report);

#endif
