#include "t/suite.h"
#include "wssink/pace.h"

#include <check.h>

#define S INT64_C(1000000000)

/* How many events leave at `now_ns`. */
static uint64_t
leave(struct pace *pace, int64_t now_ns)
{
	uint64_t n = 0;

	for (; pace_is_due(pace, now_ns) && n < 1000000; n++)
		pace_take(pace, now_ns);
	return n;
}

START_TEST(test_no_rate_is_no_limit)
{
	struct pace pace;

	pace_init(&pace, 0);
	ck_assert_uint_eq(leave(&pace, S), 1000000);
}
END_TEST

/* A tenth of the rate at once, or one event. */
START_TEST(test_a_burst_is_bounded)
{
	static const uint64_t rates[][2] = {
	    {1, 1}, {9, 1}, {10, 1}, {20, 2}, {100, 10}, {100000, 10000}};
	struct pace pace;

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		pace_init(&pace, rates[i][0]);
		ck_assert_uint_eq(leave(&pace, 100 * S), rates[i][1]);
		ck_assert_uint_eq(leave(&pace, 100 * S), 0);
		/* However long nothing left. */
		ck_assert_uint_eq(leave(&pace, 1000 * S), rates[i][1]);
	}
}
END_TEST

/* Whoever looks when told to gets the whole rate, and never more. */
START_TEST(test_the_rate_is_kept)
{
	static const uint64_t rates[] = {1, 3, 10, 77, 1000, 100000};

	for (size_t i = 0; i < sizeof(rates) / sizeof(rates[0]); i++) {
		uint64_t rate = rates[i], n = 0;
		unsigned looks = 0;
		int64_t now = S;
		struct pace pace;

		pace_init(&pace, rate);
		for (; now < 11 * S; looks++) {
			/* One more that was nearly due at the start. */
			uint64_t most = rate / 10 + 1;

			n += leave(&pace, now);
			ck_assert_uint_le(
			    n, most + rate * (uint64_t)(now - S) / (uint64_t)S);
			ck_assert(pace_wake_ns(&pace) > now);
			now = pace_wake_ns(&pace);
		}
		ck_assert_uint_ge(n, 10 * rate - rate / 20);
		ck_assert_uint_le(looks, 10 * (rate < 25 ? rate : 25) + 2);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pace");
	TCase *tests = tcase_create("pace");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_no_rate_is_no_limit);
	tcase_add_test(tests, test_a_burst_is_bounded);
	tcase_add_test(tests, test_the_rate_is_kept);
	return suite_run(suite);
}
