#include "stage/frame.h"

#include "stage/bytes.h"

#include <assert.h>
#include <string.h>

enum framing
framing_from_name(const char *name)
{
	if (strcmp(name, "length") == 0)
		return FRAMING_LENGTH;
	if (strcmp(name, "ndjson") == 0)
		return FRAMING_NDJSON;
	return FRAMING_AUTO;
}

enum framing
framing_of(uint8_t first)
{
	return first == 0 ? FRAMING_LENGTH : FRAMING_NDJSON;
}

enum frame_status
frame_peek(const uint8_t *in, size_t in_bytes, const uint8_t **payload,
    size_t *payload_bytes, size_t *frame_bytes)
{
	size_t n;

	if (in_bytes > 0 && in[0] != 0)
		return FRAME_TOO_LONG;
	if (in_bytes < FRAME_HEADER_BYTES)
		return FRAME_PARTIAL;
	n = get_be32(in);
	if (in_bytes - FRAME_HEADER_BYTES < n)
		return FRAME_PARTIAL;
	*payload = in + FRAME_HEADER_BYTES;
	*payload_bytes = n;
	*frame_bytes = FRAME_HEADER_BYTES + n;
	return FRAME_READY;
}

size_t
frame_wanted(const uint8_t *in, size_t in_bytes)
{
	if (in_bytes < FRAME_HEADER_BYTES)
		return FRAME_HEADER_BYTES;
	return FRAME_HEADER_BYTES + (size_t)get_be32(in);
}

enum frame_status
line_peek(const uint8_t *in, size_t in_bytes, size_t searched,
    const uint8_t **payload, size_t *payload_bytes, size_t *frame_bytes)
{
	const uint8_t *end = NULL;
	size_t n;

	if (in_bytes > searched)
		end = memchr(in + searched, '\n', in_bytes - searched);
	if (end == NULL) {
		/* One byte more than the cap may still be the \r. */
		return in_bytes > FRAME_MAX_BYTES + 1 ? FRAME_TOO_LONG
						      : FRAME_PARTIAL;
	}
	n = (size_t)(end - in);
	if (n > 0 && in[n - 1] == '\r')
		n--;
	if (n > FRAME_MAX_BYTES)
		return FRAME_TOO_LONG;
	*payload = in;
	*payload_bytes = n;
	*frame_bytes = (size_t)(end - in) + 1;
	return FRAME_READY;
}

void
frame_put_header(uint8_t out[FRAME_HEADER_BYTES], size_t payload_bytes)
{
	assert(payload_bytes <= FRAME_MAX_BYTES);
	put_be32(out, (uint32_t)payload_bytes);
}

/* Writes a space over every `c`. */
static void
blank(uint8_t *bytes, size_t count, uint8_t c)
{
	uint8_t *end = bytes + count;

	while ((bytes = memchr(bytes, c, (size_t)(end - bytes))) != NULL)
		*bytes++ = ' ';
}

size_t
line_put(uint8_t *out, const uint8_t *payload, size_t payload_bytes)
{
	/* Mostly there is none. */
	memcpy(out, payload, payload_bytes);
	blank(out, payload_bytes, '\n');
	blank(out, payload_bytes, '\r');
	out[payload_bytes] = '\n';
	return payload_bytes + 1;
}
