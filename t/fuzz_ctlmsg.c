/*
 * Control messages from any bytes: what is read, written again and read again
 * is the same.
 */
#include "stage/ctlmsg.h"

#include <assert.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	enum ctlmsg_kind kind, again;
	uint8_t out[CTLMSG_MAX_BYTES];
	cJSON *report, *report_again;
	const char *why = NULL;
	size_t n;

	if (ctlmsg_parse(data, bytes, &kind, &report, &why) == -1) {
		assert(why != NULL && report == NULL);
		return 0;
	}
	assert((kind == CTLMSG_REPORT) == (report != NULL));
	n = kind == CTLMSG_UNKNOWN ? 0 : ctlmsg_put(out, kind, report);
	cJSON_Delete(report);
	/* Escapes may make a report longer than it came. */
	if (n == 0) {
		assert(kind == CTLMSG_UNKNOWN || kind == CTLMSG_REPORT);
		return 0;
	}
	assert(n <= sizeof(out));
	assert(ctlmsg_parse(out, n, &again, &report_again, &why) == 0);
	assert(again == kind);
	cJSON_Delete(report_again);
	return 0;
}
