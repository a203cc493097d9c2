#include "t/suite.h"
#include "wssink/poison.h"

#include <check.h>

/* Ends connections at event `first` until it is refused; returns how many of
 * them had it alone. */
static unsigned
strike_out(struct poison *poison, uint64_t first, enum poison_end end)
{
	enum poison_verdict verdict = POISON_AGAIN;
	unsigned alone = 0, ends = 0;

	while (verdict != POISON_REFUSE) {
		bool is_alone = poison_is_careful(poison);

		verdict =
		    poison_ended(poison, first, first + 10, end, 0, is_alone);
		ends++;
		alone += is_alone;
		ck_assert_uint_le(ends, 100);
	}
	ck_assert_uint_gt(ends, POISON_ENDS);
	return alone;
}

START_TEST(test_three_strikes_then_alone)
{
	struct poison poison;

	poison_init(&poison);
	ck_assert(!poison_is_careful(&poison));
	for (unsigned i = 1; i < POISON_ENDS; i++)
		ck_assert_int_eq(
		    poison_ended(&poison, 5, 9, POISON_MESSAGE, 0, false),
		    POISON_AGAIN);
	ck_assert(!poison_is_careful(&poison));
	ck_assert_int_eq(poison_ended(&poison, 5, 9, POISON_MESSAGE, 0, false),
	    POISON_ISOLATE);
	ck_assert(poison_is_careful(&poison));
	ck_assert_int_eq(poison_ended(&poison, 5, 5, POISON_MESSAGE, 0, true),
	    POISON_REFUSE);
}
END_TEST

/* The one at the head may be innocent: events go alone until the one that the
 * strikes were for, wherever it stood, is found. */
START_TEST(test_the_innocent_in_front_are_confirmed_alone)
{
	struct poison poison;

	poison_init(&poison);
	for (unsigned i = 0; i < POISON_ENDS; i++)
		(void)poison_ended(&poison, 5, 9, POISON_POLICY, 0, false);
	for (uint64_t ended = 5; ended < 8; ended++) {
		poison_confirmed(&poison, ended);
		ck_assert(poison_is_careful(&poison));
	}
	for (unsigned i = 0; i < POISON_ENDS; i++)
		ck_assert_int_eq(
		    poison_ended(&poison, 8, 8, POISON_POLICY, 0, true),
		    POISON_AGAIN);
	ck_assert_int_eq(
	    poison_ended(&poison, 8, 8, POISON_POLICY, 0, true), POISON_REFUSE);
	ck_assert(poison_is_careful(&poison));
	poison_confirmed(&poison, 9);
	ck_assert(!poison_is_careful(&poison));
}
END_TEST

/* Ends at different events are a server that fails now and then. */
START_TEST(test_progress_forgets_strikes)
{
	struct poison poison;

	poison_init(&poison);
	for (uint64_t first = 1; first < 100; first++) {
		for (unsigned i = 1; i < POISON_ENDS; i++)
			ck_assert_int_eq(poison_ended(&poison, first, first + 5,
					     POISON_HANG_UP, 0, false),
			    POISON_AGAIN);
		poison_confirmed(&poison, first);
	}
}
END_TEST

/* Nothing is refused for an end of a connection that did not show itself
 * sound before, or had more than the one event on it. */
START_TEST(test_only_alone_is_refused)
{
	struct poison poison;

	poison_init(&poison);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_ne(
		    poison_ended(&poison, 1, 1, POISON_POLICY, 0, false),
		    POISON_REFUSE);
}
END_TEST

/* Nothing is refused for a Close that says nothing against it; and such Closes
 * are no strikes that a later one adds to. */
START_TEST(test_other_closes_only_isolate)
{
	struct poison poison;

	poison_init(&poison);
	for (unsigned i = 1; i < POISON_ENDS; i++)
		ck_assert_int_eq(
		    poison_ended(&poison, 1, 9, POISON_OTHER, 0, false),
		    POISON_AGAIN);
	ck_assert_int_eq(poison_ended(&poison, 1, 9, POISON_OTHER, 0, false),
	    POISON_ISOLATE);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_int_eq(
		    poison_ended(&poison, 1, 1, POISON_OTHER, 0, true),
		    POISON_AGAIN);
	for (unsigned i = 0; i < POISON_ENDS; i++)
		ck_assert_int_eq(
		    poison_ended(&poison, 1, 1, POISON_MESSAGE, 0, true),
		    POISON_AGAIN);
	ck_assert_int_eq(poison_ended(&poison, 1, 1, POISON_MESSAGE, 0, true),
	    POISON_REFUSE);
}
END_TEST

START_TEST(test_ends_without_close_need_more)
{
	static const struct {
		enum poison_end end;
		unsigned alone;
	} ends[] = {{POISON_HANG_UP, POISON_HANG_UPS}, {POISON_POLICY, 1},
	    {POISON_MESSAGE, 1}};
	struct poison poison;

	for (size_t i = 0; i < sizeof(ends) / sizeof(ends[0]); i++) {
		poison_init(&poison);
		ck_assert_uint_eq(
		    strike_out(&poison, 1, ends[i].end), ends[i].alone);
	}
}
END_TEST

/* A connection that something cuts at an age is not to be cut with the event on
 * it: the next must have held longer. */
START_TEST(test_how_long_a_connection_must_hold)
{
	struct poison poison;

	poison_init(&poison);
	ck_assert_int_eq(poison_hold_ns(&poison), 0);
	(void)poison_ended(&poison, 1, 9, POISON_HANG_UP, 1 << 30, false);
	ck_assert_int_eq(poison_hold_ns(&poison), 0);
	(void)poison_ended(&poison, 1, 9, POISON_HANG_UP, 500, false);
	(void)poison_ended(&poison, 1, 9, POISON_HANG_UP, 300, false);
	(void)poison_ended(&poison, 1, 9, POISON_OTHER, 1 << 30, false);
	ck_assert_int_eq(poison_hold_ns(&poison), 1000);
	(void)poison_ended(&poison, 1, 1, POISON_HANG_UP, 1100, true);
	ck_assert_int_eq(poison_hold_ns(&poison), 2200);
	(void)poison_ended(
	    &poison, 1, 1, POISON_HANG_UP, POISON_HOLD_MAX_NS - 1, true);
	ck_assert_int_eq(poison_hold_ns(&poison), POISON_HOLD_MAX_NS);
	(void)poison_ended(&poison, 2, 9, POISON_HANG_UP, 700, false);
	ck_assert_int_eq(poison_hold_ns(&poison), 0);
	(void)poison_ended(&poison, 2, 9, POISON_HANG_UP, 700, false);
	poison_confirmed(&poison, 2);
	ck_assert_int_eq(poison_hold_ns(&poison), 0);
}
END_TEST

/* A server that refuses everything is asked ever more often for each event,
 * unless it says that it is the event's fault. */
START_TEST(test_refusals_in_a_row_take_longer)
{
	static const unsigned policy[] = {1, 4, 4, 8, 16, 32, 64, 64, 64};
	struct poison poison;

	poison_init(&poison);
	for (uint64_t i = 0; i < 9; i++)
		ck_assert_uint_eq(
		    strike_out(&poison, i + 1, POISON_POLICY), policy[i]);
	poison_confirmed(&poison, 11);
	poison.careful_until = 0;
	ck_assert_uint_eq(strike_out(&poison, 12, POISON_POLICY), 1);
	for (uint64_t i = 0; i < 20; i++) {
		poison.careful_until = 0;
		ck_assert_uint_eq(
		    strike_out(&poison, 13 + i, POISON_MESSAGE), 1);
	}
}
END_TEST

/* Events that come again under other numbers go alone as before, but nothing
 * is held against the one that has the suspect's number now. */
START_TEST(test_events_that_come_again_have_no_strikes)
{
	struct poison poison;

	poison_init(&poison);
	poison_renumber(&poison, 3, 0);
	ck_assert(!poison_is_careful(&poison));
	for (unsigned i = 0; i < POISON_ENDS; i++)
		(void)poison_ended(&poison, 5, 9, POISON_MESSAGE, 0, false);
	/* 5 to 9 are 8 to 12. */
	poison_renumber(&poison, 4, 7);
	poison_confirmed(&poison, 11);
	ck_assert(poison_is_careful(&poison));
	ck_assert_int_eq(poison_ended(&poison, 12, 12, POISON_MESSAGE, 0, true),
	    POISON_AGAIN);
	poison_renumber(&poison, 11, 11);
	for (unsigned i = 0; i < POISON_ENDS; i++)
		ck_assert_int_eq(
		    poison_ended(&poison, 12, 12, POISON_MESSAGE, 0, true),
		    POISON_AGAIN);
	ck_assert_int_eq(poison_ended(&poison, 12, 12, POISON_MESSAGE, 0, true),
	    POISON_REFUSE);
	ck_assert(!poison_is_careful(&poison));
}
END_TEST

/* Those that had ended do not come again. */
START_TEST(test_care_ends_with_the_events_it_was_for)
{
	struct poison poison;

	poison_init(&poison);
	for (unsigned i = 0; i < POISON_ENDS; i++)
		(void)poison_ended(&poison, 5, 9, POISON_MESSAGE, 0, false);
	poison_renumber(&poison, 9, 2);
	ck_assert(!poison_is_careful(&poison));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("poison");
	TCase *tests = tcase_create("poison");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_three_strikes_then_alone);
	tcase_add_test(tests, test_the_innocent_in_front_are_confirmed_alone);
	tcase_add_test(tests, test_progress_forgets_strikes);
	tcase_add_test(tests, test_only_alone_is_refused);
	tcase_add_test(tests, test_other_closes_only_isolate);
	tcase_add_test(tests, test_ends_without_close_need_more);
	tcase_add_test(tests, test_how_long_a_connection_must_hold);
	tcase_add_test(tests, test_refusals_in_a_row_take_longer);
	tcase_add_test(tests, test_events_that_come_again_have_no_strikes);
	tcase_add_test(tests, test_care_ends_with_the_events_it_was_for);
	return suite_run(suite);
}
