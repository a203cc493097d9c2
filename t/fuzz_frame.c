/*
 * Frames and lines from any bytes: what is given out lies within the input,
 * and a frame cut anywhere is partial.
 */
#include "stage/frame.h"

#include <assert.h>
#include <stdint.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes);

static void
check_frames(const uint8_t *in, size_t left)
{
	const uint8_t *payload;
	size_t n, whole;

	while (frame_peek(in, left, &payload, &n, &whole) == FRAME_READY) {
		assert(whole <= left && n <= FRAME_MAX_BYTES);
		assert(payload == in + FRAME_HEADER_BYTES);
		assert(whole == FRAME_HEADER_BYTES + n);
		assert(whole == frame_wanted(in, left));
		assert(frame_peek(in, whole - 1, &payload, &n, &whole) ==
		       FRAME_PARTIAL);
		in += whole;
		left -= whole;
	}
}

static void
check_lines(const uint8_t *in, size_t left)
{
	const uint8_t *payload, *again;
	size_t n, whole, m;

	while (line_peek(in, left, 0, &payload, &n, &whole) == FRAME_READY) {
		assert(whole <= left && n < whole && payload == in);
		assert(in[whole - 1] == '\n');
		assert(memchr(in, '\n', whole - 1) == NULL);
		assert(line_peek(in, whole - 1, 0, &again, &m, &m) ==
		       FRAME_PARTIAL);
		assert(line_peek(in, left, whole - 1, &again, &m, &whole) ==
		       FRAME_READY);
		assert(m == n);
		in += whole;
		left -= whole;
	}
	assert(memchr(in, '\n', left) == NULL);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t bytes)
{
	if (bytes == 0)
		return 0;
	check_frames(data, bytes);
	check_lines(data, bytes);
	return 0;
}
