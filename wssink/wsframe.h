/*
 * Websocket frames, RFC 6455 section 5, as a client has them: masked frames
 * are written, unmasked ones are read and put together to messages. Pure byte
 * work: no descriptor, no randomness (masks are given by the caller), and no
 * extension, so that a reserved bit is always a fault.
 */
#ifndef WSSINK_WSFRAME_H
#define WSSINK_WSFRAME_H

#include "stage/buf.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* RFC 6455, section 5.2. */
enum wsframe_opcode {
	WSFRAME_CONTINUATION = 0x0,
	WSFRAME_TEXT = 0x1,
	WSFRAME_BINARY = 0x2,
	WSFRAME_CLOSE = 0x8,
	WSFRAME_PING = 0x9,
	WSFRAME_PONG = 0xa,
};

/* RFC 6455, section 7.4.1. */
enum wsframe_code {
	WSFRAME_NORMAL = 1000,
	WSFRAME_GOING_AWAY = 1001,
	WSFRAME_PROTOCOL_ERROR = 1002,
	WSFRAME_NO_CODE = 1005, /* never on the wire: Close had no code */
	WSFRAME_BAD_DATA = 1007,
	WSFRAME_POLICY = 1008,
	WSFRAME_TOO_BIG = 1009,
	WSFRAME_RESTART = 1012, /* the registry that section 11.7 asks for */
};

#define WSFRAME_MASK_BYTES 4
/* Longest header that is written. */
#define WSFRAME_HEADER_BYTES 14
/* Longest payload of a control frame. */
#define WSFRAME_CONTROL_BYTES 125
/* Longest reason of a Close frame. */
#define WSFRAME_REASON_BYTES 123
/* Longest message that is read, all its fragments together. */
#define WSFRAME_MESSAGE_BYTES ((size_t)64 << 10)
/* Longest frame that is read: that, and the longest unmasked header. */
#define WSFRAME_READ_BYTES (WSFRAME_MESSAGE_BYTES + 10)

/*
 * Writes one whole (unfragmented) masked frame to `out`, which has room for
 * WSFRAME_HEADER_BYTES + `bytes` and does not overlap the payload. Returns the
 * bytes written. A control frame has at most WSFRAME_CONTROL_BYTES.
 */
size_t wsframe_put(uint8_t *out, enum wsframe_opcode opcode,
    const void *payload, size_t bytes, const uint8_t mask[WSFRAME_MASK_BYTES]);

/*
 * Writes a Close frame with `code`, or without any if that is WSFRAME_NO_CODE,
 * and the first WSFRAME_REASON_BYTES of the ASCII text `reason`. `out` has
 * room for WSFRAME_HEADER_BYTES + WSFRAME_CONTROL_BYTES. Returns the bytes
 * written.
 */
size_t wsframe_put_close(uint8_t *out, unsigned code, const char *reason,
    const uint8_t mask[WSFRAME_MASK_BYTES]);

enum wsframe_status {
	WSFRAME_READY,	 /* one whole message is there */
	WSFRAME_PARTIAL, /* well formed so far, more bytes are needed */
	WSFRAME_BROKEN,	 /* against the RFC, or over a cap; final */
};

/* One message as it came, or one control frame. */
struct wsframe_message {
	enum wsframe_opcode opcode; /* never WSFRAME_CONTINUATION */
	const uint8_t *payload;	    /* borrowed; a Close's reason */
	size_t bytes;
	unsigned code; /* a Close's, maybe WSFRAME_NO_CODE; else 0 */
};

/* Why a stream of frames cannot be followed, and what to close it with. */
struct wsframe_fault {
	enum wsframe_code code;
	const char *why; /* a constant string */
};

/* What is kept between frames. Use only through the functions below. */
struct wsframe_reader {
	struct buf message; /* fragments so far */
	enum wsframe_opcode opcode;
	bool in_message; /* a fragmented message has begun */
	bool is_given;	 /* `message` was given out by the last call */
};

/* Makes a reader at the start of a connection. */
void wsframe_reader_init(struct wsframe_reader *reader);

/* Frees its memory. */
void wsframe_reader_fini(struct wsframe_reader *reader);

/*
 * Forgets all that was read: a new connection begins. Its memory is kept.
 */
void wsframe_reader_reset(struct wsframe_reader *reader);

/*
 * Reads frames from the front of `in`, the bytes that came from the server and
 * were not yet used.
 *
 * WSFRAME_READY: *message is set and borrows from `in` and from the reader,
 * until the next call. A text is valid UTF-8. WSFRAME_PARTIAL: no message is
 * complete. In both cases the caller then drops *used bytes (0..in_bytes)
 * from the front. WSFRAME_BROKEN sets *fault; the reader is of no more use.
 *
 * Broken are, by RFC 6455: a masked frame (5.1), a reserved bit or opcode, a
 * length not in its shortest form (5.2), fragments out of order (5.4), a
 * control frame that is fragmented or over 125 bytes (5.5), a Close with half
 * a code or one that may not be sent (7.4): all 1002; text or a reason that
 * is not UTF-8 (8.1): 1007; a message over WSFRAME_MESSAGE_BYTES: 1009, as
 * soon as a header says so.
 */
enum wsframe_status wsframe_read(struct wsframe_reader *reader,
    const uint8_t *in, size_t in_bytes, struct wsframe_message *message,
    size_t *used, struct wsframe_fault *fault);

#endif
