/*
 * The reader of websocket frames. The first byte says in how large pieces the
 * rest arrives; what is read must not depend on it, nor on a cut anywhere.
 */
#include "wssink/wsframe.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What came out, put together. */
struct result {
	unsigned long messages;
	unsigned long bytes;
	unsigned hash;
	unsigned fault; /* its code; 0: none */
};

static void
add(struct result *result, const struct wsframe_message *message)
{
	assert(message->bytes <= WSFRAME_MESSAGE_BYTES);
	result->messages++;
	result->bytes += message->bytes;
	result->hash = result->hash * 31 + message->opcode;
	for (size_t i = 0; i < message->bytes; i++)
		result->hash = result->hash * 31 + message->payload[i];
}

/* Reads all of `data`, of which `first` bytes arrive, and then `step` more at a
 * time. */
static struct result
read_in_steps(const uint8_t *data, size_t size, size_t first, size_t step)
{
	struct wsframe_reader reader;
	struct wsframe_message message;
	struct wsframe_fault fault;
	struct result result = {0};
	enum wsframe_status status;
	size_t at = 0, end = first, used;

	wsframe_reader_init(&reader);
	for (;;) {
		/* Of its exact size, so that a read beyond it is seen. */
		uint8_t *part = malloc(end == at ? 1 : end - at);

		memcpy(part, data + at, end - at);
		status = wsframe_read(
		    &reader, part, end - at, &message, &used, &fault);
		if (status == WSFRAME_READY)
			add(&result, &message);
		free(part);
		if (status == WSFRAME_BROKEN) {
			result.fault = fault.code;
			break;
		}
		assert(used <= end - at);
		at += used;
		if (status == WSFRAME_PARTIAL && end == size)
			break;
		if (status == WSFRAME_PARTIAL)
			end += size - end < step ? size - end : step;
	}
	wsframe_reader_fini(&reader);
	return result;
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct result whole, parts;

	if (size == 0)
		return 0;
	size--;
	whole = read_in_steps(data + 1, size, size, size);
	parts = read_in_steps(data + 1, size, 0, (size_t)data[0] + 1);
	assert(memcmp(&whole, &parts, sizeof(whole)) == 0);
	/* Cut in two, at every byte unless there are many. */
	for (size_t cut = 0; cut < size; cut += 1 + size / 1024) {
		parts = read_in_steps(data + 1, size, cut, size);
		assert(memcmp(&whole, &parts, sizeof(whole)) == 0);
	}
	return 0;
}
