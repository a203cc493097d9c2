/* The bookkeeping of pings; times are small numbers of ns. */
#include "t/suite.h"
#include "wssink/wsping.h"

#include <check.h>

#define INTERVAL INT64_C(1000)
#define TIMEOUT INT64_C(500)
/* What the deadline is later by for each byte in front of a ping. */
#define PER_BYTE (INT64_C(1000000000) >> 20)

START_TEST(test_messages_are_due_a_ping_at_once)
{
	struct wsping pings;

	wsping_init(&pings, 100);
	ck_assert(!wsping_is_due(&pings, 0, true, INTERVAL, 101));
	ck_assert(wsping_is_due(&pings, 1, true, INTERVAL, 101));
	ck_assert(!wsping_is_due(&pings, 1, false, INTERVAL, 101));
	(void)wsping_queue(&pings, 1, 10, 101);
	ck_assert(!wsping_is_due(&pings, 1, true, INTERVAL, 102));
	ck_assert(wsping_is_due(&pings, 2, true, INTERVAL, 102));
}
END_TEST

START_TEST(test_silence_is_due_a_ping_after_the_interval)
{
	struct wsping pings;

	wsping_init(&pings, 100);
	ck_assert_int_eq(wsping_keepalive_ns(&pings, INTERVAL), 1100);
	ck_assert(!wsping_is_due(&pings, 0, false, INTERVAL, 1099));
	ck_assert(wsping_is_due(&pings, 0, false, INTERVAL, 1100));
	(void)wsping_queue(&pings, 0, 10, 1100);
	ck_assert(wsping_keepalive_ns(&pings, INTERVAL) == INT64_MAX);
	ck_assert(!wsping_is_due(&pings, 0, false, INTERVAL, 9999));
}
END_TEST

START_TEST(test_no_more_than_some_are_on_their_way)
{
	struct wsping pings;
	uint64_t messages;

	wsping_init(&pings, 0);
	for (uint64_t n = 1; n <= WSPING_MAX; n++) {
		ck_assert(wsping_is_due(&pings, n, true, INTERVAL, 1));
		ck_assert_uint_eq(wsping_queue(&pings, n, 10 * n, 1), n);
	}
	ck_assert(!wsping_is_due(&pings, 100, true, INTERVAL, 1));
	ck_assert(wsping_answer(&pings, 1, 2, &messages));
	ck_assert(wsping_is_due(&pings, 100, true, INTERVAL, 2));
}
END_TEST

START_TEST(test_a_pong_confirms_what_stood_in_front_of_its_ping)
{
	struct wsping pings;
	uint64_t messages = 0;

	wsping_init(&pings, 0);
	(void)wsping_queue(&pings, 3, 10, 1);
	(void)wsping_queue(&pings, 7, 20, 1);
	(void)wsping_queue(&pings, 8, 30, 1);
	ck_assert(wsping_answer(&pings, 2, 2, &messages));
	ck_assert_uint_eq(messages, 7);
	/* Cumulative: the first is answered with it, and cannot be again. */
	ck_assert(!wsping_answer(&pings, 1, 2, &messages));
	ck_assert(!wsping_answer(&pings, 2, 2, &messages));
	ck_assert(!wsping_answer(&pings, 4, 2, &messages));
	ck_assert(!wsping_answer(&pings, 0, 2, &messages));
	ck_assert_uint_eq(messages, 7);
}
END_TEST

START_TEST(test_the_deadline_counts_from_when_the_system_took_the_ping)
{
	struct wsping pings;

	wsping_init(&pings, 0);
	ck_assert(wsping_deadline_ns(&pings, TIMEOUT) == INT64_MAX);
	(void)wsping_queue(&pings, 1, 10, 1);
	wsping_written(&pings, 9, 5);
	ck_assert(wsping_deadline_ns(&pings, TIMEOUT) == INT64_MAX);
	wsping_written(&pings, 10, 6);
	wsping_written(&pings, 11, 7);
	ck_assert_int_eq(
	    wsping_deadline_ns(&pings, TIMEOUT), 6 + TIMEOUT + 10 * PER_BYTE);
}
END_TEST

START_TEST(test_an_answer_moves_the_deadline_of_the_next)
{
	struct wsping pings;
	uint64_t messages;

	wsping_init(&pings, 0);
	(void)wsping_queue(&pings, 1, 10, 1);
	(void)wsping_queue(&pings, 2, 30, 1);
	wsping_written(&pings, 30, 2);
	ck_assert(wsping_answer(&pings, 1, 400, &messages));
	ck_assert_int_eq(
	    wsping_deadline_ns(&pings, TIMEOUT), 400 + TIMEOUT + 20 * PER_BYTE);
	wsping_heard(&pings, 450);
	ck_assert_int_eq(
	    wsping_deadline_ns(&pings, TIMEOUT), 450 + TIMEOUT + 20 * PER_BYTE);
	ck_assert(wsping_answer(&pings, 2, 460, &messages));
	ck_assert(wsping_deadline_ns(&pings, TIMEOUT) == INT64_MAX);
}
END_TEST

START_TEST(test_bytes_move_the_deadline_by_16_s_at_most)
{
	struct wsping pings;
	const uint64_t most = (uint64_t)16 << 20;

	wsping_init(&pings, 0);
	(void)wsping_queue(&pings, 1, 1000 * most, 1);
	wsping_written(&pings, 1000 * most, 2);
	ck_assert_int_eq(wsping_deadline_ns(&pings, TIMEOUT),
	    2 + TIMEOUT + (int64_t)most * PER_BYTE);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wsping");
	TCase *tcase = tcase_create("wsping");

	tcase_add_test(tcase, test_messages_are_due_a_ping_at_once);
	tcase_add_test(tcase, test_silence_is_due_a_ping_after_the_interval);
	tcase_add_test(tcase, test_no_more_than_some_are_on_their_way);
	tcase_add_test(
	    tcase, test_a_pong_confirms_what_stood_in_front_of_its_ping);
	tcase_add_test(
	    tcase, test_the_deadline_counts_from_when_the_system_took_the_ping);
	tcase_add_test(tcase, test_an_answer_moves_the_deadline_of_the_next);
	tcase_add_test(tcase, test_bytes_move_the_deadline_by_16_s_at_most);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
