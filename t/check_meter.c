#include "stage/loop.h"
#include "stage/meter.h"
#include "t/suite.h"

#include <check.h>

#define S LOOP_NS_PER_S

static struct meter meter;

static void
set_up(void)
{
	meter = (struct meter){.second = 0};
}

static void
assert_rate(int64_t now_ns, double wanted)
{
	ck_assert_double_eq_tol(meter_rate(&meter, now_ns), wanted, 1e-9);
}

START_TEST(test_nothing_added_is_no_rate)
{
	assert_rate(0, 0);
	assert_rate(1000000 * S, 0);
}
END_TEST

/* The second that is not over does not count yet. */
START_TEST(test_newest_second_is_left_out)
{
	int64_t now = 1000 * S;

	meter_add(&meter, 50, now);
	assert_rate(now + S - 1, 0);
	assert_rate(now + S, 50);
}
END_TEST

START_TEST(test_counts_pass_after_the_window)
{
	int64_t now = 1000 * S + S / 2;

	meter_add(&meter, 7, now);
	/* As long as it is young, its age is what counts. */
	for (int i = 1; i <= METER_SECONDS; i++)
		assert_rate(now + i * S, 7.0 / i);
	assert_rate(now + (METER_SECONDS + 1) * S, 0);
}
END_TEST

START_TEST(test_steady_flow)
{
	for (int64_t second = 500; second < 600; second++) {
		for (int i = 0; i < 4; i++)
			meter_add(&meter, 25, second * S + i * S / 4);
		if (second >= 500 + METER_SECONDS)
			assert_rate(second * S + S - 1, 100);
	}
}
END_TEST

/* What is in the slots of a time long ago is not taken for new, whatever the
 * distance is modulo their number. */
START_TEST(test_pause)
{
	for (int pause = 1; pause < 4 * METER_SECONDS; pause++) {
		int left = pause < METER_SECONDS ? METER_SECONDS - pause : 0;

		set_up();
		for (int i = 0; i <= METER_SECONDS; i++)
			meter_add(&meter, 10, (100 + i) * S);
		meter_add(&meter, 30, (100 + METER_SECONDS + pause) * S);
		assert_rate((101 + METER_SECONDS + pause) * S,
		    (10.0 * left + 30) / METER_SECONDS);
	}
}
END_TEST

START_TEST(test_asking_changes_nothing)
{
	meter_add(&meter, 10, 100 * S);
	for (int i = 0; i < 5; i++)
		assert_rate(101 * S, 10);
	meter_add(&meter, 10, 101 * S);
	assert_rate(102 * S, 20.0 / 2);
}
END_TEST

START_TEST(test_counts_near_the_largest)
{
	meter_add(&meter, UINT64_C(1) << 60, 100 * S);
	assert_rate(101 * S, (double)(UINT64_C(1) << 60));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("meter");
	TCase *tests = tcase_create("meter");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_nothing_added_is_no_rate);
	tcase_add_test(tests, test_newest_second_is_left_out);
	tcase_add_test(tests, test_counts_pass_after_the_window);
	tcase_add_test(tests, test_steady_flow);
	tcase_add_test(tests, test_pause);
	tcase_add_test(tests, test_asking_changes_nothing);
	tcase_add_test(tests, test_counts_near_the_largest);
	return suite_run(suite);
}
