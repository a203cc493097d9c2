#include "t/suite.h"
#include "walproc/flight.h"

#include <check.h>

/* Adds `count` sent events, numbered on from `seq`. */
static void
send_events(struct flight *flight, uint64_t seq, int count)
{
	for (int i = 0; i < count; i++, seq++) {
		struct flight_event event = {
		    .seq = seq, .count = 1, .end_offset = 100 * seq};

		flight_add(flight, &event);
	}
}

/* Takes off all that has ended and returns how many entries that were. */
static int
take_all(struct flight *flight, struct flight_event *last)
{
	int n = 0;

	while (flight_take_ended(flight, last))
		n++;
	return n;
}

START_TEST(test_an_ack_ends_the_events_in_front)
{
	struct flight flight;
	struct flight_event event;
	const char *why;

	flight_init(&flight, 10);
	send_events(&flight, 5, 4);
	ck_assert(!flight_take_ended(&flight, &event));
	ck_assert_int_eq(flight_ack(&flight, 3, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 3);
	ck_assert(event.seq == 7);
	ck_assert(event.end_offset == 700);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_acked_events_are_taken_at_once_up_to_another_kind)
{
	struct flight flight;
	struct flight_event event, *found;
	struct flight_event damaged = {
	    .seq = 9, .count = 3, .end_offset = 1200, .state = FLIGHT_DAMAGED};
	const char *why;

	flight_init(&flight, 100);
	ck_assert(!flight_take_acked(&flight, &event));
	/* Numbers 7 and 8 are not in it. */
	send_events(&flight, 3, 4);
	flight_add(&flight, &damaged);
	send_events(&flight, 12, 40);
	ck_assert(!flight_take_acked(&flight, &event));
	ck_assert_int_eq(flight_ack(&flight, 30, &why), 0);
	found = flight_find(&flight, 35, &why);
	ck_assert_ptr_nonnull(found);
	found->state = FLIGHT_REJECTED;
	ck_assert(flight_take_acked(&flight, &event));
	ck_assert(event.seq == 3 && event.count == 4);
	ck_assert(event.end_offset == 600 && event.state == FLIGHT_SENT);
	ck_assert(!flight_take_acked(&flight, &event));
	ck_assert(flight_take_ended(&flight, &event));
	ck_assert(event.seq == 9 && event.state == FLIGHT_DAMAGED);
	ck_assert(flight_take_acked(&flight, &event));
	ck_assert(event.seq == 12 && event.count == 26);
	ck_assert(event.end_offset == 3700);
	ck_assert(!flight_has_ended(&flight));
	ck_assert(!flight_take_acked(&flight, &event));
	ck_assert_int_eq(flight_ack(&flight, 34, &why), 0);
	ck_assert(flight_take_acked(&flight, &event));
	ck_assert(event.seq == 38 && event.count == 4);
	/* The rejected one needs no ack. */
	ck_assert(!flight_take_acked(&flight, &event));
	ck_assert(flight_take_ended(&flight, &event));
	ck_assert(event.seq == 42 && event.state == FLIGHT_REJECTED);
	flight_fini(&flight);
}
END_TEST

/* As events that were dropped leave one. */
START_TEST(test_acked_events_are_taken_over_a_gap)
{
	struct flight flight;
	struct flight_event event;
	const char *why;

	flight_init(&flight, 100);
	send_events(&flight, 1, 3);
	send_events(&flight, 11, 5);
	ck_assert_int_eq(flight_ack(&flight, 6, &why), 0);
	ck_assert(flight_take_acked(&flight, &event));
	ck_assert(event.seq == 1 && event.count == 13);
	ck_assert(event.end_offset == 1300);
	ck_assert(!flight_take_acked(&flight, &event));
	ck_assert_int_eq(flight_ack(&flight, 8, &why), 0);
	ck_assert(flight_take_acked(&flight, &event));
	ck_assert(event.seq == 14 && event.count == 2);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_acks_are_cumulative_and_may_repeat)
{
	struct flight flight;
	struct flight_event event;
	const char *why;

	flight_init(&flight, 10);
	send_events(&flight, 1, 4);
	ck_assert_int_eq(flight_ack(&flight, 2, &why), 0);
	ck_assert_int_eq(flight_ack(&flight, 2, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 2);
	ck_assert_int_eq(flight_ack(&flight, 4, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 2);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_an_ack_of_more_than_was_sent_changes_nothing)
{
	struct flight flight;
	struct flight_event event;
	const char *why = NULL;

	flight_init(&flight, 10);
	send_events(&flight, 1, 2);
	ck_assert_int_eq(flight_ack(&flight, 3, &why), -1);
	ck_assert_ptr_nonnull(why);
	ck_assert_int_eq(take_all(&flight, &event), 0);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_an_ack_that_falls_is_refused)
{
	struct flight flight;
	const char *why = NULL;

	flight_init(&flight, 10);
	send_events(&flight, 1, 4);
	ck_assert_int_eq(flight_ack(&flight, 3, &why), 0);
	ck_assert_int_eq(flight_ack(&flight, 2, &why), -1);
	ck_assert_ptr_nonnull(why);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_the_window_is_a_hard_limit_of_what_is_not_answered)
{
	struct flight flight;
	struct flight_event event;
	const char *why;

	flight_init(&flight, 3);
	send_events(&flight, 1, 3);
	ck_assert(!flight_has_room(&flight));
	ck_assert_int_eq(flight_ack(&flight, 1, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 1);
	ck_assert(flight_has_room(&flight));
	flight_fini(&flight);
}
END_TEST

START_TEST(test_a_rejected_event_ends_when_all_before_it_has)
{
	struct flight flight;
	struct flight_event event, *found;
	const char *why;

	flight_init(&flight, 10);
	send_events(&flight, 1, 3);
	found = flight_find(&flight, 2, &why);
	ck_assert_ptr_nonnull(found);
	ck_assert(found->seq == 2);
	found->state = FLIGHT_REJECTED;
	ck_assert_int_eq(take_all(&flight, &event), 0);
	ck_assert_int_eq(flight_ack(&flight, 1, &why), 0);
	/* The second needs no ack any more. */
	ck_assert_int_eq(take_all(&flight, &event), 2);
	ck_assert_int_eq(event.state, FLIGHT_REJECTED);
	ck_assert_int_eq(flight_ack(&flight, 3, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 1);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_an_ack_that_repeats_behind_a_reject_did_not_fall)
{
	struct flight flight;
	struct flight_event event;
	const char *why;

	flight_init(&flight, 10);
	send_events(&flight, 1, 3);
	ck_assert_int_eq(flight_ack(&flight, 1, &why), 0);
	flight_find(&flight, 2, &why)->state = FLIGHT_REJECTED;
	ck_assert_int_eq(take_all(&flight, &event), 2);
	ck_assert_int_eq(flight_ack(&flight, 1, &why), 0);
	ck_assert(!flight_has_ended(&flight));
	ck_assert_int_eq(flight_ack(&flight, 3, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 1);
	flight_fini(&flight);
}
END_TEST

START_TEST(test_only_an_open_event_can_be_rejected)
{
	struct flight flight;
	struct flight_event event;
	const char *why;

	flight_init(&flight, 10);
	send_events(&flight, 1, 3);
	ck_assert_int_eq(flight_ack(&flight, 1, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 1);
	ck_assert_ptr_null(flight_find(&flight, 0, &why));
	ck_assert_ptr_null(flight_find(&flight, 1, &why));
	ck_assert_ptr_null(flight_find(&flight, 4, &why));
	flight_find(&flight, 3, &why)->state = FLIGHT_REJECTED;
	ck_assert_ptr_null(flight_find(&flight, 3, &why));
	flight_fini(&flight);
}
END_TEST

START_TEST(test_damaged_events_end_by_themselves_and_are_not_counted)
{
	struct flight flight;
	struct flight_event event;
	struct flight_event damaged = {
	    .seq = 2, .count = 5, .end_offset = 700, .state = FLIGHT_DAMAGED};
	const char *why;

	flight_init(&flight, 10);
	send_events(&flight, 1, 1);
	flight_add(&flight, &damaged);
	send_events(&flight, 7, 1);
	ck_assert(flight.sent == 2);
	ck_assert_int_eq(take_all(&flight, &event), 0);
	ck_assert_int_eq(flight_ack(&flight, 1, &why), 0);
	ck_assert_int_eq(take_all(&flight, &event), 2);
	ck_assert(event.count == 5);
	ck_assert(flight_find(&flight, 2, &why)->seq == 7);
	flight_fini(&flight);
}
END_TEST

/* The ring grows and wraps; order and numbers hold. */
START_TEST(test_a_long_stream_through_a_ring_that_grows)
{
	struct flight flight;
	struct flight_event event;
	const char *why;
	uint64_t sent = 0, seen = 0;

	flight_init(&flight, 1000);
	for (int round = 0; round < 300; round++) {
		send_events(&flight, sent + 1, round % 17);
		sent += (uint64_t)(round % 17);
		ck_assert_int_eq(flight_ack(&flight, sent - sent % 5, &why), 0);
		while (flight_take_ended(&flight, &event))
			ck_assert(event.seq == ++seen);
		ck_assert(seen == sent - sent % 5);
	}
	flight_fini(&flight);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("flight");
	TCase *tcase = tcase_create("flight");

	tcase_add_test(tcase, test_an_ack_ends_the_events_in_front);
	tcase_add_test(
	    tcase, test_acked_events_are_taken_at_once_up_to_another_kind);
	tcase_add_test(tcase, test_acked_events_are_taken_over_a_gap);
	tcase_add_test(tcase, test_acks_are_cumulative_and_may_repeat);
	tcase_add_test(
	    tcase, test_an_ack_of_more_than_was_sent_changes_nothing);
	tcase_add_test(tcase, test_an_ack_that_falls_is_refused);
	tcase_add_test(
	    tcase, test_the_window_is_a_hard_limit_of_what_is_not_answered);
	tcase_add_test(
	    tcase, test_a_rejected_event_ends_when_all_before_it_has);
	tcase_add_test(
	    tcase, test_an_ack_that_repeats_behind_a_reject_did_not_fall);
	tcase_add_test(tcase, test_only_an_open_event_can_be_rejected);
	tcase_add_test(
	    tcase, test_damaged_events_end_by_themselves_and_are_not_counted);
	tcase_add_test(tcase, test_a_long_stream_through_a_ring_that_grows);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
