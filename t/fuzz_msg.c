/*
 * Messages from any bytes: what is read, written again and read again is the
 * same.
 */
#include "stage/msg.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct msg msg, again;
	uint8_t out[MSG_MAX_BYTES];
	const char *why = NULL;
	size_t n;

	if (msg_parse(data, bytes, &msg, &why) == -1) {
		assert(why != NULL);
		return 0;
	}
	assert(msg.n <= MSG_MAX_N && strlen(msg.reason) < MSG_REASON_BYTES);
	if (msg.kind == MSG_UNKNOWN)
		return 0;
	n = msg_put(out, &msg);
	assert(n <= sizeof(out));
	assert(msg_parse(out, n, &again, &why) == 0);
	assert(again.kind == msg.kind && again.n == msg.n);
	/* A reason that was cut may lose the rest of its last character. */
	assert(strncmp(again.reason, msg.reason, strlen(again.reason)) == 0);
	return 0;
}
