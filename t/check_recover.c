/*
 * What a start makes of the end of the log: torn tails, syncs that failed,
 * bytes that are damaged near it, and which of these is taken for which. Damage
 * anywhere is in check_damage.c.
 */
#include "stage/log.h"
#include "t/rewind.h"
#include "t/steps.h"
#include "t/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

/* The n-th fdatasync from now on fails; 0: none does. */
static int fail_sync_in;

int __real_fdatasync(int fd);
int __wrap_fdatasync(int fd);

int
__wrap_fdatasync(int fd)
{
	if (fail_sync_in > 0 && --fail_sync_in == 0) {
		errno = EIO;
		return -1;
	}
	return __real_fdatasync(fd);
}

/* A cut at any byte of what was never synced loses none of what was. */
START_TEST(test_a_torn_tail_is_cut_at_every_byte)
{
	struct wal wal;
	uint64_t durable_end, whole_end, n;
	char name[SEGMENT_NAME_BYTES];

	for (uint64_t cut = 0;; cut++) {
		int fd;

		steps_open(&wal, &steps_limits);
		steps_append(&wal, 5);
		ck_assert_int_eq(wal_sync(&wal), 0);
		ck_assert_int_eq(wal_mark(&wal), 0);
		durable_end = catalog_last(&wal.catalog)->end_offset;
		steps_append(&wal, 3);
		/* The write happens, the power goes before the sync. */
		fail_sync_in = 1;
		ck_assert_int_eq(wal_sync(&wal), -1);
		whole_end = catalog_last(&wal.catalog)->end_offset;
		fd = steps_open_last(&wal, name);
		wal_abandon(&wal);
		if (durable_end + cut > whole_end) {
			(void)close(fd);
			break;
		}
		ck_assert_int_eq(ftruncate(fd, (off_t)(durable_end + cut)), 0);
		(void)close(fd);

		steps_open(&wal, &steps_limits);
		ck_assert_uint_eq(steps_read(&wal, &n), 1);
		ck_assert_uint_ge(n, 5);
		ck_assert_uint_eq(n, wal.next_seq - 1);
		ck_assert_uint_eq(steps_quarantined(), 0);
		steps_append(&wal, 2);
		ck_assert_int_eq(wal_sync(&wal), 0);
		(void)steps_read(&wal, &n);
		ck_assert_uint_eq(n, wal.next_seq - 1);
		wal_abandon(&wal);
		steps_begin();
	}
	ck_assert_uint_gt(whole_end, durable_end);
}
END_TEST

/* The other way round: damage to what was proven is told, not cut. */
START_TEST(test_a_flipped_byte_in_a_proven_event_costs_that_event)
{
	struct wal wal;
	struct reader reader = {0};
	struct reader_event event;
	char name[SEGMENT_NAME_BYTES];
	uint64_t good = 0;
	int fd;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_int_eq(wal_mark(&wal), 0);
	fd = steps_open_last(&wal, name);
	steps_flip(fd,
	    LAYOUT_DATA_OFFSET + LAYOUT_BATCH_BYTES + LAYOUT_RECORD_BYTES + 3);
	(void)close(fd);
	wal_abandon(&wal);

	steps_open(&wal, &steps_limits);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_DAMAGE);
	ck_assert_uint_eq(event.seq, 1);
	ck_assert_uint_eq(event.count, 1);
	while (reader_next(&reader, wal.durable_seq, &event) == READER_EVENT)
		good++;
	ck_assert_uint_eq(good, 9);
	ck_assert_uint_eq(steps_quarantined(), 1);
	reader_fini(&reader);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* Whatever byte of a batch's records is hit, lengths and checksums too, that
 * event is lost and no other; `ended` of them were ended before. */
static void
flip_each_byte(uint64_t ended)
{
	uint64_t end_offset = LAYOUT_DATA_OFFSET + 1;

	for (uint64_t at = LAYOUT_DATA_OFFSET + LAYOUT_BATCH_BYTES;
	     at < end_offset; at++) {
		struct wal wal;
		struct reader reader = {0};
		struct reader_event event;
		char name[SEGMENT_NAME_BYTES];
		uint64_t good = 0, lost = 0;
		enum reader_status status;
		int fd;

		steps_open(&wal, &steps_limits);
		steps_append(&wal, 6);
		ck_assert_int_eq(wal_sync(&wal), 0);
		end_offset = catalog_last(&wal.catalog)->end_offset;
		ck_assert_int_eq(wal_mark(&wal), 0);
		if (ended > 0)
			steps_end(&wal, ended);
		fd = steps_open_last(&wal, name);
		steps_flip(fd, at);
		(void)close(fd);
		wal_abandon(&wal);

		steps_open(&wal, &steps_limits);
		ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
		while ((status = reader_next(
			    &reader, wal.durable_seq, &event)) != READER_NONE) {
			ck_assert_int_ne(status, READER_ERROR);
			good += status == READER_EVENT;
			lost += status == READER_DAMAGE ? event.count : 0;
		}
		ck_assert_uint_le(lost, 1);
		ck_assert_uint_eq(good + lost, 6 - ended);
		reader_fini(&reader);
		wal_abandon(&wal);
		steps_begin();
	}
}

START_TEST(test_a_flipped_byte_in_a_batch_costs_at_most_its_event)
{
	flip_each_byte(0);
}
END_TEST

START_TEST(test_a_flipped_byte_in_an_ended_event_costs_nothing_more)
{
	flip_each_byte(3);
}
END_TEST

START_TEST(test_a_damaged_batch_header_costs_its_batch_only)
{
	struct wal wal;
	struct reader reader = {0};
	struct reader_event event;
	char name[SEGMENT_NAME_BYTES];
	uint64_t second;
	int fd;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 4);
	ck_assert_int_eq(wal_sync(&wal), 0);
	second = catalog_last(&wal.catalog)->end_offset;
	steps_append(&wal, 3);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_append(&wal, 2);
	ck_assert_int_eq(wal_sync(&wal), 0);
	fd = steps_open_last(&wal, name);
	steps_flip(fd, second + 8);
	(void)close(fd);
	wal_abandon(&wal);

	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(wal.next_seq, 10);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(reader_next(&reader, wal.durable_seq, &event),
		    READER_EVENT);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_DAMAGE);
	ck_assert_uint_eq(event.seq, 5);
	ck_assert_uint_eq(event.count, 3);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(reader_next(&reader, wal.durable_seq, &event),
		    READER_EVENT);
	ck_assert_uint_eq(event.seq, 9);
	reader_fini(&reader);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* Flips a bit in the first batch's header, whose events are all ended, while
 * the cursor stands within the second batch. */
static void
damage_behind_the_cursor(bool is_marked)
{
	struct wal wal;
	char name[SEGMENT_NAME_BYTES];
	uint64_t n;
	int fd;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	if (is_marked)
		ck_assert_int_eq(wal_mark(&wal), 0);
	steps_end(&wal, 15);
	fd = steps_open_last(&wal, name);
	steps_flip(fd, LAYOUT_DATA_OFFSET + 8);
	(void)close(fd);
	wal_abandon(&wal);

	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(steps_read(&wal, &n), 16);
	ck_assert_uint_eq(n, 5);
	ck_assert_uint_eq(wal.next_seq, 21);
	ck_assert_uint_eq(steps_quarantined(), 0);
	ck_assert_int_eq(wal_close(&wal), 0);
}

START_TEST(test_damage_to_ended_events_costs_none_that_are_not)
{
	damage_behind_the_cursor(true);
}
END_TEST

/* The cursor says up to where syncs had returned. */
START_TEST(test_a_batch_that_the_cursor_proves_is_no_torn_tail)
{
	damage_behind_the_cursor(false);
}
END_TEST

START_TEST(test_a_lost_last_segment_is_counted_and_its_numbers_are_gone)
{
	static const uint8_t zeros[LAYOUT_DATA_OFFSET];
	struct wal wal;
	struct reader reader = {0};
	struct reader_event event;
	char name[SEGMENT_NAME_BYTES];
	uint64_t first, good = 0;
	int fd;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 150);
	ck_assert_int_eq(wal_sync(&wal), 0);
	first = catalog_last(&wal.catalog)->first_seq;
	ck_assert_uint_gt(first, 1);
	ck_assert_uint_lt(first, 150);
	fd = steps_open_last(&wal, name);
	ck_assert_int_eq(
	    pwrite(fd, zeros, sizeof(zeros), 0), (ssize_t)sizeof(zeros));
	(void)close(fd);
	wal_abandon(&wal);

	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(wal.next_seq, 151);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	while (reader_next(&reader, wal.durable_seq, &event) == READER_EVENT)
		good++;
	ck_assert_uint_eq(good, first - 1);
	ck_assert_uint_eq(event.seq, first);
	ck_assert_uint_eq(event.count, 151 - first);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_NONE);
	ck_assert_uint_eq(steps_quarantined(), 1);
	reader_fini(&reader);
	wal_end(&wal, good, event.end_offset, WAL_DELIVERED);
	wal_end(&wal, 151 - first, event.end_offset, WAL_QUARANTINED);
	steps_append(&wal, 1);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_int_eq(wal_close(&wal), 0);

	steps_open(&wal, &steps_limits);
	ck_assert_uint_eq(steps_read(&wal, &good), 151);
	ck_assert_uint_eq(good, 1);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* After a failed sync the same bytes are written anew before they count. */
START_TEST(test_an_unproven_tail_is_written_to_a_new_segment)
{
	struct wal wal;
	uint64_t n, before;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 5);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_append(&wal, 4);
	fail_sync_in = 1;
	ck_assert_int_eq(wal_sync(&wal), -1);
	before = wal.catalog.count;
	wal_abandon(&wal);

	steps_open(&wal, &steps_limits);
	/* The first five are proven by the batch behind them. */
	ck_assert_uint_eq(wal.catalog.count, before + 1);
	ck_assert_uint_eq(catalog_last(&wal.catalog)->first_seq, 6);
	ck_assert_uint_eq(wal.durable_seq, 9);
	ck_assert_uint_eq(steps_read(&wal, &n), 1);
	ck_assert_uint_eq(n, 9);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* Where acks do not wait for the sync, the cursor can be ahead of what a power
 * cut left of the log. That is no damage, and numbers go on behind it. */
START_TEST(test_a_lazy_log_torn_behind_its_cursor_is_not_damaged)
{
	for (uint64_t cut = 0; cut < 700; cut += 7) {
		struct wal wal;
		char name[SEGMENT_NAME_BYTES];
		uint64_t n;
		int fd;

		steps_open(&wal, &steps_limits);
		wal.is_lazy = true;
		steps_append(&wal, 4);
		ck_assert_int_eq(wal_sync(&wal), 0);
		steps_append(&wal, 6);
		ck_assert_int_eq(wal_commit(&wal), 0);
		ck_assert_uint_eq(wal.durable_seq, 4);
		ck_assert_uint_eq(wal_ready_seq(&wal), 10);
		steps_append(&wal, 2);
		ck_assert_int_eq(wal_commit(&wal), 0);
		steps_end(&wal, 8);
		fd = steps_open_last(&wal, name);
		wal_abandon(&wal);
		ck_assert_int_eq(
		    ftruncate(fd, (off_t)(LAYOUT_DATA_OFFSET + 600 + cut)), 0);
		(void)close(fd);

		steps_open(&wal, &steps_limits);
		ck_assert_uint_eq(steps_quarantined(), 0);
		ck_assert_uint_ge(wal.next_seq, 9);
		ck_assert_uint_eq(wal_acked_seq(&wal), 8);
		(void)steps_read(&wal, &n);
		ck_assert_uint_eq(n, wal_elements(&wal));
		steps_append(&wal, 3);
		ck_assert_int_eq(wal_sync(&wal), 0);
		n = wal.next_seq;
		wal_abandon(&wal);
		steps_open(&wal, &steps_limits);
		ck_assert_uint_eq(wal.next_seq, n);
		(void)steps_read(&wal, &n);
		ck_assert_uint_eq(n, wal_elements(&wal));
		ck_assert_uint_eq(steps_quarantined(), 0);
		wal_abandon(&wal);
		steps_begin();
	}
}
END_TEST

/* What is being written goes to the one slot, what was synced stays in the
 * other, whatever becomes of the first. */
START_TEST(test_the_cursor_that_was_synced_is_never_written_over)
{
	struct wal wal;
	uint8_t file[LAYOUT_CURSOR_OFFSET + LAYOUT_CURSOR_BYTES];
	bool lost;

	steps_open(&wal, &steps_limits);
	steps_append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	steps_end(&wal, 3);
	ck_assert_int_eq(cursor_sync(&wal.cursor), 0);
	for (uint64_t round = 0; round < 5; round++) {
		struct cursor cursor;
		unsigned int place;
		int fd;

		steps_end(&wal, 1);
		place = wal.cursor.place;
		ck_assert(!wal.cursor.is_synced);
		ck_assert_int_eq(pread(wal.cursor.fd, file, sizeof(file), 0),
		    (ssize_t)sizeof(file));
		/* A power cut garbles what was not synced. */
		fd = openat(steps_dir.fd, "cursor", O_RDWR | O_CLOEXEC);
		steps_flip(fd, place * LAYOUT_CURSOR_OFFSET + 40);
		ck_assert_int_eq(
		    cursor_open(&cursor, steps_dir.fd, CURSOR_NAME, &lost),
		    CURSOR_OK);
		ck_assert_uint_eq(cursor.slot.acked_seq, 3);
		cursor_close(&cursor);
		steps_flip(fd, place * LAYOUT_CURSOR_OFFSET + 40);
		(void)close(fd);
	}
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* A sync that fails while the tail is settled leaves the old file to count. */
START_TEST(test_settling_can_fail_at_any_sync)
{
	for (int nth = 1; nth < 12; nth++) {
		struct wal wal;
		uint64_t n;

		steps_open(&wal, &steps_limits);
		steps_append(&wal, 6);
		ck_assert_int_eq(wal_sync(&wal), 0);
		wal_abandon(&wal);
		fail_sync_in = nth;
		if (wal_open(&wal, steps_dir.fd, &steps_limits) == WAL_OPEN)
			wal_abandon(&wal);
		fail_sync_in = 0;
		steps_open(&wal, &steps_limits);
		ck_assert_uint_eq(steps_read(&wal, &n), 1);
		ck_assert_uint_eq(n, 6);
		ck_assert_int_eq(wal_close(&wal), 0);
		steps_begin();
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("recover");
	TCase *tcase = tcase_create("recover");

	log_init("check_recover", LOG_ERROR);
	tcase_add_unchecked_fixture(tcase, steps_init, steps_fini);
	tcase_add_checked_fixture(tcase, steps_begin, NULL);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_a_torn_tail_is_cut_at_every_byte);
	tcase_add_test(
	    tcase, test_a_flipped_byte_in_a_proven_event_costs_that_event);
	tcase_add_test(
	    tcase, test_a_flipped_byte_in_a_batch_costs_at_most_its_event);
	tcase_add_test(
	    tcase, test_a_flipped_byte_in_an_ended_event_costs_nothing_more);
	tcase_add_test(tcase, test_a_damaged_batch_header_costs_its_batch_only);
	tcase_add_test(
	    tcase, test_damage_to_ended_events_costs_none_that_are_not);
	tcase_add_test(
	    tcase, test_a_batch_that_the_cursor_proves_is_no_torn_tail);
	tcase_add_test(tcase,
	    test_a_lost_last_segment_is_counted_and_its_numbers_are_gone);
	tcase_add_test(
	    tcase, test_an_unproven_tail_is_written_to_a_new_segment);
	tcase_add_test(
	    tcase, test_a_lazy_log_torn_behind_its_cursor_is_not_damaged);
	tcase_add_test(
	    tcase, test_the_cursor_that_was_synced_is_never_written_over);
	tcase_add_test(tcase, test_settling_can_fail_at_any_sync);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
