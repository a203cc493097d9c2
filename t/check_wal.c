/*
 * The log from start to start: order, numbers, what comes back after a crash or
 * a clean end, limits, versions. What a failed sync or damage leaves is in
 * check_recover.c.
 */
#include "stage/bytes.h"
#include "stage/log.h"
#include "t/rewind.h"
#include "t/steps.h"
#include "t/suite.h"

#include <xxhash.h>

#include <fcntl.h>
#include <unistd.h>

START_TEST(test_nothing_is_read_before_its_sync)
{
	struct wal wal;
	uint64_t n;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 3);
	(void)steps_read(&wal, &n);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_uint_eq(steps_read(&wal, &n), 1);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_all_comes_back_after_a_clean_close)
{
	struct wal wal;
	uint64_t n;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 500);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_uint_gt(wal.catalog.count, 3);
	steps_end(&wal, 120);
	ck_assert_int_eq(wal_close(&wal), 0);

	steps_open(&wal, &steps_limits);
	ck_assert(!wal.is_writable);
	ck_assert_uint_eq(wal_elements(&wal), 380);
	ck_assert_uint_eq(steps_read(&wal, &n), 121);
	ck_assert_uint_eq(n, 380);
	ck_assert_uint_eq(wal.next_seq, 501);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* Whatever was written by when: synced events are there after a crash, in
 * order, and numbering goes on behind them. */
START_TEST(test_all_synced_comes_back_after_each_of_many_crashes)
{
	struct wal wal;
	uint64_t n, synced = 0, ended = 0;

	for (uint64_t round = 0; round < 60; round++) {
		steps_open(&wal, &steps_limits);
		ck_assert_uint_ge(wal.next_seq, synced + 1);
		synced = wal.next_seq - 1;
		steps_append(&wal, round * 13 % 50);
		ck_assert_int_eq(wal_sync(&wal), 0);
		synced = wal.next_seq - 1;
		if (round % 3 == 0)
			ck_assert_int_eq(wal_mark(&wal), 0);
		if (synced - ended > 40) {
			steps_end(&wal, 30);
			ended += 30;
		}
		if (round % 4 == 0)
			steps_append(&wal, 2);
		wal_abandon(&wal);
	}
	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(wal_acked_seq(&wal), ended);
	ck_assert_uint_eq(steps_read(&wal, &n), ended + 1);
	ck_assert_uint_eq(ended + n, wal.next_seq - 1);
	ck_assert_uint_ge(wal.next_seq, synced + 1);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_ended_segments_are_unlinked_and_numbers_go_on)
{
	struct wal wal;
	uint64_t n;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 500);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_end(&wal, 500);
	ck_assert_uint_eq(wal.catalog.count, 1);
	ck_assert_uint_eq(wal_bytes(&wal), 0);
	ck_assert_int_eq(wal_close(&wal), 0);
	/* cursor, one segment */
	ck_assert_uint_eq(log_dir_count(&steps_dir, "."), 2);
	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(wal.next_seq, 501);
	steps_append(&wal, 1);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_uint_eq(steps_read(&wal, &n), 501);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_numbers_go_on_when_only_the_cursor_is_left)
{
	struct wal wal;
	char name[SEGMENT_NAME_BYTES];

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_end(&wal, 10);
	(void)close(steps_open_last(&wal, name));
	ck_assert_int_eq(wal_close(&wal), 0);
	ck_assert_int_eq(unlinkat(steps_dir.fd, name, 0), 0);
	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(wal.next_seq, 11);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_a_lost_cursor_costs_duplicates_only)
{
	struct wal wal;
	uint64_t n;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 30);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_end(&wal, 20);
	ck_assert_int_eq(wal_close(&wal), 0);
	ck_assert_int_eq(unlinkat(steps_dir.fd, "cursor", 0), 0);
	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(steps_read(&wal, &n), 1);
	ck_assert_uint_eq(n, 30);
	ck_assert_uint_eq(wal.next_seq, 31);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_max_elements_is_exact)
{
	struct wal_limits few = steps_limits;
	struct wal wal;

	few.max_elements = 7;
	steps_open(&wal, &few);
	steps_append(&wal, 7);
	ck_assert_int_eq(wal_room(&wal, 10), WAL_FULL);
	ck_assert(!wal_is_relieved(&wal));
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_end(&wal, 1);
	ck_assert_int_eq(wal_room(&wal, 10), WAL_ROOM);
	ck_assert(wal_is_relieved(&wal));
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* The bytes on disk stay below the limit and two segments. */
START_TEST(test_max_bytes_is_hard)
{
	struct wal_limits small = steps_limits;
	struct wal wal;
	char event[512];

	small.max_bytes = 50000;
	steps_open(&wal, &small);
	for (int round = 0; round < 40; round++) {
		for (;;) {
			size_t bytes = steps_event(wal.next_seq, event);

			if (wal_room(&wal, bytes) != WAL_ROOM)
				break;
			ck_assert_int_eq(
			    wal_append(&wal, (const uint8_t *)event, bytes), 0);
			ck_assert_int_eq(wal_sync(&wal), 0);
			ck_assert_int_eq(wal_mark(&wal), 0);
			ck_assert_int_eq(wal_prepare(&wal), 0);
			ck_assert_uint_le(wal_bytes(&wal), small.max_bytes);
			ck_assert_uint_le(catalog_bytes(&wal.catalog) +
					      spare_bytes(&wal.spare),
			    small.max_bytes + 2 * small.segment_bytes);
		}
		ck_assert_uint_gt(wal_bytes(&wal),
		    small.max_bytes - LAYOUT_DATA_OFFSET - 2048);
		steps_end(&wal, 25);
	}
	ck_assert_int_eq(wal_room(&wal, 50000), WAL_NEVER_FITS);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_an_event_larger_than_a_segment_has_its_own)
{
	struct wal wal;
	struct reader reader = {0};
	struct reader_event event;
	size_t bytes = 3 << 20;
	uint8_t *big = malloc(bytes);

	memset(big, 'x', bytes);
	steps_open(&wal, &steps_limits);
	steps_append(&wal, 1);
	ck_assert_int_eq(wal_append(&wal, big, bytes), 0);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_append(&wal, 1);
	ck_assert_int_eq(wal_sync(&wal), 0);
	wal_abandon(&wal);
	steps_open(&wal, &steps_limits);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_EVENT);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_EVENT);
	ck_assert_uint_eq(event.bytes, bytes);
	ck_assert_mem_eq(event.event, big, bytes);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_EVENT);
	reader_fini(&reader);
	free(big);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_a_newer_format_is_refused_untouched)
{
	struct wal wal;
	char name[SEGMENT_NAME_BYTES];
	struct layout_segment header = {.first_seq = 1};
	uint8_t raw[LAYOUT_SEGMENT_BYTES];
	int fd;

	segment_name(name, 1);
	fd = openat(steps_dir.fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	layout_put_segment(raw, &header);
	raw[9] = LAYOUT_MAJOR + 1;
	put_be64(raw + 56, XXH3_64bits(raw, 56));
	ck_assert_int_eq(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw));
	(void)close(fd);
	ck_assert_int_eq(
	    wal_open(&wal, steps_dir.fd, &steps_limits), WAL_NEWER);
	ck_assert_int_eq(faccessat(steps_dir.fd, name, R_OK, 0), 0);
	ck_assert_uint_eq(steps_quarantined(), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wal");
	TCase *tcase = tcase_create("wal");

	log_init("check_wal", LOG_ERROR);
	tcase_add_unchecked_fixture(tcase, steps_init, steps_fini);
	tcase_add_checked_fixture(tcase, steps_begin, NULL);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_nothing_is_read_before_its_sync);
	tcase_add_test(tcase, test_all_comes_back_after_a_clean_close);
	tcase_add_test(
	    tcase, test_all_synced_comes_back_after_each_of_many_crashes);
	tcase_add_test(
	    tcase, test_ended_segments_are_unlinked_and_numbers_go_on);
	tcase_add_test(tcase, test_numbers_go_on_when_only_the_cursor_is_left);
	tcase_add_test(tcase, test_a_lost_cursor_costs_duplicates_only);
	tcase_add_test(tcase, test_max_elements_is_exact);
	tcase_add_test(tcase, test_max_bytes_is_hard);
	tcase_add_test(tcase, test_an_event_larger_than_a_segment_has_its_own);
	tcase_add_test(tcase, test_a_newer_format_is_refused_untouched);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
