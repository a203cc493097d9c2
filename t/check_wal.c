/*
 * The log on a real file system: order, limits, restarts, torn tails, damage.
 * A crash is played by dropping the struct without wal_close, which is what
 * kill -9 leaves: all that was written, nothing that was only in memory.
 */
#include "walproc/wal.h"

#include "stage/bytes.h"
#include "stage/log.h"
#include "t/suite.h"

#include <check.h>
#include <xxhash.h>

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char dir_path[64];
static int dir_fd = -1;
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

static const struct wal_limits limits = {
    .max_elements = 1000000,
    .max_bytes = 1 << 30,
    .segment_bytes = 12288,
};

static void
setup(void)
{
	(void)snprintf(dir_path, sizeof(dir_path), "/tmp/check_wal.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(dir_path));
	dir_fd = open(dir_path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ne(dir_fd, -1);
	fail_sync_in = 0;
}

static void
remove_files(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	char name[512];

	if (dir == NULL)
		return;
	while ((entry = readdir(dir)) != NULL) {
		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(
		    name, sizeof(name), "%s/%s", path, entry->d_name);
		if (unlink(name) == -1)
			remove_files(name);
	}
	(void)closedir(dir);
	(void)rmdir(path);
}

static void
teardown(void)
{
	(void)close(dir_fd);
	remove_files(dir_path);
}

static void
open_log(struct wal *wal, const struct wal_limits *with)
{
	ck_assert_int_eq(wal_open(wal, dir_fd, with), WAL_OPEN);
}

/* What kill -9 does to the process: descriptors and memory are gone. */
static void
crash(struct wal *wal)
{
	cursor_close(&wal->cursor);
	catalog_fini(&wal->catalog);
	buf_fini(&wal->batch);
	if (wal->spare_fd != -1)
		(void)close(wal->spare_fd);
}

/* The event numbered `n`: of any length from 8 to some hundred bytes. */
static size_t
event_of(uint64_t n, char out[512])
{
	size_t bytes =
	    (size_t)snprintf(out, 512, "{\"n\":%06llu", (unsigned long long)n);
	size_t pad = (size_t)(n * 37 % 200);

	memset(out + bytes, ' ', pad);
	out[bytes + pad] = '}';
	return bytes + pad + 1;
}

static void
append(struct wal *wal, uint64_t count)
{
	char event[512];

	for (uint64_t i = 0; i < count; i++) {
		size_t bytes = event_of(wal->next_seq, event);

		ck_assert_int_eq(wal_room(wal, bytes), WAL_ROOM);
		ck_assert_int_eq(
		    wal_append(wal, (const uint8_t *)event, bytes), 0);
	}
}

/* Reads all that is durable and not ended; each event must be the next one and
 * what was put in. Returns the first sequence number and how many came. */
static uint64_t
read_all(struct wal *wal, uint64_t *count)
{
	struct reader reader = {0};
	struct reader_event event;
	char expected[512];
	uint64_t first = 0;

	*count = 0;
	ck_assert_int_eq(wal_rewind(wal, &reader), 0);
	while (reader_next(&reader, wal->durable_seq, &event) == READER_EVENT) {
		if (first == 0)
			first = event.seq;
		ck_assert(event.seq == first + *count);
		ck_assert_uint_eq(event.bytes, event_of(event.seq, expected));
		ck_assert_mem_eq(event.event, expected, event.bytes);
		(*count)++;
	}
	reader_fini(&reader);
	return first;
}

/* Ends the first `count` events as delivered. */
static void
end(struct wal *wal, uint64_t count)
{
	struct reader reader = {0};
	struct reader_event event;

	ck_assert_int_eq(wal_rewind(wal, &reader), 0);
	for (uint64_t i = 0; i < count; i++) {
		ck_assert_int_eq(
		    reader_next(&reader, wal_ready_seq(wal), &event),
		    READER_EVENT);
		wal_end(wal, 1, event.end_offset, WAL_DELIVERED);
	}
	ck_assert_int_eq(wal_save(wal), 0);
	reader_fini(&reader);
}

/* Opens the only, or last, segment file for writing. */
static int
open_last_segment(const struct wal *wal, char name[SEGMENT_NAME_BYTES])
{
	segment_name(name, catalog_last(&wal->catalog)->first_seq);
	return openat(dir_fd, name, O_RDWR | O_CLOEXEC);
}

static void
flip(int fd, uint64_t offset)
{
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
}

static int
count_files(const char *path)
{
	DIR *dir = opendir(path);
	struct dirent *entry;
	int n = 0;

	if (dir == NULL)
		return 0;
	while ((entry = readdir(dir)) != NULL)
		n += entry->d_name[0] != '.';
	(void)closedir(dir);
	return n;
}

static int
count_quarantined(void)
{
	char path[128];

	(void)snprintf(path, sizeof(path), "%s/quarantine", dir_path);
	return count_files(path);
}

START_TEST(test_nothing_is_read_before_its_sync)
{
	struct wal wal;
	uint64_t n;

	open_log(&wal, &limits);
	append(&wal, 3);
	(void)read_all(&wal, &n);
	ck_assert_uint_eq(n, 0);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_uint_eq(read_all(&wal, &n), 1);
	ck_assert_uint_eq(n, 3);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_all_comes_back_after_a_clean_close)
{
	struct wal wal;
	uint64_t n;

	open_log(&wal, &limits);
	append(&wal, 500);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_uint_gt(wal.catalog.count, 3);
	end(&wal, 120);
	ck_assert_int_eq(wal_close(&wal), 0);

	open_log(&wal, &limits);
	ck_assert(!wal.is_writable);
	ck_assert_uint_eq(wal_elements(&wal), 380);
	ck_assert_uint_eq(read_all(&wal, &n), 121);
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
		open_log(&wal, &limits);
		ck_assert_uint_ge(wal.next_seq, synced + 1);
		synced = wal.next_seq - 1;
		append(&wal, round * 13 % 50);
		ck_assert_int_eq(wal_sync(&wal), 0);
		synced = wal.next_seq - 1;
		if (round % 3 == 0)
			ck_assert_int_eq(wal_mark(&wal), 0);
		if (synced - ended > 40) {
			end(&wal, 30);
			ended += 30;
		}
		if (round % 4 == 0)
			append(&wal, 2);
		crash(&wal);
	}
	open_log(&wal, &limits);
	ck_assert_uint_eq(wal_acked_seq(&wal), ended);
	ck_assert_uint_eq(read_all(&wal, &n), ended + 1);
	ck_assert_uint_eq(ended + n, wal.next_seq - 1);
	ck_assert_uint_ge(wal.next_seq, synced + 1);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_ended_segments_are_unlinked_and_numbers_go_on)
{
	struct wal wal;
	uint64_t n;

	open_log(&wal, &limits);
	append(&wal, 500);
	ck_assert_int_eq(wal_sync(&wal), 0);
	end(&wal, 500);
	ck_assert_uint_eq(wal.catalog.count, 1);
	ck_assert_uint_eq(wal_bytes(&wal), 0);
	ck_assert_int_eq(wal_close(&wal), 0);
	/* cursor, one segment */
	ck_assert_int_eq(count_files(dir_path), 2);
	open_log(&wal, &limits);
	ck_assert_uint_eq(wal.next_seq, 501);
	append(&wal, 1);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_uint_eq(read_all(&wal, &n), 501);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_numbers_go_on_when_only_the_cursor_is_left)
{
	struct wal wal;
	char name[SEGMENT_NAME_BYTES];

	open_log(&wal, &limits);
	append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	end(&wal, 10);
	(void)close(open_last_segment(&wal, name));
	ck_assert_int_eq(wal_close(&wal), 0);
	ck_assert_int_eq(unlinkat(dir_fd, name, 0), 0);
	open_log(&wal, &limits);
	ck_assert_uint_eq(wal.next_seq, 11);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_a_lost_cursor_costs_duplicates_only)
{
	struct wal wal;
	uint64_t n;

	open_log(&wal, &limits);
	append(&wal, 30);
	ck_assert_int_eq(wal_sync(&wal), 0);
	end(&wal, 20);
	ck_assert_int_eq(wal_close(&wal), 0);
	ck_assert_int_eq(unlinkat(dir_fd, "cursor", 0), 0);
	open_log(&wal, &limits);
	ck_assert_uint_eq(read_all(&wal, &n), 1);
	ck_assert_uint_eq(n, 30);
	ck_assert_uint_eq(wal.next_seq, 31);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* A cut at any byte of what was never synced loses none of what was. */
START_TEST(test_a_torn_tail_is_cut_at_every_byte)
{
	struct wal wal;
	uint64_t durable_end, whole_end, n;
	char name[SEGMENT_NAME_BYTES];

	for (uint64_t cut = 0;; cut++) {
		int fd;

		open_log(&wal, &limits);
		append(&wal, 5);
		ck_assert_int_eq(wal_sync(&wal), 0);
		ck_assert_int_eq(wal_mark(&wal), 0);
		durable_end = catalog_last(&wal.catalog)->end_offset;
		append(&wal, 3);
		/* The write happens, the power goes before the sync. */
		fail_sync_in = 1;
		ck_assert_int_eq(wal_sync(&wal), -1);
		whole_end = catalog_last(&wal.catalog)->end_offset;
		fd = open_last_segment(&wal, name);
		crash(&wal);
		if (durable_end + cut > whole_end) {
			(void)close(fd);
			break;
		}
		ck_assert_int_eq(ftruncate(fd, (off_t)(durable_end + cut)), 0);
		(void)close(fd);

		open_log(&wal, &limits);
		ck_assert_uint_eq(read_all(&wal, &n), 1);
		ck_assert_uint_ge(n, 5);
		ck_assert_uint_eq(n, wal.next_seq - 1);
		ck_assert_int_eq(count_quarantined(), 0);
		append(&wal, 2);
		ck_assert_int_eq(wal_sync(&wal), 0);
		(void)read_all(&wal, &n);
		ck_assert_uint_eq(n, wal.next_seq - 1);
		crash(&wal);
		teardown();
		setup();
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

	open_log(&wal, &limits);
	append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_int_eq(wal_mark(&wal), 0);
	fd = open_last_segment(&wal, name);
	flip(fd,
	    LAYOUT_DATA_OFFSET + LAYOUT_BATCH_BYTES + LAYOUT_RECORD_BYTES + 3);
	(void)close(fd);
	crash(&wal);

	open_log(&wal, &limits);
	ck_assert_int_eq(wal_rewind(&wal, &reader), 0);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_DAMAGE);
	ck_assert_uint_eq(event.seq, 1);
	ck_assert_uint_eq(event.count, 1);
	while (reader_next(&reader, wal.durable_seq, &event) == READER_EVENT)
		good++;
	ck_assert_uint_eq(good, 9);
	ck_assert_int_eq(count_quarantined(), 1);
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

		open_log(&wal, &limits);
		append(&wal, 6);
		ck_assert_int_eq(wal_sync(&wal), 0);
		end_offset = catalog_last(&wal.catalog)->end_offset;
		ck_assert_int_eq(wal_mark(&wal), 0);
		if (ended > 0)
			end(&wal, ended);
		fd = open_last_segment(&wal, name);
		flip(fd, at);
		(void)close(fd);
		crash(&wal);

		open_log(&wal, &limits);
		ck_assert_int_eq(wal_rewind(&wal, &reader), 0);
		while ((status = reader_next(
			    &reader, wal.durable_seq, &event)) != READER_NONE) {
			ck_assert_int_ne(status, READER_ERROR);
			good += status == READER_EVENT;
			lost += status == READER_DAMAGE ? event.count : 0;
		}
		ck_assert_uint_le(lost, 1);
		ck_assert_uint_eq(good + lost, 6 - ended);
		reader_fini(&reader);
		crash(&wal);
		teardown();
		setup();
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

	open_log(&wal, &limits);
	append(&wal, 4);
	ck_assert_int_eq(wal_sync(&wal), 0);
	second = catalog_last(&wal.catalog)->end_offset;
	append(&wal, 3);
	ck_assert_int_eq(wal_sync(&wal), 0);
	append(&wal, 2);
	ck_assert_int_eq(wal_sync(&wal), 0);
	fd = open_last_segment(&wal, name);
	flip(fd, second + 8);
	(void)close(fd);
	crash(&wal);

	open_log(&wal, &limits);
	ck_assert_uint_eq(wal.next_seq, 10);
	ck_assert_int_eq(wal_rewind(&wal, &reader), 0);
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

	open_log(&wal, &limits);
	append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	if (is_marked)
		ck_assert_int_eq(wal_mark(&wal), 0);
	end(&wal, 15);
	fd = open_last_segment(&wal, name);
	flip(fd, LAYOUT_DATA_OFFSET + 8);
	(void)close(fd);
	crash(&wal);

	open_log(&wal, &limits);
	ck_assert_uint_eq(read_all(&wal, &n), 16);
	ck_assert_uint_eq(n, 5);
	ck_assert_uint_eq(wal.next_seq, 21);
	ck_assert_int_eq(count_quarantined(), 0);
	ck_assert_int_eq(wal_close(&wal), 0);
}

START_TEST(test_damage_to_ended_events_costs_none_that_are_not)
{
	damage_behind_the_cursor(true);
}
END_TEST

/* The cursor within a batch proves all of it: one write, one sync. */
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

	open_log(&wal, &limits);
	append(&wal, 150);
	ck_assert_int_eq(wal_sync(&wal), 0);
	first = catalog_last(&wal.catalog)->first_seq;
	ck_assert_uint_gt(first, 1);
	ck_assert_uint_lt(first, 150);
	fd = open_last_segment(&wal, name);
	ck_assert_int_eq(
	    pwrite(fd, zeros, sizeof(zeros), 0), (ssize_t)sizeof(zeros));
	(void)close(fd);
	crash(&wal);

	open_log(&wal, &limits);
	ck_assert_uint_eq(wal.next_seq, 151);
	ck_assert_int_eq(wal_rewind(&wal, &reader), 0);
	while (reader_next(&reader, wal.durable_seq, &event) == READER_EVENT)
		good++;
	ck_assert_uint_eq(good, first - 1);
	ck_assert_uint_eq(event.seq, first);
	ck_assert_uint_eq(event.count, 151 - first);
	ck_assert_int_eq(
	    reader_next(&reader, wal.durable_seq, &event), READER_NONE);
	ck_assert_int_eq(count_quarantined(), 1);
	reader_fini(&reader);
	wal_end(&wal, good, event.end_offset, WAL_DELIVERED);
	wal_end(&wal, 151 - first, event.end_offset, WAL_QUARANTINED);
	append(&wal, 1);
	ck_assert_int_eq(wal_sync(&wal), 0);
	ck_assert_int_eq(wal_close(&wal), 0);

	open_log(&wal, &limits);
	ck_assert_uint_eq(read_all(&wal, &good), 151);
	ck_assert_uint_eq(good, 1);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* After a failed sync the same bytes are written anew before they count. */
START_TEST(test_an_unproven_tail_is_written_to_a_new_segment)
{
	struct wal wal;
	uint64_t n, before;

	open_log(&wal, &limits);
	append(&wal, 5);
	ck_assert_int_eq(wal_sync(&wal), 0);
	append(&wal, 4);
	fail_sync_in = 1;
	ck_assert_int_eq(wal_sync(&wal), -1);
	before = wal.catalog.count;
	crash(&wal);

	open_log(&wal, &limits);
	/* The first five are proven by the batch behind them. */
	ck_assert_uint_eq(wal.catalog.count, before + 1);
	ck_assert_uint_eq(catalog_last(&wal.catalog)->first_seq, 6);
	ck_assert_uint_eq(wal.durable_seq, 9);
	ck_assert_uint_eq(read_all(&wal, &n), 1);
	ck_assert_uint_eq(n, 9);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* A sync that fails while the tail is settled leaves the old file to count. */
/* Where acks do not wait for the sync, the cursor can be ahead of what a power
 * cut left of the log. That is no damage, and numbers go on behind it. */
START_TEST(test_a_lazy_log_torn_behind_its_cursor_is_not_damaged)
{
	for (uint64_t cut = 0; cut < 700; cut += 7) {
		struct wal wal;
		char name[SEGMENT_NAME_BYTES];
		uint64_t n;
		int fd;

		open_log(&wal, &limits);
		wal.is_lazy = true;
		append(&wal, 4);
		ck_assert_int_eq(wal_sync(&wal), 0);
		append(&wal, 6);
		ck_assert_int_eq(wal_commit(&wal), 0);
		ck_assert_uint_eq(wal.durable_seq, 4);
		ck_assert_uint_eq(wal_ready_seq(&wal), 10);
		append(&wal, 2);
		ck_assert_int_eq(wal_commit(&wal), 0);
		end(&wal, 8);
		fd = open_last_segment(&wal, name);
		crash(&wal);
		ck_assert_int_eq(
		    ftruncate(fd, (off_t)(LAYOUT_DATA_OFFSET + 600 + cut)), 0);
		(void)close(fd);

		open_log(&wal, &limits);
		ck_assert_int_eq(count_quarantined(), 0);
		ck_assert_uint_ge(wal.next_seq, 9);
		ck_assert_uint_eq(wal_acked_seq(&wal), 8);
		(void)read_all(&wal, &n);
		ck_assert_uint_eq(n, wal_elements(&wal));
		append(&wal, 3);
		ck_assert_int_eq(wal_sync(&wal), 0);
		n = wal.next_seq;
		crash(&wal);
		open_log(&wal, &limits);
		ck_assert_uint_eq(wal.next_seq, n);
		(void)read_all(&wal, &n);
		ck_assert_uint_eq(n, wal_elements(&wal));
		ck_assert_int_eq(count_quarantined(), 0);
		crash(&wal);
		teardown();
		setup();
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

	open_log(&wal, &limits);
	append(&wal, 10);
	ck_assert_int_eq(wal_sync(&wal), 0);
	end(&wal, 3);
	ck_assert_int_eq(cursor_sync(&wal.cursor), 0);
	for (uint64_t round = 0; round < 5; round++) {
		struct cursor cursor;
		unsigned int place;
		int fd;

		end(&wal, 1);
		place = wal.cursor.place;
		ck_assert(!wal.cursor.is_synced);
		ck_assert_int_eq(pread(wal.cursor.fd, file, sizeof(file), 0),
		    (ssize_t)sizeof(file));
		/* A power cut garbles what was not synced. */
		fd = openat(dir_fd, "cursor", O_RDWR | O_CLOEXEC);
		flip(fd, place * LAYOUT_CURSOR_OFFSET + 40);
		ck_assert_int_eq(
		    cursor_open(&cursor, dir_fd, &lost), CURSOR_OK);
		ck_assert_uint_eq(cursor.slot.acked_seq, 3);
		cursor_close(&cursor);
		flip(fd, place * LAYOUT_CURSOR_OFFSET + 40);
		(void)close(fd);
	}
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_settling_can_fail_at_any_sync)
{
	for (int nth = 1; nth < 12; nth++) {
		struct wal wal;
		uint64_t n;

		open_log(&wal, &limits);
		append(&wal, 6);
		ck_assert_int_eq(wal_sync(&wal), 0);
		crash(&wal);
		fail_sync_in = nth;
		if (wal_open(&wal, dir_fd, &limits) == WAL_OPEN)
			crash(&wal);
		fail_sync_in = 0;
		open_log(&wal, &limits);
		ck_assert_uint_eq(read_all(&wal, &n), 1);
		ck_assert_uint_eq(n, 6);
		ck_assert_int_eq(wal_close(&wal), 0);
		teardown();
		setup();
	}
}
END_TEST

START_TEST(test_max_elements_is_exact)
{
	struct wal_limits few = limits;
	struct wal wal;

	few.max_elements = 7;
	open_log(&wal, &few);
	append(&wal, 7);
	ck_assert_int_eq(wal_room(&wal, 10), WAL_FULL);
	ck_assert(!wal_is_relieved(&wal));
	ck_assert_int_eq(wal_sync(&wal), 0);
	end(&wal, 1);
	ck_assert_int_eq(wal_room(&wal, 10), WAL_ROOM);
	ck_assert(wal_is_relieved(&wal));
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* The bytes on disk stay below the limit and two segments. */
START_TEST(test_max_bytes_is_hard)
{
	struct wal_limits small = limits;
	struct wal wal;
	char event[512];

	small.max_bytes = 50000;
	open_log(&wal, &small);
	for (int round = 0; round < 40; round++) {
		for (;;) {
			size_t bytes = event_of(wal.next_seq, event);

			if (wal_room(&wal, bytes) != WAL_ROOM)
				break;
			ck_assert_int_eq(
			    wal_append(&wal, (const uint8_t *)event, bytes), 0);
			ck_assert_int_eq(wal_sync(&wal), 0);
			ck_assert_int_eq(wal_mark(&wal), 0);
			ck_assert_int_eq(wal_prepare(&wal), 0);
			ck_assert_uint_le(wal_bytes(&wal), small.max_bytes);
			ck_assert_uint_le(
			    catalog_bytes(&wal.catalog) +
				(wal.spare_fd == -1 ? 0 : wal.spare_bytes),
			    small.max_bytes + 2 * small.segment_bytes);
		}
		ck_assert_uint_gt(wal_bytes(&wal),
		    small.max_bytes - LAYOUT_DATA_OFFSET - 2048);
		end(&wal, 25);
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
	open_log(&wal, &limits);
	append(&wal, 1);
	ck_assert_int_eq(wal_append(&wal, big, bytes), 0);
	ck_assert_int_eq(wal_sync(&wal), 0);
	append(&wal, 1);
	ck_assert_int_eq(wal_sync(&wal), 0);
	crash(&wal);
	open_log(&wal, &limits);
	ck_assert_int_eq(wal_rewind(&wal, &reader), 0);
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
	fd = openat(dir_fd, name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	layout_put_segment(raw, &header);
	raw[9] = LAYOUT_MAJOR + 1;
	put_be64(raw + 56, XXH3_64bits(raw, 56));
	ck_assert_int_eq(pwrite(fd, raw, sizeof(raw), 0), sizeof(raw));
	(void)close(fd);
	ck_assert_int_eq(wal_open(&wal, dir_fd, &limits), WAL_NEWER);
	ck_assert_int_eq(faccessat(dir_fd, name, R_OK, 0), 0);
	ck_assert_int_eq(count_quarantined(), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wal");
	TCase *tcase = tcase_create("wal");

	log_init("check_wal", LOG_ERROR);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 120);
	tcase_add_test(tcase, test_nothing_is_read_before_its_sync);
	tcase_add_test(tcase, test_all_comes_back_after_a_clean_close);
	tcase_add_test(
	    tcase, test_all_synced_comes_back_after_each_of_many_crashes);
	tcase_add_test(
	    tcase, test_ended_segments_are_unlinked_and_numbers_go_on);
	tcase_add_test(tcase, test_numbers_go_on_when_only_the_cursor_is_left);
	tcase_add_test(tcase, test_a_lost_cursor_costs_duplicates_only);
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
	tcase_add_test(tcase, test_settling_can_fail_at_any_sync);
	tcase_add_test(
	    tcase, test_a_lazy_log_torn_behind_its_cursor_is_not_damaged);
	tcase_add_test(
	    tcase, test_the_cursor_that_was_synced_is_never_written_over);
	tcase_add_test(tcase, test_max_elements_is_exact);
	tcase_add_test(tcase, test_max_bytes_is_hard);
	tcase_add_test(tcase, test_an_event_larger_than_a_segment_has_its_own);
	tcase_add_test(tcase, test_a_newer_format_is_refused_untouched);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
