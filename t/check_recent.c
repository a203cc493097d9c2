#include "t/suite.h"
#include "walproc/recent.h"

#include <check.h>
#include <string.h>

#define SALT UINT64_C(77)

static struct recent recent;
static struct buf batch;

static void
set_up(void)
{
	recent_init(&recent);
	buf_init(&batch, 4 * RECENT_BYTES);
}

static void
tear_down(void)
{
	recent_fini(&recent);
	buf_fini(&batch);
}

/* Takes a batch of `bytes` that are all `c`, of which `padding` were not
 * queued. */
static void
take(uint64_t salt, uint64_t offset, int c, size_t bytes, size_t padding)
{
	uint8_t *to = buf_reserve(&batch, bytes);

	ck_assert_ptr_nonnull(to);
	memset(to, c, bytes);
	buf_commit(&batch, bytes - padding);
	recent_take(&recent, &batch, bytes, salt, offset);
	ck_assert_uint_eq(buf_bytes(&batch), 0);
}

/* What is at `offset` begins with `bytes` that are all `c`, and no more. */
static void
assert_found(uint64_t salt, uint64_t offset, int c, size_t bytes)
{
	size_t n;
	const uint8_t *found = recent_find(&recent, salt, offset, &n);

	ck_assert_ptr_nonnull(found);
	ck_assert_uint_eq(n, bytes);
	while (n > 0 && found[n - 1] == c)
		n--;
	ck_assert_uint_eq(n, 0);
}

static void
assert_gone(uint64_t salt, uint64_t offset)
{
	size_t n;

	ck_assert_ptr_null(recent_find(&recent, salt, offset, &n));
}

START_TEST(test_nothing_is_there_at_first)
{
	assert_gone(0, 0);
	assert_gone(SALT, 4608);
}
END_TEST

START_TEST(test_a_batch_is_found_at_each_of_its_bytes)
{
	take(SALT, 4608, 'a', 16, 3);
	for (uint64_t i = 0; i < 16; i++)
		assert_found(SALT, 4608 + i, 'a', 16 - (size_t)i);
	assert_gone(SALT, 4607);
	assert_gone(SALT, 4624);
	assert_gone(SALT + 1, 4608);
}
END_TEST

START_TEST(test_the_oldest_makes_way)
{
	for (uint64_t i = 0; i < 3 * RECENT_BATCHES; i++) {
		ck_assert_uint_eq(recent.taken, i);
		take(SALT, 8 * i, 'a' + (int)i, 8, 0);
		for (uint64_t j = 0; j <= i; j++)
			if (i - j < RECENT_BATCHES)
				assert_found(SALT, 8 * j, 'a' + (int)j, 8);
			else
				assert_gone(SALT, 8 * j);
	}
}
END_TEST

/* Where another segment has bytes at the same offset. */
START_TEST(test_segments_are_told_apart)
{
	take(SALT, 4608, 'a', 8, 0);
	take(SALT + 1, 4608, 'b', 24, 0);
	assert_found(SALT, 4608, 'a', 8);
	assert_found(SALT + 1, 4616, 'b', 16);
	assert_gone(SALT, 4616);
}
END_TEST

START_TEST(test_a_long_batch_is_not_kept_and_costs_no_other)
{
	take(SALT, 0, 'a', 8, 0);
	take(SALT, 8, 'b', RECENT_BYTES + 8, 0);
	assert_found(SALT, 0, 'a', 8);
	assert_gone(SALT, 8);
	ck_assert_uint_eq(recent.taken, 1);
	take(SALT, 4 * RECENT_BYTES, 'c', RECENT_BYTES, 0);
	assert_found(SALT, 4 * RECENT_BYTES, 'c', RECENT_BYTES);
	/* Nor is its memory, by what comes next. */
	for (size_t i = 0; i < 2 * RECENT_BATCHES; i++) {
		take(SALT, 1 << 30, 'd', 3 * RECENT_BYTES, 0);
		take(SALT, (uint64_t)8 * i, 'e', 8, 0);
	}
	for (size_t i = 0; i < RECENT_BATCHES; i++)
		ck_assert_uint_lt(
		    recent.batches[i].bytes.room, 3 * RECENT_BYTES);
}
END_TEST

START_TEST(test_memory_goes_round)
{
	const uint8_t *seen[RECENT_BATCHES + 1];

	for (size_t i = 0; i < 10 * (RECENT_BATCHES + 1); i++) {
		const uint8_t *memory = buf_reserve(&batch, 4000);
		size_t place = i % (RECENT_BATCHES + 1);

		if (i > RECENT_BATCHES)
			ck_assert_ptr_eq(memory, seen[place]);
		seen[place] = memory;
		take(SALT, 4000 * i, 'x', 4000, 0);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("recent");
	TCase *tcase = tcase_create("recent");

	tcase_add_checked_fixture(tcase, set_up, tear_down);
	tcase_add_test(tcase, test_nothing_is_there_at_first);
	tcase_add_test(tcase, test_a_batch_is_found_at_each_of_its_bytes);
	tcase_add_test(tcase, test_the_oldest_makes_way);
	tcase_add_test(tcase, test_segments_are_told_apart);
	tcase_add_test(tcase, test_a_long_batch_is_not_kept_and_costs_no_other);
	tcase_add_test(tcase, test_memory_goes_round);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
