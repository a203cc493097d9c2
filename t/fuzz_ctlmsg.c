/*
 * Control messages from any bytes: what is read, written again and read again
 * is the same.
 */
#include "stage/ctlmsg.h"

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	struct ctlmsg msg, again;
	uint8_t out[CTLMSG_MAX_BYTES];
	const char *why = NULL;
	bool has_body;
	size_t n;

	if (ctlmsg_parse(data, bytes, &msg, &why) == -1) {
		assert(why != NULL && msg.body == NULL);
		return 0;
	}
	has_body = msg.kind == CTLMSG_REPORT || msg.kind == CTLMSG_STREAMS;
	assert(has_body == (msg.body != NULL));
	n = msg.kind == CTLMSG_UNKNOWN ? 0 : ctlmsg_put(out, &msg);
	cJSON_Delete(msg.body);
	/* Escapes may make a body longer than it came. */
	if (n == 0) {
		assert(msg.kind == CTLMSG_UNKNOWN || has_body);
		return 0;
	}
	assert(n <= sizeof(out));
	assert(ctlmsg_parse(out, n, &again, &why) == 0);
	assert(again.kind == msg.kind && strcmp(again.name, msg.name) == 0);
	cJSON_Delete(again.body);
	return 0;
}
