#include "stage/buf.h"
#include "t/suite.h"

#include <check.h>
#include <string.h>

#define MAX_BYTES 10000

static struct buf buf;

static void
set_up(void)
{
	buf_init(&buf, MAX_BYTES);
}

static void
tear_down(void)
{
	buf_fini(&buf);
}

START_TEST(test_new_queue_is_empty)
{
	ck_assert_uint_eq(buf_bytes(&buf), 0);
	ck_assert_uint_eq(buf_left(&buf), MAX_BYTES);
	ck_assert_ptr_nonnull(buf_front(&buf));
}
END_TEST

START_TEST(test_bytes_leave_in_the_order_they_came)
{
	ck_assert_int_eq(buf_append(&buf, "abc", 3), 0);
	ck_assert_int_eq(buf_append(&buf, "", 0), 0);
	ck_assert_int_eq(buf_append(&buf, "def", 3), 0);
	buf_drop(&buf, 2);
	ck_assert_uint_eq(buf_bytes(&buf), 4);
	ck_assert_mem_eq(buf_front(&buf), "cdef", 4);
}
END_TEST

START_TEST(test_reserved_bytes_count_once_committed)
{
	uint8_t *to = buf_reserve(&buf, 100);

	memcpy(to, "xyz", 3);
	ck_assert_uint_eq(buf_bytes(&buf), 0);
	buf_commit(&buf, 3);
	ck_assert_uint_eq(buf_bytes(&buf), 3);
	ck_assert_mem_eq(buf_front(&buf), "xyz", 3);
}
END_TEST

START_TEST(test_cap_is_exact)
{
	static const uint8_t bytes[MAX_BYTES + 1] = {1};

	ck_assert_int_eq(buf_append(&buf, bytes, MAX_BYTES + 1), -1);
	ck_assert_uint_eq(buf_bytes(&buf), 0);
	ck_assert_int_eq(buf_append(&buf, bytes, MAX_BYTES), 0);
	ck_assert_uint_eq(buf_left(&buf), 0);
	ck_assert_int_eq(buf_append(&buf, bytes, 1), -1);
	ck_assert_ptr_null(buf_reserve(&buf, 1));
	ck_assert_ptr_null(buf_reserve(&buf, SIZE_MAX));
	ck_assert_ptr_nonnull(buf_reserve(&buf, 0));
	buf_drop(&buf, 1);
	ck_assert_int_eq(buf_append(&buf, bytes, 1), 0);
}
END_TEST

START_TEST(test_queue_without_room)
{
	struct buf none;

	buf_init(&none, 0);
	ck_assert_int_eq(buf_append(&none, "", 0), 0);
	ck_assert_int_eq(buf_append(&none, "a", 1), -1);
	buf_fini(&none);
}
END_TEST

/* Against a plain array, with sizes that meet every branch of buf_reserve. */
START_TEST(test_any_sequence_keeps_the_bytes)
{
	static uint8_t model[MAX_BYTES], piece[MAX_BYTES];
	size_t queued = 0;
	uint8_t next = 0;

	srand((unsigned)_i + 1);
	for (int step = 0; step < 20000; step++) {
		size_t n = (size_t)rand() % (rand() % 8 ? 300 : MAX_BYTES);
		int fits = n <= MAX_BYTES - queued ? 0 : -1;

		for (size_t i = 0; i < n; i++)
			piece[i] = next++;
		ck_assert_int_eq(buf_append(&buf, piece, n), fits);
		if (fits == 0) {
			memcpy(model + queued, piece, n);
			queued += n;
		}
		n = (size_t)rand() % (queued + 1) / (size_t)(rand() % 3 + 1);
		buf_drop(&buf, n);
		queued -= n;
		memmove(model, model + n, queued);
		ck_assert_uint_eq(buf_bytes(&buf), queued);
		ck_assert_int_eq(memcmp(buf_front(&buf), model, queued), 0);
	}
	ck_assert_uint_le(buf.room, (size_t)4 * MAX_BYTES);
}
END_TEST

/* A queue that stays nearly full is not moved for every few bytes, and its
 * memory does not grow with what passes through. */
START_TEST(test_memory_is_bounded_and_kept)
{
	static const uint8_t bytes[MAX_BYTES] = {1};
	const uint8_t *data;

	ck_assert_int_eq(buf_append(&buf, bytes, MAX_BYTES - 10), 0);
	for (int i = 0; i < 100000; i++) {
		ck_assert_int_eq(buf_append(&buf, bytes, 10), 0);
		buf_drop(&buf, 10);
	}
	ck_assert_uint_le(buf.room, (size_t)4 * MAX_BYTES);
	data = buf.data;
	buf_drop(&buf, buf_bytes(&buf));
	ck_assert_int_eq(buf_append(&buf, bytes, MAX_BYTES), 0);
	ck_assert_ptr_eq(buf.data, data);
}
END_TEST

START_TEST(test_queue_can_be_used_after_fini)
{
	ck_assert_int_eq(buf_append(&buf, "abc", 3), 0);
	buf_fini(&buf);
	ck_assert_uint_eq(buf_bytes(&buf), 0);
	ck_assert_int_eq(buf_append(&buf, "d", 1), 0);
	ck_assert_mem_eq(buf_front(&buf), "d", 1);
}
END_TEST

START_TEST(test_bytes_are_cut_out)
{
	static const struct {
		size_t at, bytes;
		const char *rest;
	} table[] = {
	    {0, 0, "abcdef"},
	    {0, 2, "cdef"},
	    {2, 3, "abf"},
	    {4, 2, "abcd"},
	    {6, 0, "abcdef"},
	    {0, 6, ""},
	};

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		size_t n = strlen(table[i].rest);

		buf_drop(&buf, buf_bytes(&buf));
		ck_assert_int_eq(buf_append(&buf, "abcdef", 6), 0);
		buf_cut(&buf, table[i].at, table[i].bytes);
		ck_assert_uint_eq(buf_bytes(&buf), n);
		ck_assert_mem_eq(buf_front(&buf), table[i].rest, n);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("buf");
	TCase *tests = tcase_create("buf");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_new_queue_is_empty);
	tcase_add_test(tests, test_bytes_leave_in_the_order_they_came);
	tcase_add_test(tests, test_reserved_bytes_count_once_committed);
	tcase_add_test(tests, test_cap_is_exact);
	tcase_add_test(tests, test_queue_without_room);
	tcase_add_loop_test(tests, test_any_sequence_keeps_the_bytes, 0, 4);
	tcase_add_test(tests, test_memory_is_bounded_and_kept);
	tcase_add_test(tests, test_queue_can_be_used_after_fini);
	tcase_add_test(tests, test_bytes_are_cut_out);
	return suite_run(suite);
}
