#include "stage/frame.h"
#include "t/suite.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

/* What a peek set, or did not. */
struct found {
	const uint8_t *payload;
	size_t payload_bytes;
	size_t frame_bytes;
};

/* A copy of its exact size, so that a read beyond it is seen. */
static uint8_t *
copy(const void *bytes, size_t n)
{
	uint8_t *to = malloc(n == 0 ? 1 : n);

	ck_assert_ptr_nonnull(to);
	if (n > 0)
		memcpy(to, bytes, n);
	return to;
}

static enum frame_status
peek_frame(const uint8_t *in, size_t n, struct found *found)
{
	*found = (struct found){.payload_bytes = 77, .frame_bytes = 77};
	return frame_peek(
	    in, n, &found->payload, &found->payload_bytes, &found->frame_bytes);
}

static enum frame_status
peek_line(const uint8_t *in, size_t n, struct found *found)
{
	*found = (struct found){.payload_bytes = 77, .frame_bytes = 77};
	return line_peek(in, n, 0, &found->payload, &found->payload_bytes,
	    &found->frame_bytes);
}

static void
assert_untouched(const struct found *found)
{
	ck_assert_ptr_null(found->payload);
	ck_assert_uint_eq(found->payload_bytes, 77);
	ck_assert_uint_eq(found->frame_bytes, 77);
}

START_TEST(test_framing_has_a_name)
{
	ck_assert_int_eq(framing_from_name("length"), FRAMING_LENGTH);
	ck_assert_int_eq(framing_from_name("ndjson"), FRAMING_NDJSON);
	ck_assert_int_eq(framing_from_name("auto"), FRAMING_AUTO);
	ck_assert_int_eq(framing_from_name("Length"), FRAMING_AUTO);
	ck_assert_int_eq(framing_from_name(""), FRAMING_AUTO);
}
END_TEST

/* Only a zero byte starts a length: no JSON text does. */
START_TEST(test_first_byte_tells_the_framing)
{
	ck_assert_int_eq(framing_of(0), FRAMING_LENGTH);
	for (int c = 1; c < 256; c++)
		ck_assert_int_eq(framing_of((uint8_t)c), FRAMING_NDJSON);
}
END_TEST

/* A frame cut at any byte is partial; only the whole of it is ready. */
START_TEST(test_frame_cut_at_every_byte)
{
	static const uint8_t wire[] = {0, 0, 0, 2, '{', '}'};
	struct found found;

	for (size_t cut = 0; cut < sizeof(wire); cut++) {
		uint8_t *in = copy(wire, cut);

		ck_assert_int_eq(peek_frame(in, cut, &found), FRAME_PARTIAL);
		assert_untouched(&found);
		free(in);
	}
	ck_assert_int_eq(peek_frame(wire, sizeof(wire), &found), FRAME_READY);
	ck_assert_ptr_eq(found.payload, wire + FRAME_HEADER_BYTES);
	ck_assert_uint_eq(found.payload_bytes, 2);
	ck_assert_uint_eq(found.frame_bytes, sizeof(wire));
}
END_TEST

/* Whatever bit is wrong, no more than what is there is ever given out. */
START_TEST(test_frame_with_each_bit_flipped)
{
	static const uint8_t wire[] = {0, 0, 0, 3, '1', '2', '3'};
	struct found found;

	for (size_t bit = 0; bit < 8 * sizeof(wire); bit++) {
		uint8_t *in = copy(wire, sizeof(wire));
		enum frame_status status;

		in[bit / 8] ^= (uint8_t)(1 << bit % 8);
		status = peek_frame(in, sizeof(wire), &found);
		if (bit < 8)
			ck_assert_int_eq(status, FRAME_TOO_LONG);
		if (bit >= 8 * FRAME_HEADER_BYTES)
			ck_assert_int_eq(status, FRAME_READY);
		if (status == FRAME_READY)
			ck_assert_uint_le(found.frame_bytes, sizeof(wire));
		else
			assert_untouched(&found);
		free(in);
	}
}
END_TEST

START_TEST(test_frame_at_the_cap)
{
	size_t n = FRAME_HEADER_BYTES + FRAME_MAX_BYTES;
	uint8_t *in = calloc(1, n);
	struct found found;

	frame_put_header(in, FRAME_MAX_BYTES);
	ck_assert_int_eq(peek_frame(in, n - 1, &found), FRAME_PARTIAL);
	ck_assert_int_eq(peek_frame(in, n, &found), FRAME_READY);
	ck_assert_uint_eq(found.payload_bytes, FRAME_MAX_BYTES);
	free(in);
}
END_TEST

/* The first byte alone tells: nothing is queued for a frame over the cap. */
START_TEST(test_frame_over_the_cap)
{
	static const uint8_t over[] = {1, 0, 0, 0};
	struct found found;

	for (size_t n = 1; n <= sizeof(over); n++) {
		ck_assert_int_eq(peek_frame(over, n, &found), FRAME_TOO_LONG);
		assert_untouched(&found);
	}
}
END_TEST

START_TEST(test_empty_frame_is_ready)
{
	static const uint8_t wire[] = {0, 0, 0, 0};
	struct found found;

	ck_assert_int_eq(peek_frame(wire, sizeof(wire), &found), FRAME_READY);
	ck_assert_uint_eq(found.payload_bytes, 0);
	ck_assert_uint_eq(found.frame_bytes, FRAME_HEADER_BYTES);
}
END_TEST

START_TEST(test_first_of_two_frames_is_given)
{
	static const uint8_t wire[] = {0, 0, 0, 1, '1', 0, 0, 0, 1, '2'};
	struct found found;

	ck_assert_int_eq(peek_frame(wire, sizeof(wire), &found), FRAME_READY);
	ck_assert_uint_eq(found.frame_bytes, 5);
	ck_assert_mem_eq(found.payload, "1", 1);
}
END_TEST

START_TEST(test_header_is_big_endian)
{
	static const struct {
		size_t bytes;
		uint8_t header[FRAME_HEADER_BYTES];
	} table[] = {
	    {0, {0, 0, 0, 0}},
	    {1, {0, 0, 0, 1}},
	    {0x102, {0, 0, 1, 2}},
	    {0x10203, {0, 1, 2, 3}},
	    {FRAME_MAX_BYTES, {0, 0xff, 0xff, 0xff}},
	};
	uint8_t out[FRAME_HEADER_BYTES];

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		frame_put_header(out, table[i].bytes);
		ck_assert_mem_eq(out, table[i].header, sizeof(out));
		ck_assert_uint_eq(frame_wanted(out, sizeof(out)),
		    FRAME_HEADER_BYTES + table[i].bytes);
	}
}
END_TEST

START_TEST(test_frame_wanted_before_the_header_is_whole)
{
	static const uint8_t wire[] = {0, 0, 0, 9};

	for (size_t cut = 0; cut < sizeof(wire); cut++)
		ck_assert_uint_eq(frame_wanted(wire, cut), FRAME_HEADER_BYTES);
	ck_assert_uint_eq(frame_wanted(wire, sizeof(wire)), 13);
}
END_TEST

START_TEST(test_line_cut_at_every_byte)
{
	static const char wire[] = "{\"a\":1}\r\n{";
	const size_t whole = sizeof("{\"a\":1}\r\n") - 1;
	struct found found;

	for (size_t cut = 0; cut < whole; cut++) {
		uint8_t *in = copy(wire, cut);

		ck_assert_int_eq(peek_line(in, cut, &found), FRAME_PARTIAL);
		assert_untouched(&found);
		free(in);
	}
	ck_assert_int_eq(peek_line((const uint8_t *)wire, sizeof(wire), &found),
	    FRAME_READY);
	ck_assert_uint_eq(found.payload_bytes, 7);
	ck_assert_uint_eq(found.frame_bytes, whole);
}
END_TEST

START_TEST(test_line_ends)
{
	static const struct {
		const char *wire;
		size_t payload_bytes;
		size_t frame_bytes;
	} table[] = {
	    {"\n", 0, 1},
	    {"\r\n", 0, 2},
	    {"1\n", 1, 2},
	    {"1\r\n", 1, 3},
	    {"1\r\r\n", 2, 4},
	    {"1\r2\n", 3, 4},
	    {"1\n\n", 1, 2},
	};
	struct found found;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ck_assert_int_eq(peek_line((const uint8_t *)table[i].wire,
				     strlen(table[i].wire), &found),
		    FRAME_READY);
		ck_assert_uint_eq(found.payload_bytes, table[i].payload_bytes);
		ck_assert_uint_eq(found.frame_bytes, table[i].frame_bytes);
	}
}
END_TEST

/* What was searched is not searched again, even if a \n stands there. */
START_TEST(test_line_search_goes_on_where_it_was)
{
	static const uint8_t wire[] = "1\n2\n";
	struct found f;

	ck_assert_int_eq(
	    line_peek(wire, 4, 2, &f.payload, &f.payload_bytes, &f.frame_bytes),
	    FRAME_READY);
	ck_assert_uint_eq(f.frame_bytes, 4);
	ck_assert_int_eq(
	    line_peek(wire, 2, 2, &f.payload, &f.payload_bytes, &f.frame_bytes),
	    FRAME_PARTIAL);
}
END_TEST

/* The cap is on the payload: neither \r nor \n counts. */
START_TEST(test_line_at_the_cap)
{
	uint8_t *in = malloc(FRAME_MAX_BYTES + 3);
	struct found found;

	memset(in, ' ', FRAME_MAX_BYTES);
	in[FRAME_MAX_BYTES] = '\n';
	ck_assert_int_eq(
	    peek_line(in, FRAME_MAX_BYTES + 1, &found), FRAME_READY);
	ck_assert_uint_eq(found.payload_bytes, FRAME_MAX_BYTES);

	in[FRAME_MAX_BYTES] = '\r';
	ck_assert_int_eq(
	    peek_line(in, FRAME_MAX_BYTES + 1, &found), FRAME_PARTIAL);
	in[FRAME_MAX_BYTES + 1] = '\n';
	ck_assert_int_eq(
	    peek_line(in, FRAME_MAX_BYTES + 2, &found), FRAME_READY);
	ck_assert_uint_eq(found.payload_bytes, FRAME_MAX_BYTES);
	free(in);
}
END_TEST

START_TEST(test_line_over_the_cap)
{
	uint8_t *in = malloc(FRAME_MAX_BYTES + 3);
	struct found found;

	memset(in, ' ', FRAME_MAX_BYTES + 3);
	ck_assert_int_eq(
	    peek_line(in, FRAME_MAX_BYTES + 2, &found), FRAME_TOO_LONG);
	in[FRAME_MAX_BYTES + 1] = '\n';
	ck_assert_int_eq(
	    peek_line(in, FRAME_MAX_BYTES + 2, &found), FRAME_TOO_LONG);
	assert_untouched(&found);
	free(in);
}
END_TEST

/* A line end within an event is white space, and stays that. */
START_TEST(test_line_put_keeps_one_event_on_one_line)
{
	static const uint8_t event[] = "{\r\n\"a\":\n1}";
	uint8_t out[sizeof(event)];
	size_t n = line_put(out, event, sizeof(event) - 1);

	ck_assert_uint_eq(n, sizeof(event));
	ck_assert_mem_eq(out, "{  \"a\": 1}\n", n);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("frame");
	TCase *tests = tcase_create("frame");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_framing_has_a_name);
	tcase_add_test(tests, test_first_byte_tells_the_framing);
	tcase_add_test(tests, test_frame_cut_at_every_byte);
	tcase_add_test(tests, test_frame_with_each_bit_flipped);
	tcase_add_test(tests, test_frame_at_the_cap);
	tcase_add_test(tests, test_frame_over_the_cap);
	tcase_add_test(tests, test_empty_frame_is_ready);
	tcase_add_test(tests, test_first_of_two_frames_is_given);
	tcase_add_test(tests, test_header_is_big_endian);
	tcase_add_test(tests, test_frame_wanted_before_the_header_is_whole);
	tcase_add_test(tests, test_line_cut_at_every_byte);
	tcase_add_test(tests, test_line_ends);
	tcase_add_test(tests, test_line_search_goes_on_where_it_was);
	tcase_add_test(tests, test_line_at_the_cap);
	tcase_add_test(tests, test_line_over_the_cap);
	tcase_add_test(tests, test_line_put_keeps_one_event_on_one_line);
	return suite_run(suite);
}
