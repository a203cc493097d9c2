#include "wssink/wsframe.h"

#include "stage/bytes.h"
#include "stage/json.h"

#include <assert.h>
#include <string.h>

#define FIN 0x80
#define RESERVED 0x70
#define OPCODE 0x0f
#define MASKED 0x80
#define LENGTH 0x7f
#define LENGTH_16 126
#define LENGTH_64 127

/* One frame at the front of the input. */
struct frame {
	bool is_last; /* FIN */
	enum wsframe_opcode opcode;
	const uint8_t *payload;
	size_t bytes;
	size_t frame_bytes; /* with its header */
};

/* So many bytes are masked at once; compilers know how, on any machine. */
#define WIDE_BYTES ((size_t)16)
typedef uint32_t wide __attribute__((vector_size(WIDE_BYTES)));

static void
put_wide(uint8_t *out, const uint8_t *in, wide mask)
{
	wide w;

	memcpy(&w, in, WIDE_BYTES);
	w ^= mask;
	memcpy(out, &w, WIDE_BYTES);
}

static void
put_masked(uint8_t *out, const uint8_t *in, size_t bytes,
    const uint8_t mask[WSFRAME_MASK_BYTES])
{
	uint8_t turned[2 * WSFRAME_MASK_BYTES];
	size_t i = 0, last = bytes - WIDE_BYTES;
	uint32_t m;

	if (bytes < WIDE_BYTES) {
		for (; i < bytes; i++)
			out[i] = in[i] ^ mask[i % WSFRAME_MASK_BYTES];
		return;
	}
	memcpy(&m, mask, WSFRAME_MASK_BYTES);
	for (; i <= last; i += WIDE_BYTES)
		put_wide(out + i, in + i, (wide){m, m, m, m});
	/* The last ones again, with the mask as it stands there. */
	memcpy(turned, mask, WSFRAME_MASK_BYTES);
	memcpy(turned + WSFRAME_MASK_BYTES, mask, WSFRAME_MASK_BYTES);
	memcpy(&m, turned + last % WSFRAME_MASK_BYTES, WSFRAME_MASK_BYTES);
	put_wide(out + last, in + last, (wide){m, m, m, m});
}

static bool
is_control(enum wsframe_opcode opcode)
{
	return (opcode & 0x8) != 0;
}

size_t
wsframe_put(uint8_t *out, enum wsframe_opcode opcode, const void *payload,
    size_t bytes, const uint8_t mask[WSFRAME_MASK_BYTES])
{
	size_t at = 2;

	assert(!is_control(opcode) || bytes <= WSFRAME_CONTROL_BYTES);
	out[0] = (uint8_t)(FIN | opcode);
	if (bytes < LENGTH_16) {
		out[1] = (uint8_t)(MASKED | bytes);
	} else if (bytes <= UINT16_MAX) {
		out[1] = MASKED | LENGTH_16;
		put_be16(out + at, (uint16_t)bytes);
		at += 2;
	} else {
		out[1] = MASKED | LENGTH_64;
		put_be64(out + at, bytes);
		at += 8;
	}
	memcpy(out + at, mask, WSFRAME_MASK_BYTES);
	at += WSFRAME_MASK_BYTES;
	put_masked(out + at, payload, bytes, mask);
	return at + bytes;
}

size_t
wsframe_put_close(uint8_t *out, unsigned code, const char *reason,
    const uint8_t mask[WSFRAME_MASK_BYTES])
{
	uint8_t payload[WSFRAME_CONTROL_BYTES];
	size_t n = strnlen(reason, WSFRAME_REASON_BYTES);

	if (code == WSFRAME_NO_CODE)
		return wsframe_put(out, WSFRAME_CLOSE, "", 0, mask);
	put_be16(payload, (uint16_t)code);
	memcpy(payload + 2, reason, n);
	return wsframe_put(out, WSFRAME_CLOSE, payload, 2 + n, mask);
}

void
wsframe_reader_init(struct wsframe_reader *reader)
{
	*reader = (struct wsframe_reader){0};
	buf_init(&reader->message, WSFRAME_MESSAGE_BYTES);
}

void
wsframe_reader_fini(struct wsframe_reader *reader)
{
	buf_fini(&reader->message);
}

void
wsframe_reader_reset(struct wsframe_reader *reader)
{
	buf_drop(&reader->message, buf_bytes(&reader->message));
	reader->in_message = false;
	reader->is_given = false;
}

static enum wsframe_status
broken(struct wsframe_fault *fault, enum wsframe_code code, const char *why)
{
	fault->code = code;
	fault->why = why;
	return WSFRAME_BROKEN;
}

static bool
is_known(unsigned opcode)
{
	return opcode <= WSFRAME_BINARY ||
	       (opcode >= WSFRAME_CLOSE && opcode <= WSFRAME_PONG);
}

/* Checks what the first two bytes say; `in_bytes` is 1 at least. */
static enum wsframe_status
check_start(const uint8_t *in, size_t in_bytes, struct wsframe_fault *fault)
{
	const enum wsframe_code code = WSFRAME_PROTOCOL_ERROR;
	unsigned opcode = in[0] & OPCODE;

	if ((in[0] & RESERVED) != 0)
		return broken(fault, code, "a reserved bit is set");
	if (!is_known(opcode))
		return broken(fault, code, "a reserved opcode");
	if (is_control(opcode) && (in[0] & FIN) == 0)
		return broken(fault, code, "a fragmented control frame");
	if (in_bytes < 2)
		return WSFRAME_PARTIAL;
	if ((in[1] & MASKED) != 0)
		return broken(fault, code, "a masked frame");
	if (is_control(opcode) && (in[1] & LENGTH) > WSFRAME_CONTROL_BYTES)
		return broken(fault, code, "a control frame over 125 bytes");
	return WSFRAME_READY;
}

/* Reads the length, behind a start that passed check_start. */
static enum wsframe_status
read_length(const uint8_t *in, size_t in_bytes, uint64_t *length,
    size_t *header_bytes, struct wsframe_fault *fault)
{
	const enum wsframe_code code = WSFRAME_PROTOCOL_ERROR;

	*length = in[1] & LENGTH;
	*header_bytes = 2;
	if (*length == LENGTH_16) {
		*header_bytes = 4;
		if (in_bytes < *header_bytes)
			return WSFRAME_PARTIAL;
		*length = get_be16(in + 2);
		if (*length < LENGTH_16)
			return broken(fault, code, "a length in a long form");
	} else if (*length == LENGTH_64) {
		*header_bytes = 10;
		if (in_bytes < *header_bytes)
			return WSFRAME_PARTIAL;
		*length = get_be64(in + 2);
		if (*length <= UINT16_MAX)
			return broken(fault, code, "a length in a long form");
		if (*length > INT64_MAX)
			return broken(fault, code, "a length over 63 bits");
	}
	return WSFRAME_READY;
}

/* Reads the frame at the front; its payload is checked by nobody yet. */
static enum wsframe_status
read_frame(const struct wsframe_reader *reader, const uint8_t *in,
    size_t in_bytes, struct frame *frame, struct wsframe_fault *fault)
{
	enum wsframe_status status;
	uint64_t length;
	size_t header_bytes;
	bool is_first;

	if (in_bytes == 0)
		return WSFRAME_PARTIAL;
	status = check_start(in, in_bytes, fault);
	if (status != WSFRAME_READY)
		return status;
	frame->is_last = (in[0] & FIN) != 0;
	frame->opcode = in[0] & OPCODE;
	is_first = frame->opcode != WSFRAME_CONTINUATION;
	if (!is_control(frame->opcode) && is_first == reader->in_message)
		return broken(fault, WSFRAME_PROTOCOL_ERROR,
		    is_first ? "a message within a message"
			     : "a continuation of no message");
	status = read_length(in, in_bytes, &length, &header_bytes, fault);
	if (status != WSFRAME_READY)
		return status;
	if (!is_control(frame->opcode) && length > buf_left(&reader->message))
		return broken(fault, WSFRAME_TOO_BIG, "a message over 64 KiB");
	if (in_bytes - header_bytes < length)
		return WSFRAME_PARTIAL;
	frame->payload = in + header_bytes;
	frame->bytes = (size_t)length;
	frame->frame_bytes = header_bytes + frame->bytes;
	return WSFRAME_READY;
}

/* Says whether a Close may carry `code`: RFC 6455 7.4, and what IANA added. */
static bool
is_sendable(unsigned code)
{
	return (code >= 1000 && code <= 1003) ||
	       (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static enum wsframe_status
give_close(const struct frame *frame, struct wsframe_message *message,
    struct wsframe_fault *fault)
{
	const enum wsframe_code code = WSFRAME_PROTOCOL_ERROR;

	*message = (struct wsframe_message){
	    .opcode = WSFRAME_CLOSE,
	    .payload = frame->payload,
	    .code = WSFRAME_NO_CODE,
	};
	if (frame->bytes == 0)
		return WSFRAME_READY;
	if (frame->bytes < 2)
		return broken(fault, code, "a Close with half a code");
	message->code = get_be16(frame->payload);
	if (!is_sendable(message->code))
		return broken(fault, code, "a Close with an invalid code");
	message->payload = frame->payload + 2;
	message->bytes = frame->bytes - 2;
	if (!json_is_utf8(message->payload, message->bytes))
		return broken(
		    fault, WSFRAME_BAD_DATA, "a Close reason not in UTF-8");
	return WSFRAME_READY;
}

static enum wsframe_status
give(const struct frame *frame, struct wsframe_message *message,
    struct wsframe_fault *fault)
{
	if (frame->opcode == WSFRAME_CLOSE)
		return give_close(frame, message, fault);
	if (frame->opcode == WSFRAME_TEXT &&
	    !json_is_utf8(frame->payload, frame->bytes))
		return broken(fault, WSFRAME_BAD_DATA, "a text not in UTF-8");
	*message = (struct wsframe_message){
	    .opcode = frame->opcode,
	    .payload = frame->payload,
	    .bytes = frame->bytes,
	};
	return WSFRAME_READY;
}

/*
 * Keeps a fragment. Returns true if it was the last one; then *frame is the
 * whole message.
 */
static bool
assemble(struct wsframe_reader *reader, struct frame *frame)
{
	if (!reader->in_message)
		reader->opcode = frame->opcode;
	reader->in_message = !frame->is_last;
	/* read_frame has held its length against what the cap leaves. */
	(void)buf_append(&reader->message, frame->payload, frame->bytes);
	if (!frame->is_last)
		return false;
	frame->opcode = reader->opcode;
	frame->payload = buf_front(&reader->message);
	frame->bytes = buf_bytes(&reader->message);
	reader->is_given = true;
	return true;
}

enum wsframe_status
wsframe_read(struct wsframe_reader *reader, const uint8_t *in, size_t in_bytes,
    struct wsframe_message *message, size_t *used, struct wsframe_fault *fault)
{
	struct frame frame;
	enum wsframe_status status;

	if (reader->is_given)
		wsframe_reader_reset(reader);
	*used = 0;
	for (;;) {
		status = read_frame(
		    reader, in + *used, in_bytes - *used, &frame, fault);
		if (status != WSFRAME_READY)
			return status;
		*used += frame.frame_bytes;
		/* Control frames come between fragments; a message of one
		 * frame needs no copy. */
		if (is_control(frame.opcode) ||
		    (frame.is_last && !reader->in_message) ||
		    assemble(reader, &frame))
			return give(&frame, message, fault);
	}
}
