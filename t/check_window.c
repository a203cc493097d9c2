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

	window_init(&window);
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

	window_init(&window);
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

	window_init(&window);
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

	window_init(&window);
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
	window_init(&window);
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
	return suite_run(suite);
}
