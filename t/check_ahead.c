/*
 * What the log does for speed, and what of that must not show: the last batches
 * are read from memory, the next segment is made meanwhile, and an event is
 * appended without a look at each limit.
 */
#include "stage/log.h"
#include "t/rewind.h"
#include "t/steps.h"
#include "t/suite.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

static void
append_batches(struct wal *wal, int batches, uint64_t events)
{
	for (int i = 0; i < batches; i++) {
		steps_append(wal, events);
		ck_assert_int_eq(wal_sync(wal), 0);
	}
}

/* Damages each page of the last segment behind its header. */
static void
damage_all(const struct wal *wal)
{
	char name[SEGMENT_NAME_BYTES];
	uint64_t end = catalog_last(&wal->catalog)->end_offset;
	int fd = steps_open_last(wal, name);

	for (uint64_t at = LAYOUT_DATA_OFFSET; at < end; at += 8)
		steps_flip(fd, at);
	(void)close(fd);
}

START_TEST(test_the_last_batches_come_from_memory)
{
	struct reader reader = {0}, other = {0};
	struct wal_limits large = steps_limits;
	uint64_t damaged;
	struct wal wal;

	large.segment_bytes = 1 << 20;
	steps_open(&wal, &large);
	append_batches(&wal, RECENT_BATCHES, 5);
	damage_all(&wal);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	ck_assert_uint_eq(steps_read_to(&reader, wal_ready_seq(&wal), &damaged),
	    (uint64_t)RECENT_BATCHES * 5);
	ck_assert_uint_eq(damaged, 0);
	/* The negative control: so it is in the file. */
	reader_init(&other, &wal.catalog, 1);
	other.is_looking = true;
	ck_assert_uint_eq(
	    steps_read_to(&other, wal_ready_seq(&wal), &damaged), 0);
	ck_assert_uint_eq(damaged, (uint64_t)RECENT_BATCHES * 5);
	reader_fini(&reader);
	reader_fini(&other);
	wal_abandon(&wal);
}
END_TEST

START_TEST(test_a_batch_that_made_way_is_read_from_the_file)
{
	struct reader reader = {0};
	struct wal_limits large = steps_limits;
	uint64_t damaged;
	struct wal wal;

	large.segment_bytes = 1 << 20;
	steps_open(&wal, &large);
	append_batches(&wal, 3 * RECENT_BATCHES, 7);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	ck_assert_uint_eq(steps_read_to(&reader, wal_ready_seq(&wal), &damaged),
	    (uint64_t)3 * RECENT_BATCHES * 7);
	ck_assert_uint_eq(damaged, 0);
	reader_fini(&reader);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* It stands in the middle of one when that memory gets another's bytes. */
START_TEST(test_a_reader_is_not_given_what_took_the_memory)
{
	struct reader_event event;
	struct reader reader = {0};
	struct wal_limits large = steps_limits;
	uint64_t damaged;
	struct wal wal;

	large.segment_bytes = 1 << 20;
	steps_open(&wal, &large);
	append_batches(&wal, 1, 50);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(
		    reader_next(&reader, 50, &event), READER_EVENT);
	ck_assert(reader.is_recent);
	append_batches(&wal, 2 * RECENT_BATCHES, 60);
	ck_assert_uint_eq(steps_read_to(&reader, wal_ready_seq(&wal), &damaged),
	    (uint64_t)30 + 2 * RECENT_BATCHES * 60);
	ck_assert_uint_eq(damaged, 0);
	reader_fini(&reader);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* Else what is in memory would come before what a later start finds. */
START_TEST(test_behind_damage_nothing_comes_from_memory)
{
	struct reader reader = {0};
	struct wal_limits large = steps_limits;
	char name[SEGMENT_NAME_BYTES];
	uint64_t damaged, at;
	struct wal wal;
	int fd;

	large.segment_bytes = 4 << 20;
	steps_open(&wal, &large);
	append_batches(&wal, 1, 5);
	at = catalog_last(&wal.catalog)->end_offset;
	append_batches(&wal, 2 * RECENT_BATCHES, 5);
	fd = steps_open_last(&wal, name);
	while (at > LAYOUT_DATA_OFFSET)
		steps_flip(fd, at -= 8);
	ck_assert_int_eq(rewind_reader(&wal, &reader), 0);
	ck_assert_uint_eq(steps_read_to(&reader, wal_ready_seq(&wal), &damaged),
	    2 * RECENT_BATCHES * 5);
	ck_assert_uint_eq(damaged, 5);
	ck_assert_uint_gt(steps_quarantined(), 0);
	/* These are in memory, and were not read ahead. */
	at = catalog_last(&wal.catalog)->end_offset;
	append_batches(&wal, RECENT_BATCHES, 5);
	for (; at < catalog_last(&wal.catalog)->end_offset; at += 8)
		steps_flip(fd, at);
	(void)close(fd);
	ck_assert_uint_eq(
	    steps_read_to(&reader, wal_ready_seq(&wal), &damaged), 0);
	ck_assert_uint_eq(damaged, RECENT_BATCHES * 5);
	reader_fini(&reader);
	wal_abandon(&wal);
}
END_TEST

/* Returns the number of the file that is open. */
static ino_t
inode_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_ino;
}

/* Appends until the last segment is another one. */
static void
append_to_roll(struct wal *wal)
{
	size_t segments = wal->catalog.count;

	while (wal->catalog.count == segments)
		append_batches(wal, 1, 100);
}

START_TEST(test_the_next_segment_is_made_meanwhile)
{
	struct wal_limits large = steps_limits;
	struct wal wal;
	struct stat st;

	large.segment_bytes = SPARE_SMALL_BYTES + (1 << 20);
	steps_open(&wal, &large);
	append_batches(&wal, 1, 100);
	for (int rolls = 0; rolls < 3; rolls++) {
		const struct segment *last = catalog_last(&wal.catalog);
		ino_t inode;

		/* Not before more than half of one is used. */
		while (spare_bytes(&wal.spare) == 0) {
			append_batches(&wal, 1, 100);
			ck_assert_int_eq(wal_prepare_ahead(&wal), 0);
			if (last->end_offset < last->bytes / 2)
				ck_assert_uint_eq(spare_bytes(&wal.spare), 0);
		}
		/* Asked again, it takes it, and no other is made. */
		while (wal.spare.worker.is_busy)
			ck_assert_int_eq(wal_prepare_ahead(&wal), 0);
		ck_assert_uint_eq(wal.spare.bytes, large.segment_bytes);
		inode = inode_of(wal.spare.fd);
		append_to_roll(&wal);
		last = catalog_last(&wal.catalog);
		ck_assert_uint_eq(inode_of(last->fd), inode);
		ck_assert_uint_eq(last->bytes, large.segment_bytes);
		ck_assert_uint_eq(spare_bytes(&wal.spare), 0);
	}
	ck_assert_int_eq(wal_close(&wal), 0);
	ck_assert_int_eq(fstatat(steps_dir.fd, SEGMENT_SPARE, &st, 0), -1);
}
END_TEST

/* Who needs one, or stops, does not wait until all of it is made. */
START_TEST(test_one_that_is_being_made_is_cut_short)
{
	struct wal_limits large = steps_limits;
	struct wal wal;
	struct stat st;

	large.segment_bytes = 1 << 30;
	steps_open(&wal, &large);
	append_batches(&wal, 1, 100);
	while (catalog_last(&wal.catalog)->end_offset <
	       SPARE_SMALL_BYTES - (1 << 18))
		append_batches(&wal, 1, 100);
	ck_assert_int_eq(spare_begin(&wal.spare, large.segment_bytes), 0);
	append_to_roll(&wal);
	ck_assert_uint_lt(
	    catalog_last(&wal.catalog)->bytes, large.segment_bytes);
	ck_assert_uint_ge(catalog_last(&wal.catalog)->bytes, SPARE_SMALL_BYTES);
	ck_assert_int_eq(spare_begin(&wal.spare, large.segment_bytes), 0);
	ck_assert_int_eq(wal_close(&wal), 0);
	ck_assert_int_eq(fstatat(steps_dir.fd, SEGMENT_SPARE, &st, 0), -1);
	steps_open(&wal, &large);
	ck_assert_uint_gt(wal_elements(&wal), 100);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* How the next writes fail: those past the page cache, or all. */
static atomic_int direct_error, any_error;

ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t offset);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset);

ssize_t
__wrap_pwrite(int fd, const void *data, size_t bytes, off_t offset)
{
	bool is_direct = (fcntl(fd, F_GETFL) & O_DIRECT) != 0;
	int error = is_direct ? atomic_load(&direct_error) : 0;

	if (error == 0)
		error = atomic_load(&any_error);
	if (error == 0)
		return __real_pwrite(fd, data, bytes, offset);
	errno = error;
	return -1;
}

/* Where that cannot be done the zeros go the usual way. */
START_TEST(test_a_file_system_that_wants_no_direct_writes)
{
	static const int errors[] = {EINVAL, EOPNOTSUPP, EIO};
	struct spare spare;

	atomic_store(&direct_error, errors[_i]);
	spare_init(&spare, steps_dir.fd);
	ck_assert_int_eq(spare_begin(&spare, 3 << 20), 0);
	while (spare.worker.is_busy)
		ck_assert_int_ne(spare_end(&spare, false), -1);
	ck_assert_uint_eq(spare_bytes(&spare), 3 << 20);
	spare_drop(&spare);
	spare_fini(&spare);
}
END_TEST

/* Begins one in vain, and waits until the log knows. */
static int
prepare_in_vain(struct wal *wal, int error)
{
	int result;

	atomic_store(&any_error, error);
	do
		result = wal_prepare_ahead(wal);
	while (result == 0 && wal->spare.worker.is_busy);
	atomic_store(&any_error, 0);
	return result;
}

START_TEST(test_a_full_disk_is_found_out_meanwhile)
{
	struct wal_limits large = steps_limits;
	struct wal wal;
	struct stat st;

	large.segment_bytes = SPARE_SMALL_BYTES + (1 << 20);
	steps_open(&wal, &large);
	append_batches(&wal, 1, 100);
	while (
	    catalog_last(&wal.catalog)->end_offset < SPARE_SMALL_BYTES / 8 * 6)
		append_batches(&wal, 1, 100);
	ck_assert_int_eq(prepare_in_vain(&wal, ENOSPC), 0);
	ck_assert(wal.has_no_room);
	ck_assert_uint_eq(spare_bytes(&wal.spare), 0);
	ck_assert_int_eq(fstatat(steps_dir.fd, SEGMENT_SPARE, &st, 0), -1);
	/* Not tried again before one is needed: that finds room. */
	ck_assert_int_eq(wal_prepare_ahead(&wal), 0);
	ck_assert_uint_eq(spare_bytes(&wal.spare), 0);
	append_to_roll(&wal);
	ck_assert(!wal.has_no_room);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_a_disk_that_fails_meanwhile_is_not_passed_over)
{
	struct wal_limits large = steps_limits;
	struct wal wal;

	large.segment_bytes = SPARE_SMALL_BYTES + (1 << 20);
	steps_open(&wal, &large);
	append_batches(&wal, 1, 100);
	atomic_store(&any_error, EIO);
	ck_assert_int_eq(spare_begin(&wal.spare, large.segment_bytes), 0);
	if (_i == 0) {
		ck_assert_int_eq(prepare_in_vain(&wal, EIO), -1);
		ck_assert_int_eq(errno, EIO);
		wal_abandon(&wal);
	} else {
		struct pollfd done = {
		    .fd = worker_poll_fd(&wal.spare.worker),
		    .events = POLLIN,
		};

		/* Nothing else fails: only what the worker knows is left. */
		ck_assert_int_eq(poll(&done, 1, -1), 1);
		atomic_store(&any_error, 0);
		ck_assert_int_eq(wal_close(&wal), -1);
		ck_assert_int_eq(errno, EIO);
	}
	atomic_store(&any_error, 0);
	steps_open(&wal, &large);
	ck_assert_uint_eq(wal_elements(&wal), 100);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* With batches that fill pages, and ones that do not, in a file past whose
 * pages the zeros went. */
START_TEST(test_batches_of_any_size_in_zeros_past_the_page_cache)
{
	struct wal_limits large = steps_limits;
	struct reader reader = {0};
	uint64_t damaged, n = 0;
	struct wal wal;

	large.segment_bytes = 3 << 20;
	steps_open(&wal, &large);
	for (int round = 0; round < 60; round++) {
		uint64_t events =
		    round % 3 == 0 ? 1 : 400 * (uint64_t)(round % 7);

		ck_assert_int_eq(spare_end(&wal.spare, true), 1);
		if (spare_bytes(&wal.spare) == 0)
			ck_assert_int_eq(
			    spare_begin(&wal.spare, large.segment_bytes), 0);
		append_batches(&wal, 1, events);
		n += events;
	}
	ck_assert_uint_gt(wal.catalog.count, 1);
	reader_init(&reader, &wal.catalog, 1);
	ck_assert_uint_eq(
	    steps_read_to(&reader, wal_ready_seq(&wal), &damaged), n);
	ck_assert_uint_eq(damaged, 0);
	reader_fini(&reader);
	/* As after a crash, too. */
	wal_abandon(&wal);
	steps_open(&wal, &large);
	ck_assert_uint_eq(wal_elements(&wal), n);
	(void)steps_read(&wal, &damaged);
	ck_assert_uint_eq(damaged, n);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_a_quick_append_knows_the_limits)
{
	struct wal_limits small = steps_limits;
	struct wal wal;
	char event[LOG_EVENT_ROOM];
	uint64_t quick = 0;

	small.max_elements = 300;
	small.max_bytes = 40000;
	steps_open(&wal, &small);
	for (int round = 0; round < 50; round++) {
		for (;;) {
			size_t bytes = steps_event(wal.next_seq, event);
			enum wal_room room = wal_room(&wal, bytes);

			if (wal_append_quickly(
				&wal, (const uint8_t *)event, bytes)) {
				ck_assert_int_eq(room, WAL_ROOM);
				quick++;
			} else if (room == WAL_ROOM) {
				ck_assert_int_eq(
				    wal_append(
					&wal, (const uint8_t *)event, bytes),
				    0);
			} else {
				break;
			}
			ck_assert_uint_le(wal_bytes(&wal), small.max_bytes);
			ck_assert_uint_le(
			    wal_elements(&wal), small.max_elements);
		}
		ck_assert_int_eq(wal_sync(&wal), 0);
		steps_end(&wal, 20);
	}
	ck_assert_uint_gt(quick, 500);
	/* The highest number is one too. */
	ck_assert_int_eq(wal_append(&wal, (const uint8_t *)"1", 1), 0);
	ck_assert(wal_append_quickly(&wal, (const uint8_t *)"1", 1));
	wal.cursor.slot.acked_seq = LAYOUT_SEQ_MAX - 2;
	wal.next_seq = LAYOUT_SEQ_MAX;
	ck_assert(wal_append_quickly(&wal, (const uint8_t *)"1", 1));
	ck_assert_uint_eq(wal.next_seq, LAYOUT_SEQ_MAX + 1);
	ck_assert(!wal_append_quickly(&wal, (const uint8_t *)"1", 1));
	wal_abandon(&wal);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ahead");
	TCase *tcase = tcase_create("ahead");

	log_init("check_ahead", LOG_ERROR);
	tcase_add_unchecked_fixture(tcase, steps_init, steps_fini);
	tcase_add_checked_fixture(tcase, steps_begin, NULL);
	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, test_the_last_batches_come_from_memory);
	tcase_add_test(tcase, test_a_batch_that_made_way_is_read_from_the_file);
	tcase_add_test(tcase, test_a_reader_is_not_given_what_took_the_memory);
	tcase_add_test(tcase, test_behind_damage_nothing_comes_from_memory);
	tcase_add_test(tcase, test_the_next_segment_is_made_meanwhile);
	tcase_add_test(tcase, test_one_that_is_being_made_is_cut_short);
	tcase_add_loop_test(
	    tcase, test_a_file_system_that_wants_no_direct_writes, 0, 3);
	tcase_add_test(tcase, test_a_full_disk_is_found_out_meanwhile);
	tcase_add_loop_test(
	    tcase, test_a_disk_that_fails_meanwhile_is_not_passed_over, 0, 2);
	tcase_add_test(
	    tcase, test_batches_of_any_size_in_zeros_past_the_page_cache);
	tcase_add_test(tcase, test_a_quick_append_knows_the_limits);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
