#include "stage/keep.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define LIMIT 10
#define MAX 1000

static struct keep keep;
static struct buf out;

static void
set_up(void)
{
	keep_init(&keep, FRAMING_NDJSON, MAX);
	buf_init(&out, MAX);
}

static void
tear_down(void)
{
	keep_fini(&keep);
	buf_fini(&out);
}

static void
add(const char *line)
{
	ck_assert_int_eq(
	    keep_add_line(&keep, (const uint8_t *)line, strlen(line)), 0);
}

/* Puts an event; returns whether there was room. */
static bool
put(const void *payload, size_t bytes)
{
	uint8_t *to = keep_put(&keep, bytes);

	if (to != NULL)
		memcpy(to, payload, bytes);
	return to != NULL;
}

/* What the stream is given next, at most `limit` at a time, is `wanted`. */
static void
assert_given(size_t limit, const char *wanted)
{
	keep_give(&keep, &out, limit);
	ck_assert_uint_eq(buf_bytes(&out), strlen(wanted));
	ck_assert_mem_eq(buf_front(&out), wanted, strlen(wanted));
	buf_drop(&out, buf_bytes(&out));
}

static void
assert_ack(uint64_t n, uint64_t unacked, size_t bytes)
{
	const char *why = keep_ack(&keep, n);

	ck_assert_msg(why == NULL, "%s", why);
	ck_assert_uint_eq(keep_unacked(&keep), unacked);
	ck_assert_uint_eq(keep_bytes(&keep), bytes);
}

START_TEST(test_event_is_given_once_and_kept)
{
	add("1");
	assert_given(MAX, "1\n");
	assert_given(MAX, "");
	ck_assert_uint_eq(keep_unacked(&keep), 1);
	ck_assert_uint_eq(keep_bytes(&keep), 2);
	ck_assert_uint_eq(keep_waiting_bytes(&keep), 0);
}
END_TEST

START_TEST(test_acked_event_is_gone)
{
	add("1");
	add("");
	add("333");
	assert_given(MAX, "1\n\n333\n");
	assert_ack(0, 3, 7);
	assert_ack(1, 2, 5);
	assert_ack(1, 2, 5);
	assert_ack(3, 0, 0);
	(void)keep_restart(&keep);
	assert_given(MAX, "");
}
END_TEST

START_TEST(test_new_stream_gets_what_is_not_acked)
{
	add("1");
	add("22");
	add("3");
	assert_given(MAX, "1\n22\n3\n");
	assert_ack(1, 2, 5);
	ck_assert_uint_eq(keep_restart(&keep), 0);
	add("4");
	assert_given(MAX, "22\n3\n4\n");
	assert_ack(1, 2, 4);
	assert_ack(3, 0, 0);
}
END_TEST

START_TEST(test_acks_that_cannot_be)
{
	add("1");
	add("2");
	add("3");
	assert_given(4, "1\n2\n");
	ck_assert_ptr_nonnull(keep_ack(&keep, 3));
	assert_ack(2, 1, 2);
	ck_assert_ptr_nonnull(keep_ack(&keep, 1));
	ck_assert_ptr_nonnull(keep_ack(&keep, UINT64_MAX));
	assert_given(4, "3\n");
	assert_ack(3, 0, 0);
	/* Counts are of the stream. */
	(void)keep_restart(&keep);
	ck_assert_ptr_nonnull(keep_ack(&keep, 1));
	assert_ack(0, 0, 0);
}
END_TEST

START_TEST(test_short_events_are_given_whole)
{
	add("1234567");
	add("890");
	add("1");
	assert_given(LIMIT, "1234567\n");
	assert_given(LIMIT, "890\n1\n");
}
END_TEST

START_TEST(test_long_event_is_given_in_pieces)
{
	add("1");
	add("abcdefghijklmnopqrstuvwxyz");
	add("2");
	assert_given(LIMIT, "1\nabcdefgh");
	ck_assert_ptr_nonnull(keep_ack(&keep, 2));
	assert_ack(1, 2, 29);
	assert_given(LIMIT, "ijklmnopqr");
	ck_assert_ptr_nonnull(keep_ack(&keep, 2));
	assert_given(LIMIT, "stuvwxyz\n");
	assert_ack(2, 1, 2);
	assert_given(LIMIT, "2\n");
	assert_ack(3, 0, 0);
}
END_TEST

/* A stream that ends at any byte: the next one gets every event whole. */
START_TEST(test_restart_at_any_byte)
{
	static const char all[] = "1\nabcdefghijklmnopqrstuvwxyz\n\n2\n";

	for (size_t cut = 0; cut < sizeof(all); cut++) {
		set_up();
		add("1");
		add("abcdefghijklmnopqrstuvwxyz");
		add("");
		add("2");
		keep_give(&keep, &out, cut);
		ck_assert_uint_le(buf_bytes(&out), cut);
		ck_assert_mem_eq(buf_front(&out), all, buf_bytes(&out));
		buf_drop(&out, buf_bytes(&out));
		ck_assert_uint_eq(keep_restart(&keep), 0);
		assert_given(MAX, all);
		assert_ack(4, 0, 0);
		tear_down();
	}
	set_up();
}
END_TEST

START_TEST(test_length_framing)
{
	keep_fini(&keep);
	keep_init(&keep, FRAMING_LENGTH, MAX);
	for (int i = 0; i < 3; i++)
		ck_assert(put("a\nb", (size_t)i));
	keep_give(&keep, &out, MAX);
	ck_assert_uint_eq(buf_bytes(&out), 15);
	ck_assert_mem_eq(buf_front(&out), "\0\0\0\0\0\0\0\1a\0\0\0\2a\n", 15);
	assert_ack(2, 1, 6);
	(void)keep_restart(&keep);
	buf_drop(&out, 15);
	keep_give(&keep, &out, MAX);
	ck_assert_uint_eq(buf_bytes(&out), 6);
	ck_assert_mem_eq(buf_front(&out), "\0\0\0\2a\n", 6);
}
END_TEST

START_TEST(test_payload_becomes_one_line)
{
	ck_assert(put("[1]", 3));
	ck_assert(put("2", 1));
	assert_given(MAX, "[1]\n2\n");
	assert_ack(1, 1, 2);
	assert_ack(2, 0, 0);
}
END_TEST

/* As the first line of a stream it would say that this is another framing. */
START_TEST(test_line_that_begins_with_a_zero_byte)
{
	static const uint8_t line[] = {0, 'a', 0};

	ck_assert_int_eq(keep_add_line(&keep, line, 3), 0);
	ck_assert_int_eq(keep_add_line(&keep, line + 1, 2), 0);
	ck_assert_int_eq(keep_add_line(&keep, line, 0), 0);
	keep_give(&keep, &out, MAX);
	ck_assert_uint_eq(buf_bytes(&out), 9);
	ck_assert_mem_eq(buf_front(&out), " \0a\0\na\0\n\n", 9);
	assert_ack(3, 0, 0);
}
END_TEST

START_TEST(test_cap)
{
	static const uint8_t line[MAX] = {'x'};

	ck_assert_int_eq(keep_add_line(&keep, line, MAX), -1);
	ck_assert(!put(line, MAX));
	ck_assert_uint_eq(keep_unacked(&keep), 0);
	ck_assert_int_eq(keep_add_line(&keep, line, MAX - 1), 0);
	ck_assert_int_eq(keep_add_line(&keep, line, 0), -1);
	ck_assert_uint_eq(keep_bytes(&keep), MAX);
	keep_fini(&keep);
	keep_init(&keep, FRAMING_LENGTH, MAX);
	ck_assert(!put(line, MAX - FRAME_HEADER_BYTES + 1));
	ck_assert(put(line, MAX - FRAME_HEADER_BYTES));
}
END_TEST

START_TEST(test_nothing_is_allocated_once_warm)
{
	const uint8_t *memory = NULL;

	for (int i = 0; i < 10000; i++) {
		add("0123456789");
		add("01234");
		keep_give(&keep, &out, MAX);
		buf_drop(&out, buf_bytes(&out));
		if (i == 1000)
			memory = keep.bytes.data;
		if (i > 0)
			ck_assert_ptr_null(keep_ack(&keep, (uint64_t)i * 2));
	}
	ck_assert_ptr_eq(keep.bytes.data, memory);
}
END_TEST

/* An event that was given without being kept counts, and comes before all that
 * were kept later; it is lost with the stream. */
START_TEST(test_event_that_is_not_kept)
{
	add("1");
	assert_given(MAX, "1\n");
	assert_ack(1, 0, 0);
	keep_count_bare(&keep);
	ck_assert_uint_eq(keep_unacked(&keep), 1);
	add("3");
	assert_given(MAX, "3\n");
	assert_ack(2, 1, 2);
	assert_ack(3, 0, 0);

	keep_count_bare(&keep);
	add("5");
	add("6");
	assert_given(MAX, "5\n6\n");
	assert_ack(5, 1, 2);
	ck_assert_uint_eq(keep_restart(&keep), 0);
	assert_given(MAX, "6\n");
	assert_ack(1, 0, 0);

	keep_count_bare(&keep);
	add("8");
	ck_assert_uint_eq(keep_restart(&keep), 1);
	assert_given(MAX, "8\n");
	ck_assert_uint_eq(keep_unacked(&keep), 1);
	assert_ack(1, 0, 0);
}
END_TEST

START_TEST(test_nobody_acks)
{
	static const char *const given[] = {
	    "1\n", "abcdefghij", "klmnopqrst", "uvwxyz\n2\n", ""};

	add("1");
	add("abcdefghijklmnopqrstuvwxyz");
	add("2");
	for (size_t i = 0; i < COUNT(given); i++) {
		assert_given(i == 0 ? 2 : LIMIT, given[i]);
		keep_drop_given(&keep);
	}
	ck_assert_uint_eq(keep_bytes(&keep), 0);
	ck_assert_uint_eq(keep_unacked(&keep), 0);
	add("3");
	assert_given(LIMIT, "3\n");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("keep");
	TCase *tests = tcase_create("keep");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_event_is_given_once_and_kept);
	tcase_add_test(tests, test_acked_event_is_gone);
	tcase_add_test(tests, test_new_stream_gets_what_is_not_acked);
	tcase_add_test(tests, test_acks_that_cannot_be);
	tcase_add_test(tests, test_short_events_are_given_whole);
	tcase_add_test(tests, test_long_event_is_given_in_pieces);
	tcase_add_test(tests, test_restart_at_any_byte);
	tcase_add_test(tests, test_length_framing);
	tcase_add_test(tests, test_payload_becomes_one_line);
	tcase_add_test(tests, test_line_that_begins_with_a_zero_byte);
	tcase_add_test(tests, test_cap);
	tcase_add_test(tests, test_nothing_is_allocated_once_warm);
	tcase_add_test(tests, test_event_that_is_not_kept);
	tcase_add_test(tests, test_nobody_acks);
	return suite_run(suite);
}
