#include "stage/loop.h"
#include "supervisor/flood.h"
#include "t/suite.h"

#include <check.h>

/* Any time will do for a start. */
#define START_NS (INT64_C(12345) * LOOP_NS_PER_S)

/* Offers `lines` at once; returns how many pass. */
static unsigned
offer(struct flood *flood, unsigned lines, int64_t now_ns)
{
	unsigned passed = 0;

	for (unsigned i = 0; i < lines; i++)
		passed += flood_passes(flood, now_ns) ? 1 : 0;
	return passed;
}

START_TEST(test_a_burst_passes_whole)
{
	struct flood flood = {0};

	ck_assert_uint_eq(offer(&flood, FLOOD_BURST, START_NS), FLOOD_BURST);
	ck_assert_uint_eq(flood.held, 0);
	ck_assert_uint_eq(offer(&flood, 7, START_NS), 0);
	ck_assert_uint_eq(flood.held, 7);
}
END_TEST

/* At the rate itself nothing is ever held back. */
START_TEST(test_a_steady_stream_passes)
{
	struct flood flood = {0};
	int64_t now_ns = START_NS;

	(void)offer(&flood, FLOOD_BURST, now_ns);
	for (int i = 0; i < 100 * FLOOD_RATE; i++) {
		now_ns += LOOP_NS_PER_S / FLOOD_RATE;
		ck_assert(flood_passes(&flood, now_ns));
	}
	ck_assert_uint_eq(flood.held, 0);
}
END_TEST

/* Ten times the rate for a minute: a burst, then the rate, in few pieces. */
START_TEST(test_a_flood_passes_at_the_rate)
{
	struct flood flood = {0};
	int64_t step_ns = LOOP_NS_PER_S / (10L * FLOOD_RATE);
	unsigned passed = 0, shuts = 0, lines = 60 * 10 * FLOOD_RATE;

	for (unsigned i = 0; i < lines; i++) {
		bool was_shut = flood.is_shut;

		if (flood_passes(&flood, START_NS + i * step_ns))
			passed++;
		shuts += flood.is_shut && !was_shut ? 1 : 0;
	}
	ck_assert_uint_eq(passed + flood.held, lines);
	ck_assert_uint_ge(passed, FLOOD_BURST + 58 * FLOOD_RATE);
	ck_assert_uint_le(passed, FLOOD_BURST + 61 * FLOOD_RATE);
	ck_assert_uint_le(shuts, 61);
}
END_TEST

/* Once shut it opens when a second's worth is back, not a line's. */
START_TEST(test_it_opens_after_a_second)
{
	struct flood flood = {0};
	int64_t open_ns = START_NS + LOOP_NS_PER_S;

	(void)offer(&flood, FLOOD_BURST + 1, START_NS);
	ck_assert(!flood_passes(&flood, open_ns - 1));
	ck_assert_uint_eq(offer(&flood, 2 * FLOOD_RATE, open_ns), FLOOD_RATE);
}
END_TEST

/* However long it is quiet, no more than a burst gathers. */
START_TEST(test_rest_gathers_one_burst)
{
	struct flood flood = {0};
	int64_t later_ns = START_NS + 1000000 * LOOP_NS_PER_S;

	(void)offer(&flood, 2 * FLOOD_BURST, START_NS);
	ck_assert_uint_eq(
	    offer(&flood, 2 * FLOOD_BURST, later_ns), FLOOD_BURST);
}
END_TEST

/* The clock counts from the start of the machine. */
START_TEST(test_it_is_full_at_time_zero)
{
	struct flood flood = {0};

	ck_assert_uint_eq(offer(&flood, 2 * FLOOD_BURST, 0), FLOOD_BURST);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("flood");
	TCase *tcase = tcase_create("flood");

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, test_a_burst_passes_whole);
	tcase_add_test(tcase, test_a_steady_stream_passes);
	tcase_add_test(tcase, test_a_flood_passes_at_the_rate);
	tcase_add_test(tcase, test_it_opens_after_a_second);
	tcase_add_test(tcase, test_rest_gathers_one_burst);
	tcase_add_test(tcase, test_it_is_full_at_time_zero);
	return suite_run(suite);
}
