/*
 * Frames: how events and messages are told apart in a stream of bytes. Pure
 * byte work: no descriptor, no JSON, no allocation.
 *
 * Two framings. `length`: the payload's length in 4 bytes, big-endian, then
 * the payload; at most FRAME_MAX_BYTES, so the first byte is always 0.
 * `ndjson`: one event a line, ended by \n; a \r before it belongs to the line
 * end. Which of them a stream has shows in its first byte.
 */
#ifndef STAGE_FRAME_H
#define STAGE_FRAME_H

#include <stddef.h>
#include <stdint.h>

#define FRAME_HEADER_BYTES 4
#define FRAME_MAX_BYTES ((size_t)0xffffff)

enum framing {
	FRAMING_AUTO, /* reader only: decided by the first byte */
	FRAMING_LENGTH,
	FRAMING_NDJSON,
};

enum frame_status {
	FRAME_READY,	/* one whole frame is at the front */
	FRAME_PARTIAL,	/* well formed so far, more bytes are needed */
	FRAME_TOO_LONG, /* over the cap: final in `length`, where the stream
			 * cannot be followed again; in `ndjson` the next \n
			 * ends it */
};

/*
 * Returns the framing with that name ("length" or "ndjson"), or FRAMING_AUTO
 * if there is none.
 */
enum framing framing_from_name(const char *name);

/* Returns the framing of the stream whose first byte is `first`. */
enum framing framing_of(uint8_t first);

/*
 * Looks for one frame at the front of `in`, `in_bytes` long.
 *
 * FRAME_READY points *payload into `in`, so it lives as long as `in` does,
 * sets *payload_bytes to 0..FRAME_MAX_BYTES and *frame_bytes to what the
 * caller then drops from its buffer. Any other status leaves all three
 * untouched. After FRAME_TOO_LONG the stream cannot be trusted again.
 */
enum frame_status frame_peek(const uint8_t *in, size_t in_bytes,
    const uint8_t **payload, size_t *payload_bytes, size_t *frame_bytes);

/*
 * Returns how long the frame at the front of `in` is, its header included, as
 * far as the bytes tell: FRAME_HEADER_BYTES while they are fewer than that.
 */
size_t frame_wanted(const uint8_t *in, size_t in_bytes);

/*
 * Looks for one line at the front of `in`. As frame_peek; a line whose payload
 * has more than FRAME_MAX_BYTES is FRAME_TOO_LONG. `searched` is how many
 * bytes at the front are known to hold no \n (0 if nothing is known).
 */
enum frame_status line_peek(const uint8_t *in, size_t in_bytes, size_t searched,
    const uint8_t **payload, size_t *payload_bytes, size_t *frame_bytes);

/* Writes the header of a frame of `payload_bytes`, at most FRAME_MAX_BYTES. */
void frame_put_header(uint8_t out[FRAME_HEADER_BYTES], size_t payload_bytes);

/*
 * Copies one event as a line to `out`, which has room for payload_bytes + 1,
 * and ends it with \n. A raw \n or \r, which in JSON can only be white space,
 * becomes a space, so that one event stays one line. Returns the bytes
 * written.
 */
size_t line_put(uint8_t *out, const uint8_t *payload, size_t payload_bytes);

#endif
