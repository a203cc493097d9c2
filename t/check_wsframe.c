#include "t/suite.h"
#include "wssink/wsframe.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* A string of bytes with its length, NULs inside allowed. */
#define BYTES(s) ((const uint8_t *)(s)), sizeof(s) - 1

static const uint8_t no_mask[WSFRAME_MASK_BYTES] = {0};

/* A copy of its exact size, so that a read beyond it is seen. */
static uint8_t *
copy(const uint8_t *bytes, size_t n)
{
	uint8_t *to = malloc(n == 0 ? 1 : n);

	ck_assert_ptr_nonnull(to);
	if (n > 0)
		memcpy(to, bytes, n);
	return to;
}

/* Reads one message from exactly these bytes, which are its whole input. */
static enum wsframe_status
read_once(const uint8_t *in, size_t n, struct wsframe_fault *fault)
{
	struct wsframe_reader reader;
	struct wsframe_message message;
	uint8_t *exact = copy(in, n);
	enum wsframe_status status;
	size_t used;

	wsframe_reader_init(&reader);
	status = wsframe_read(&reader, exact, n, &message, &used, fault);
	if (status != WSFRAME_BROKEN)
		ck_assert_uint_le(used, n);
	wsframe_reader_fini(&reader);
	free(exact);
	return status;
}

/* RFC 6455, section 5.7: a single-frame masked text message. */
START_TEST(test_put_masks_as_the_rfc_shows)
{
	static const uint8_t mask[] = {0x37, 0xfa, 0x21, 0x3d};
	static const uint8_t wire[] = {
	    0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58};
	uint8_t out[WSFRAME_HEADER_BYTES + 5];

	ck_assert_uint_eq(
	    wsframe_put(out, WSFRAME_TEXT, "Hello", 5, mask), sizeof(wire));
	ck_assert_mem_eq(out, wire, sizeof(wire));
}
END_TEST

/* The length takes 7, 16 or 64 bits, the shortest that holds it. */
START_TEST(test_put_writes_the_shortest_length)
{
	static const struct {
		size_t bytes;
		const char *header;
		size_t header_bytes;
	} cases[] = {
	    {0, "\x82\x80", 2},
	    {1, "\x82\x81", 2},
	    {125, "\x82\xfd", 2},
	    {126, "\x82\xfe\x00\x7e", 4},
	    {65535, "\x82\xfe\xff\xff", 4},
	    {65536, "\x82\xff\0\0\0\0\0\1\0\0", 10},
	    {0xffffff, "\x82\xff\0\0\0\0\0\xff\xff\xff", 10},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		size_t bytes = cases[i].bytes, at = cases[i].header_bytes;
		uint8_t *in = calloc(1, bytes + 1);
		uint8_t *out = malloc(WSFRAME_HEADER_BYTES + bytes);

		ck_assert_uint_eq(
		    wsframe_put(out, WSFRAME_BINARY, in, bytes, no_mask),
		    at + WSFRAME_MASK_BYTES + bytes);
		ck_assert_mem_eq(out, cases[i].header, at);
		free(in);
		free(out);
	}
}
END_TEST

/* Whatever the length and the place in memory, byte i meets mask i mod 4. */
START_TEST(test_put_masks_each_byte_at_any_alignment)
{
	static const uint8_t mask[] = {0x01, 0x80, 0xa5, 0xff};
	uint8_t in[64], out[WSFRAME_HEADER_BYTES + 64 + 8];

	for (size_t i = 0; i < sizeof(in); i++)
		in[i] = (uint8_t)(i * 7);
	for (size_t shift = 0; shift < 8; shift++) {
		for (size_t n = 0; n + shift <= sizeof(in); n++) {
			const uint8_t *body = out + shift + 6;

			ck_assert_uint_eq(wsframe_put(out + shift, WSFRAME_TEXT,
					      in + shift, n, mask),
			    6 + n);
			for (size_t i = 0; i < n; i++)
				ck_assert_uint_eq(
				    body[i], in[shift + i] ^ mask[i % 4]);
		}
	}
}
END_TEST

START_TEST(test_put_close_carries_code_and_cut_reason)
{
	uint8_t out[WSFRAME_HEADER_BYTES + WSFRAME_CONTROL_BYTES];
	char reason[200];

	ck_assert_uint_eq(
	    wsframe_put_close(out, WSFRAME_NO_CODE, "unused", no_mask), 6);
	ck_assert_mem_eq(out, "\x88\x80\0\0\0\0", 6);
	ck_assert_uint_eq(wsframe_put_close(out, 1001, "bye", no_mask), 11);
	ck_assert_mem_eq(out,
	    "\x88\x85\0\0\0\0\x03\xe9"
	    "bye",
	    11);
	memset(reason, 'r', sizeof(reason) - 1);
	reason[sizeof(reason) - 1] = '\0';
	ck_assert_uint_eq(
	    wsframe_put_close(out, 1000, reason, no_mask), 6 + 125);
	ck_assert_uint_eq(out[1], 0x80 | 125);
}
END_TEST

/* RFC 6455, section 5.7, as a server sends them. */
START_TEST(test_read_takes_the_examples_of_the_rfc)
{
	static const struct {
		const char *wire;
		size_t wire_bytes;
		enum wsframe_opcode opcode;
		const char *payload;
	} cases[] = {
	    {"\x81\x05Hello", 7, WSFRAME_TEXT, "Hello"},
	    {"\x01\x03Hel\x80\x02lo", 9, WSFRAME_TEXT, "Hello"},
	    {"\x89\x05Hello", 7, WSFRAME_PING, "Hello"},
	    {"\x8a\x05Hello", 7, WSFRAME_PONG, "Hello"},
	    {"\x82\x00", 2, WSFRAME_BINARY, ""},
	};
	struct wsframe_reader reader;
	struct wsframe_message message;
	struct wsframe_fault fault;
	size_t used;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wsframe_reader_init(&reader);
		ck_assert_int_eq(
		    wsframe_read(&reader, (const uint8_t *)cases[i].wire,
			cases[i].wire_bytes, &message, &used, &fault),
		    WSFRAME_READY);
		ck_assert_uint_eq(used, cases[i].wire_bytes);
		ck_assert_int_eq(message.opcode, cases[i].opcode);
		ck_assert_uint_eq(message.bytes, strlen(cases[i].payload));
		ck_assert_mem_eq(
		    message.payload, cases[i].payload, message.bytes);
		wsframe_reader_fini(&reader);
	}
}
END_TEST

/* Fragments of one message with a ping and an empty fragment between them,
 * then a message of one frame. */
static const uint8_t stream[] = "\x01\x02"
				"ab"
				"\x89\x01"
				"p"
				"\x00\x00"
				"\x80\x01"
				"c"
				"\x82\x7e\x00\x7e"
				"0123456789012345678901234567890123456789"
				"0123456789012345678901234567890123456789"
				"0123456789012345678901234567890123456789"
				"012345";

static const struct wsframe_message expected[] = {
    {.opcode = WSFRAME_PING, .bytes = 1},
    {.opcode = WSFRAME_TEXT, .bytes = 3},
    {.opcode = WSFRAME_BINARY, .bytes = 126},
};

/* Feeds `stream` cut at `cut`, and gives back how many messages came. */
static size_t
read_cut(size_t cut)
{
	const size_t whole = sizeof(stream) - 1;
	struct wsframe_reader reader;
	struct wsframe_message message;
	struct wsframe_fault fault;
	enum wsframe_status status;
	size_t at = 0, end = cut, found = 0, used;

	wsframe_reader_init(&reader);
	for (;;) {
		uint8_t *exact = copy(stream + at, end - at);

		status = wsframe_read(
		    &reader, exact, end - at, &message, &used, &fault);
		ck_assert_int_ne(status, WSFRAME_BROKEN);
		at += used;
		if (status == WSFRAME_READY) {
			ck_assert_uint_lt(found, 3);
			ck_assert_int_eq(
			    message.opcode, expected[found].opcode);
			ck_assert_uint_eq(message.bytes, expected[found].bytes);
			if (message.opcode == WSFRAME_TEXT)
				ck_assert_mem_eq(message.payload, "abc", 3);
			found++;
		}
		free(exact);
		if (status == WSFRAME_PARTIAL && end == whole)
			break;
		if (status == WSFRAME_PARTIAL)
			end = whole;
	}
	ck_assert_uint_eq(at, whole);
	wsframe_reader_fini(&reader);
	return found;
}

START_TEST(test_read_stream_cut_at_every_byte)
{
	for (size_t cut = 0; cut < sizeof(stream); cut++)
		ck_assert_uint_eq(read_cut(cut), 3);
}
END_TEST

/* No flipped byte makes it read beyond its input (the sanitizers watch) or
 * report more messages than frames. */
START_TEST(test_read_stream_with_each_byte_flipped)
{
	for (size_t i = 0; i < 8 * (sizeof(stream) - 1); i++) {
		size_t left = sizeof(stream) - 1, used = 0, at = 0;
		uint8_t *bent = copy(stream, left);
		struct wsframe_reader reader;
		struct wsframe_message message;
		struct wsframe_fault fault;
		int found = 0;

		bent[i / 8] ^= (uint8_t)(1 << i % 8);
		wsframe_reader_init(&reader);
		while (wsframe_read(&reader, bent + at, left - at, &message,
			   &used, &fault) == WSFRAME_READY) {
			at += used;
			found++;
			ck_assert_uint_le(at, left);
		}
		ck_assert_int_le(found, 70);
		wsframe_reader_fini(&reader);
		free(bent);
	}
}
END_TEST

START_TEST(test_read_refuses_what_the_rfc_forbids)
{
	static const struct {
		const char *what;
		const uint8_t *wire;
		size_t bytes;
		unsigned code;
	} cases[] = {
	    {"masked", BYTES("\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58"),
		1002},
	    {"RSV1", BYTES("\xc1"), 1002},
	    {"RSV2", BYTES("\xa1"), 1002},
	    {"RSV3", BYTES("\x91"), 1002},
	    {"opcode 3", BYTES("\x83"), 1002},
	    {"opcode 7", BYTES("\x87"), 1002},
	    {"opcode b", BYTES("\x8b"), 1002},
	    {"opcode f", BYTES("\x8f"), 1002},
	    {"ping in fragments", BYTES("\x09"), 1002},
	    {"long ping", BYTES("\x89\x7e"), 1002},
	    {"long pong", BYTES("\x8a\x7f"), 1002},
	    {"continuation of nothing", BYTES("\x80\x00"), 1002},
	    {"text within a text", BYTES("\x01\x01x\x81\x01y"), 1002},
	    {"125 in 16 bits", BYTES("\x82\x7e\x00\x7d"), 1002},
	    {"65535 in 64 bits", BYTES("\x82\x7f\0\0\0\0\0\0\xff\xff"), 1002},
	    {"64 bit length", BYTES("\x82\x7f\x80\0\0\0\0\1\0\0"), 1002},
	    {"65537 bytes", BYTES("\x82\x7f\0\0\0\0\0\1\0\1"), 1009},
	    {"2^63-1 bytes", BYTES("\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff"),
		1009},
	    {"text not UTF-8", BYTES("\x81\x02\xc0\x80"), 1007},
	    {"cut UTF-8", BYTES("\x81\x01\xc3"), 1007},
	    {"cut UTF-8 in fragments", BYTES("\x01\x01\xc3\x80\x01x"), 1007},
	    {"half a code", BYTES("\x88\x01\x03"), 1002},
	    {"code 999", BYTES("\x88\x02\x03\xe7"), 1002},
	    {"code 1004", BYTES("\x88\x02\x03\xec"), 1002},
	    {"code 1005", BYTES("\x88\x02\x03\xed"), 1002},
	    {"code 1006", BYTES("\x88\x02\x03\xee"), 1002},
	    {"code 1015", BYTES("\x88\x02\x03\xf7"), 1002},
	    {"code 2999", BYTES("\x88\x02\x0b\xb7"), 1002},
	    {"code 5000", BYTES("\x88\x02\x13\x88"), 1002},
	    {"reason not UTF-8", BYTES("\x88\x03\x03\xe8\xff"), 1007},
	};
	struct wsframe_fault fault;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		ck_assert_msg(read_once(cases[i].wire, cases[i].bytes,
				  &fault) == WSFRAME_BROKEN,
		    "%s: not refused", cases[i].what);
		ck_assert_msg(fault.code == cases[i].code,
		    "%s: code %u, not %u", cases[i].what, (unsigned)fault.code,
		    cases[i].code);
		ck_assert_ptr_nonnull(fault.why);
	}
}
END_TEST

/* A fragmented message may begin and continue with UTF-8 cut anywhere. */
START_TEST(test_read_takes_utf8_cut_between_fragments)
{
	struct wsframe_fault fault;

	ck_assert_int_eq(read_once(BYTES("\x01\x01\xc3\x80\x01\xa9"), &fault),
	    WSFRAME_READY);
}
END_TEST

/* Exactly the cap is taken, in one frame and in two; one more is not. */
START_TEST(test_read_holds_messages_to_the_cap)
{
	uint8_t *wire = calloc(1, WSFRAME_READ_BYTES + 16);
	struct wsframe_fault fault;

	memcpy(wire, "\x82\x7f\0\0\0\0\0\1\0\0", 10);
	ck_assert_int_eq(
	    read_once(wire, WSFRAME_READ_BYTES, &fault), WSFRAME_READY);
	ck_assert_int_eq(
	    read_once(wire, WSFRAME_READ_BYTES - 1, &fault), WSFRAME_PARTIAL);
	memcpy(wire, "\x02\x7e\xff\xff", 4);
	memcpy(wire + 4 + 65535, "\x80\x01x", 3);
	ck_assert_int_eq(read_once(wire, 4 + 65535 + 3, &fault), WSFRAME_READY);
	memcpy(wire + 4 + 65535, "\x80\x02xy", 4);
	ck_assert_int_eq(
	    read_once(wire, 4 + 65535 + 4, &fault), WSFRAME_BROKEN);
	ck_assert_uint_eq(fault.code, WSFRAME_TOO_BIG);
	free(wire);
}
END_TEST

START_TEST(test_read_gives_code_and_reason_of_a_close)
{
	static const struct {
		const uint8_t *wire;
		size_t bytes;
		unsigned code;
		const char *reason;
	} cases[] = {
	    {BYTES("\x88\x00"), WSFRAME_NO_CODE, ""},
	    {BYTES("\x88\x02\x03\xe8"), 1000, ""},
	    {BYTES("\x88\x05\x03\xf0"
		   "big"),
		1008, "big"},
	    {BYTES("\x88\x02\x03\xf6"), 1014, ""},
	    {BYTES("\x88\x02\x0b\xb8"), 3000, ""},
	    {BYTES("\x88\x02\x13\x87"), 4999, ""},
	};
	struct wsframe_reader reader;
	struct wsframe_message message;
	struct wsframe_fault fault;
	size_t used;

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		wsframe_reader_init(&reader);
		ck_assert_int_eq(wsframe_read(&reader, cases[i].wire,
				     cases[i].bytes, &message, &used, &fault),
		    WSFRAME_READY);
		ck_assert_int_eq(message.opcode, WSFRAME_CLOSE);
		ck_assert_uint_eq(message.code, cases[i].code);
		ck_assert_uint_eq(message.bytes, strlen(cases[i].reason));
		ck_assert_mem_eq(
		    message.payload, cases[i].reason, message.bytes);
		wsframe_reader_fini(&reader);
	}
}
END_TEST

/* What a broken connection left half read does not reach into the next. */
START_TEST(test_reset_forgets_a_half_read_message)
{
	struct wsframe_reader reader;
	struct wsframe_message message;
	struct wsframe_fault fault;
	size_t used;

	wsframe_reader_init(&reader);
	ck_assert_int_eq(
	    wsframe_read(&reader, BYTES("\x01\x01x"), &message, &used, &fault),
	    WSFRAME_PARTIAL);
	wsframe_reader_reset(&reader);
	ck_assert_int_eq(
	    wsframe_read(&reader, BYTES("\x81\x01y"), &message, &used, &fault),
	    WSFRAME_READY);
	ck_assert_uint_eq(message.bytes, 1);
	ck_assert_mem_eq(message.payload, "y", 1);
	wsframe_reader_fini(&reader);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wsframe");
	TCase *tests = tcase_create("wsframe");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_put_masks_as_the_rfc_shows);
	tcase_add_test(tests, test_put_writes_the_shortest_length);
	tcase_add_test(tests, test_put_masks_each_byte_at_any_alignment);
	tcase_add_test(tests, test_put_close_carries_code_and_cut_reason);
	tcase_add_test(tests, test_read_takes_the_examples_of_the_rfc);
	tcase_add_test(tests, test_read_stream_cut_at_every_byte);
	tcase_add_test(tests, test_read_stream_with_each_byte_flipped);
	tcase_add_test(tests, test_read_refuses_what_the_rfc_forbids);
	tcase_add_test(tests, test_read_takes_utf8_cut_between_fragments);
	tcase_add_test(tests, test_read_holds_messages_to_the_cap);
	tcase_add_test(tests, test_read_gives_code_and_reason_of_a_close);
	tcase_add_test(tests, test_reset_forgets_a_half_read_message);
	return suite_run(suite);
}
