#include "t/suite.h"
#include "wssink/retry.h"

#include <check.h>

#define MS INT64_C(1000000)
#define S (1000 * MS)

/* Loses the connection, or does not get one, at `now_ns`; returns the wait. */
static uint64_t
lose(struct retry *retry, uint64_t asked_ms, int64_t now_ns)
{
	retry_lost(retry, "no reason", asked_ms, true, now_ns);
	return (uint64_t)((retry->next_ns - now_ns) / MS);
}

START_TEST(test_the_first_try_is_made_at_once)
{
	struct retry retry;

	retry_init(&retry, "ws://x/", 30000, 5 * S);
	ck_assert_int_eq(retry.next_ns, 5 * S);
	retry_fini(&retry);
}
END_TEST

/* At random, never below the least nor above three times the last one or the
 * most; and they do get there. */
START_TEST(test_waits_grow_with_jitter)
{
	uint64_t longest = 0, first[100] = {0}, different = 0;
	struct retry retry;

	for (size_t round = 0; round < 100; round++) {
		uint64_t last = RETRY_MIN_MS;

		retry_init(&retry, "ws://x/", 30000, 0);
		for (size_t i = 0; i < 50; i++) {
			uint64_t wait = lose(&retry, 0, 0);

			ck_assert_uint_ge(wait, RETRY_MIN_MS);
			ck_assert_uint_le(wait, 3 * last);
			ck_assert_uint_le(wait, 30000);
			last = wait;
			if (wait > longest)
				longest = wait;
			if (i == 0)
				first[round] = wait;
		}
		different += first[round] != first[0];
		retry_fini(&retry);
	}
	ck_assert_uint_eq(longest, 30000);
	ck_assert_uint_gt(different, 50);
}
END_TEST

START_TEST(test_the_longest_wait_may_be_below_the_least)
{
	struct retry retry;

	retry_init(&retry, "ws://x/", 1, 0);
	ck_assert_uint_eq(lose(&retry, 0, 0), 1);
	retry_fini(&retry);
}
END_TEST

/* What the server asks for comes on top, and is no reason to wait longer the
 * next time. */
START_TEST(test_the_server_may_ask_for_more)
{
	struct retry retry;
	uint64_t wait;

	retry_init(&retry, "ws://x/", 30000, 0);
	wait = lose(&retry, 3600000, 0);
	ck_assert_uint_ge(wait, 3600000 + RETRY_MIN_MS);
	ck_assert_uint_le(wait, 3600000 + 3 * RETRY_MIN_MS);
	ck_assert_uint_le(lose(&retry, 0, 0), 9 * RETRY_MIN_MS);
	retry_fini(&retry);
}
END_TEST

/* Only a connection that held lets them begin anew. */
START_TEST(test_a_stable_connection_resets_the_waits)
{
	struct retry retry;

	bool was_long = false;

	/* Too short: the waits go on from where they were. */
	for (size_t i = 0; i < 100; i++) {
		retry_init(&retry, "ws://x/", 30000, 0);
		retry.wait_ms = 20000;
		retry_dialed(&retry);
		retry_opened(&retry, 10 * S);
		was_long |= lose(&retry, 0, 15 * S - 1) > 3 * RETRY_MIN_MS;
		retry_fini(&retry);
	}
	ck_assert(was_long);
	retry_init(&retry, "ws://x/", 30000, 0);
	retry.wait_ms = 20000;
	retry_dialed(&retry);
	retry_opened(&retry, 10 * S);
	ck_assert_uint_le(lose(&retry, 0, 15 * S), 3 * RETRY_MIN_MS);
	retry_fini(&retry);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("retry");
	TCase *tests = tcase_create("retry");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_the_first_try_is_made_at_once);
	tcase_add_test(tests, test_waits_grow_with_jitter);
	tcase_add_test(tests, test_the_longest_wait_may_be_below_the_least);
	tcase_add_test(tests, test_the_server_may_ask_for_more);
	tcase_add_test(tests, test_a_stable_connection_resets_the_waits);
	return suite_run(suite);
}
