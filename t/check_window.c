#include "stage/frame.h"
#include "t/suite.h"
#include "wssink/window.h"

#include <check.h>
#include <stdlib.h>
#include <string.h>

static void
add(struct window *window, const char *event)
{
	ck_assert(window_has_room(window, strlen(event)));
	window_add(window, (const uint8_t *)event, strlen(event));
}

/* The next event to send is `event`, or there is none if that is NULL. */
static void
assert_next(struct window *window, const char *event)
{
	const uint8_t *payload;
	size_t bytes;

	ck_assert_int_eq(window_next(window, &payload, &bytes), event != NULL);
	if (event == NULL)
		return;
	ck_assert_uint_eq(bytes, strlen(event));
	ck_assert_mem_eq(payload, event, bytes);
}

START_TEST(test_events_come_out_in_order_and_once)
{
	struct window window;

	window_init(&window, 0);
	ck_assert(window_is_empty(&window));
	assert_next(&window, NULL);
	add(&window, "1");
	add(&window, "22");
	assert_next(&window, "1");
	assert_next(&window, "22");
	assert_next(&window, NULL);
	add(&window, "333");
	assert_next(&window, "333");
	window_end(&window, 2);
	ck_assert_uint_eq(window.ended, 2);
	window_end(&window, 1);
	ck_assert(window_is_empty(&window));
	window_fini(&window);
}
END_TEST

START_TEST(test_rewind_gives_again_what_has_not_ended)
{
	struct window window;

	window_init(&window, 0);
	add(&window, "1");
	add(&window, "22");
	add(&window, "333");
	assert_next(&window, "1");
	assert_next(&window, "22");
	window_end(&window, 1);
	window_rewind(&window);
	assert_next(&window, "22");
	assert_next(&window, "333");
	assert_next(&window, NULL);
	window_fini(&window);
}
END_TEST

/* A refused event has a number, and ends once all before it have. */
START_TEST(test_refused_events_keep_the_count_exact)
{
	struct window window;

	window_init(&window, 0);
	window_add_refused(&window);
	ck_assert_uint_eq(window.ended, 1);
	add(&window, "2");
	window_add_refused(&window);
	window_add_refused(&window);
	add(&window, "5");
	window_add_refused(&window);
	ck_assert_uint_eq(window.ended, 1);
	assert_next(&window, "2");
	window_end(&window, 1);
	ck_assert_uint_eq(window.ended, 4);
	window_rewind(&window);
	assert_next(&window, "5");
	assert_next(&window, NULL);
	window_end(&window, 1);
	ck_assert_uint_eq(window.ended, 6);
	ck_assert(window_is_empty(&window));
	window_fini(&window);
}
END_TEST

START_TEST(test_events_are_counted_against_the_cap)
{
	struct window window;

	window_init(&window, 0);
	for (size_t i = 0; i < WINDOW_EVENTS; i++)
		add(&window, "x");
	ck_assert(!window_has_room(&window, 0));
	assert_next(&window, "x");
	window_end(&window, 1);
	ck_assert(window_has_room(&window, 1));
	window_fini(&window);
}
END_TEST

/* The longest event fits, but only alone. */
START_TEST(test_bytes_are_counted_against_the_cap)
{
	uint8_t *event = calloc(1, FRAME_MAX_BYTES);
	const uint8_t *payload;
	struct window window;
	size_t bytes;

	ck_assert_ptr_nonnull(event);
	window_init(&window, 0);
	ck_assert(window_has_room(&window, FRAME_MAX_BYTES));
	window_add(&window, event, WINDOW_BYTES - 1);
	ck_assert(window_has_room(&window, 1));
	ck_assert(!window_has_room(&window, 2));
	ck_assert(window_next(&window, &payload, &bytes));
	window_end(&window, 1);
	window_add(&window, event, FRAME_MAX_BYTES);
	ck_assert(!window_has_room(&window, 1));
	window_fini(&window);
	free(event);
}
END_TEST

START_TEST(test_many_events_have_fewer_bytes)
{
	static const uint8_t event[WINDOW_MANY_BYTES / WINDOW_FEW_EVENTS];
	struct window window;

	window_init(&window, 0);
	for (size_t i = 0; i + 1 < WINDOW_FEW_EVENTS; i++)
		window_add(&window, event, sizeof(event));
	ck_assert(window_has_room(&window, WINDOW_BYTES / 2));
	window_add(&window, event, sizeof(event));
	ck_assert(!window_has_room(&window, 1));
	window_fini(&window);
}
END_TEST

/* What is refused later than it came in ends at once, and is not given again.
 */
START_TEST(test_the_first_event_can_be_refused)
{
	struct window window;

	window_init(&window, 0);
	add(&window, "1");
	add(&window, "22");
	window_add_refused(&window);
	add(&window, "4444");
	assert_next(&window, "1");
	window_refuse_first(&window);
	ck_assert_uint_eq(window.ended, 1);
	assert_next(&window, "22");
	assert_next(&window, "4444");
	window_rewind(&window);
	window_refuse_first(&window);
	ck_assert_uint_eq(window.ended, 3);
	assert_next(&window, "4444");
	window_end(&window, 1);
	ck_assert(window_is_empty(&window));
	ck_assert_uint_eq(buf_bytes(&window.bytes), 0);
	window_fini(&window);
}
END_TEST

/* The last confirmed events come again in front of the others, if asked for. */
START_TEST(test_confirmed_events_are_kept)
{
	struct window window;

	window_init(&window, 2);
	ck_assert_uint_eq(window_rewind_kept(&window), 0);
	add(&window, "1");
	add(&window, "22");
	add(&window, "333");
	add(&window, "4444");
	add(&window, "5");
	for (size_t i = 0; i < 5; i++)
		assert_next(&window,
		    (const char *[]){"1", "22", "333", "4444", "5"}[i]);
	window_end(&window, 1);
	window_refuse_first(&window);
	window_end(&window, 2);
	ck_assert_uint_eq(window.ended, 4);
	window_rewind(&window);
	assert_next(&window, "5");
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	assert_next(&window, "333");
	assert_next(&window, "4444");
	assert_next(&window, "5");
	assert_next(&window, NULL);
	window_end(&window, 1);
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	assert_next(&window, "4444");
	/* Lost in the middle of it: the same again. */
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	assert_next(&window, "4444");
	assert_next(&window, "5");
	assert_next(&window, NULL);
	window_fini(&window);
}
END_TEST

/* Refused events do not push out what is kept, and never fill the window. */
START_TEST(test_refused_events_between_kept_ones)
{
	struct window window;

	window_init(&window, 3);
	add(&window, "1");
	assert_next(&window, "1");
	window_end(&window, 1);
	for (size_t i = 0; i < WINDOW_KEPT_EVENTS; i++)
		window_add_refused(&window);
	ck_assert_uint_eq(window_rewind_kept(&window), 1);
	assert_next(&window, "1");
	assert_next(&window, NULL);
	for (size_t i = 0; i < 100000; i++) {
		ck_assert(window_has_room(&window, 0));
		window_add_refused(&window);
	}
	/* What is to be given again is not forgotten for them: they wait. */
	add(&window, "2");
	assert_next(&window, "2");
	window_end(&window, 1);
	ck_assert_uint_eq(window_rewind_kept(&window), 1);
	while (window_has_room(&window, 0))
		window_add_refused(&window);
	assert_next(&window, "2");
	assert_next(&window, NULL);
	ck_assert(window_has_room(&window, 0));
	window_fini(&window);
}
END_TEST

/* Nor do they hide that all of what is kept was given again. */
START_TEST(test_next_tells_where_what_is_kept_ends)
{
	struct window window;

	window_init(&window, 3);
	add(&window, "1");
	add(&window, "22");
	add(&window, "333");
	add(&window, "4444");
	assert_next(&window, "1");
	assert_next(&window, "22");
	window_end(&window, 1);
	window_refuse_first(&window);
	window_rewind(&window);
	assert_next(&window, "333");
	window_end(&window, 1);
	window_add_refused(&window);
	ck_assert_uint_eq(window.ended, 3);
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	assert_next(&window, "1");
	ck_assert_uint_lt(window.next, window.ended);
	assert_next(&window, "333");
	ck_assert_uint_eq(window.next, window.ended);
	assert_next(&window, "4444");
	window_end(&window, 1);
	ck_assert_uint_eq(window.ended, 5);
	ck_assert_uint_eq(window_rewind_kept(&window), 3);
	assert_next(&window, "1");
	assert_next(&window, "333");
	assert_next(&window, "4444");
	ck_assert_uint_eq(window.next, 5);
	assert_next(&window, NULL);
	window_fini(&window);
}
END_TEST

/* What is kept is limited in bytes, though a single event may be longer; and
 * it takes nothing away from the window's own room. */
START_TEST(test_kept_bytes_are_limited)
{
	uint8_t *event = calloc(1, FRAME_MAX_BYTES);
	const uint8_t *payload;
	struct window window;
	size_t bytes;

	ck_assert_ptr_nonnull(event);
	window_init(&window, WINDOW_KEPT_EVENTS);
	for (size_t i = 0; i < 20; i++) {
		window_add(&window, event, WINDOW_KEPT_BYTES / 8);
		ck_assert(window_next(&window, &payload, &bytes));
		window_end(&window, 1);
	}
	ck_assert_uint_eq(window.kept, 8);
	for (size_t i = 0; i < 2; i++) {
		ck_assert(window_has_room(&window, FRAME_MAX_BYTES));
		window_add(&window, event, FRAME_MAX_BYTES);
		ck_assert(window_next(&window, &payload, &bytes));
		window_end(&window, 1);
		ck_assert_uint_eq(window.kept, 1);
	}
	window_fini(&window);
	free(event);
}
END_TEST

/* Nor do the bytes of events that are refused later count in what is kept, or
 * fill the memory. */
START_TEST(test_refused_bytes_are_not_kept)
{
	uint8_t *event = calloc(1, FRAME_MAX_BYTES);
	const uint8_t *payload;
	struct window window;
	size_t bytes;

	ck_assert_ptr_nonnull(event);
	window_init(&window, 1);
	add(&window, "kept");
	assert_next(&window, "kept");
	window_end(&window, 1);
	for (size_t i = 0; i < 8; i++) {
		ck_assert(window_has_room(&window, FRAME_MAX_BYTES));
		window_add(&window, event, FRAME_MAX_BYTES);
		ck_assert(window_next(&window, &payload, &bytes));
		window_refuse_first(&window);
		ck_assert_uint_eq(buf_bytes(&window.bytes), strlen("kept"));
	}
	add(&window, "1");
	add(&window, "22");
	assert_next(&window, "1");
	window_refuse_first(&window);
	assert_next(&window, "22");
	ck_assert_uint_eq(window_rewind_kept(&window), 1);
	assert_next(&window, "kept");
	assert_next(&window, "22");
	assert_next(&window, NULL);
	window_fini(&window);
	free(event);
}
END_TEST

/* What was not given out goes, its number and its bytes too; what was given
 * out stays. */
START_TEST(test_the_rest_can_be_dropped)
{
	struct window window;

	window_init(&window, 0);
	window_drop_rest(&window);
	add(&window, "1");
	add(&window, "22");
	window_add_refused(&window);
	add(&window, "4444");
	assert_next(&window, "1");
	assert_next(&window, "22");
	window_drop_rest(&window);
	ck_assert_uint_eq(window.taken, 2);
	ck_assert_uint_eq(buf_bytes(&window.bytes), 3);
	window_drop_rest(&window);
	ck_assert_uint_eq(window.taken, 2);
	add(&window, "c");
	assert_next(&window, "c");
	assert_next(&window, NULL);
	window_end(&window, 3);
	ck_assert_uint_eq(window.ended, 3);
	add(&window, "d");
	window_drop_rest(&window);
	ck_assert(window_is_empty(&window));
	ck_assert_uint_eq(buf_bytes(&window.bytes), 0);
	window_fini(&window);
}
END_TEST

START_TEST(test_all_can_be_dropped)
{
	struct window window;

	window_init(&window, 0);
	ck_assert_uint_eq(window_drop_all(&window), 0);
	add(&window, "1");
	add(&window, "22");
	window_add_refused(&window);
	add(&window, "4444");
	add(&window, "5");
	for (size_t i = 0; i < 3; i++)
		assert_next(&window, (const char *[]){"1", "22", "4444"}[i]);
	window_end(&window, 1);
	/* The refused one is not among them. */
	ck_assert_uint_eq(window_drop_all(&window), 2);
	ck_assert(window_is_empty(&window));
	ck_assert_uint_eq(window.taken, 1);
	assert_next(&window, NULL);
	add(&window, "a");
	ck_assert_uint_eq(window_drop_all(&window), 0);
	add(&window, "b");
	assert_next(&window, "b");
	window_end(&window, 1);
	ck_assert_uint_eq(window.ended, 2);
	window_fini(&window);
}
END_TEST

/* Dropping what has not ended takes nothing from what has, neither before that
 * is given out again, nor in the middle of it. */
START_TEST(test_what_is_kept_is_not_dropped)
{
	struct window window;

	window_init(&window, 3);
	add(&window, "1");
	add(&window, "22");
	add(&window, "333");
	assert_next(&window, "1");
	assert_next(&window, "22");
	window_end(&window, 2);
	assert_next(&window, "333");
	ck_assert_uint_eq(window_drop_all(&window), 1);
	add(&window, "c");
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	assert_next(&window, "1");
	ck_assert_uint_eq(window_drop_all(&window), 0);
	assert_next(&window, "22");
	add(&window, "d");
	assert_next(&window, "d");
	window_drop_rest(&window);
	ck_assert_uint_eq(window.taken, 3);
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	add(&window, "e");
	assert_next(&window, "1");
	window_drop_rest(&window);
	ck_assert_uint_eq(window.taken, 2);
	assert_next(&window, "22");
	assert_next(&window, NULL);
	/* However often, and however much. */
	for (size_t i = 0; i < 100000; i++) {
		ck_assert(window_has_room(&window, 1));
		add(&window, "x");
		if (i % 7 == 0)
			window_drop_rest(&window);
		else if (!window_has_room(&window, 1))
			(void)window_drop_all(&window);
	}
	(void)window_drop_all(&window);
	ck_assert_uint_eq(window_rewind_kept(&window), 2);
	assert_next(&window, "1");
	assert_next(&window, "22");
	assert_next(&window, NULL);
	window_fini(&window);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("window");
	TCase *tests = tcase_create("window");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_events_come_out_in_order_and_once);
	tcase_add_test(tests, test_rewind_gives_again_what_has_not_ended);
	tcase_add_test(tests, test_refused_events_keep_the_count_exact);
	tcase_add_test(tests, test_events_are_counted_against_the_cap);
	tcase_add_test(tests, test_bytes_are_counted_against_the_cap);
	tcase_add_test(tests, test_many_events_have_fewer_bytes);
	tcase_add_test(tests, test_the_first_event_can_be_refused);
	tcase_add_test(tests, test_confirmed_events_are_kept);
	tcase_add_test(tests, test_refused_events_between_kept_ones);
	tcase_add_test(tests, test_next_tells_where_what_is_kept_ends);
	tcase_add_test(tests, test_kept_bytes_are_limited);
	tcase_add_test(tests, test_refused_bytes_are_not_kept);
	tcase_add_test(tests, test_the_rest_can_be_dropped);
	tcase_add_test(tests, test_all_can_be_dropped);
	tcase_add_test(tests, test_what_is_kept_is_not_dropped);
	return suite_run(suite);
}
