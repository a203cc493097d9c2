#include "t/steps.h"

#include "t/rewind.h"

#include <check.h>

#include <fcntl.h>
#include <unistd.h>

#define SPREAD 200

struct log_dir steps_dir;

const struct wal_limits steps_limits = {
    .max_elements = 1000000,
    .max_bytes = 1 << 30,
    .segment_bytes = 12288,
};

void
steps_init(void)
{
	log_dir_make(&steps_dir);
}

void
steps_fini(void)
{
	log_dir_remove(&steps_dir);
}

void
steps_begin(void)
{
	log_dir_clear(&steps_dir);
}

void
steps_open(struct wal *wal, const struct wal_limits *limits)
{
	ck_assert_int_eq(wal_open(wal, steps_dir.fd, limits), WAL_OPEN);
}

size_t
steps_event(uint64_t n, char out[LOG_EVENT_ROOM])
{
	return log_event(n, SPREAD, out);
}

void
steps_append(struct wal *wal, uint64_t count)
{
	char event[LOG_EVENT_ROOM];

	for (uint64_t i = 0; i < count; i++) {
		size_t bytes = steps_event(wal->next_seq, event);

		ck_assert_int_eq(wal_room(wal, bytes), WAL_ROOM);
		ck_assert_int_eq(
		    wal_append(wal, (const uint8_t *)event, bytes), 0);
	}
}

uint64_t
steps_read(struct wal *wal, uint64_t *count)
{
	struct reader reader = {0};
	struct reader_event event;
	char expected[LOG_EVENT_ROOM];
	uint64_t first = 0;

	*count = 0;
	ck_assert_int_eq(rewind_reader(wal, &reader), 0);
	while (reader_next(&reader, wal->durable_seq, &event) == READER_EVENT) {
		if (first == 0)
			first = event.seq;
		ck_assert(event.seq == first + *count);
		ck_assert_uint_eq(
		    event.bytes, steps_event(event.seq, expected));
		ck_assert_mem_eq(event.event, expected, event.bytes);
		(*count)++;
	}
	reader_fini(&reader);
	return first;
}

uint64_t
steps_read_to(struct reader *reader, uint64_t last, uint64_t *damaged)
{
	struct reader_event event;
	char expected[LOG_EVENT_ROOM];
	uint64_t count = 0;

	*damaged = 0;
	for (;;) {
		switch (reader_next(reader, last, &event)) {
		case READER_NONE:
			return count;
		case READER_ERROR:
			ck_abort_msg("error");
			break;
		case READER_DAMAGE:
			*damaged += event.count;
			break;
		case READER_EVENT:
			ck_assert_uint_eq(
			    event.bytes, steps_event(event.seq, expected));
			ck_assert_mem_eq(event.event, expected, event.bytes);
			count++;
			break;
		}
	}
}

void
steps_end(struct wal *wal, uint64_t count)
{
	struct reader reader = {0};
	struct reader_event event;

	ck_assert_int_eq(rewind_reader(wal, &reader), 0);
	for (uint64_t i = 0; i < count; i++) {
		ck_assert_int_eq(
		    reader_next(&reader, wal_ready_seq(wal), &event),
		    READER_EVENT);
		wal_end(wal, 1, event.end_offset, WAL_DELIVERED);
	}
	ck_assert_int_eq(wal_save(wal), 0);
	reader_fini(&reader);
}

int
steps_open_last(const struct wal *wal, char name[SEGMENT_NAME_BYTES])
{
	segment_name(name, catalog_last(&wal->catalog)->first_seq);
	return openat(steps_dir.fd, name, O_RDWR | O_CLOEXEC);
}

void
steps_flip(int fd, uint64_t offset)
{
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, (off_t)offset), 1);
	byte ^= 0x10;
	ck_assert_int_eq(pwrite(fd, &byte, 1, (off_t)offset), 1);
}

size_t
steps_quarantined(void)
{
	return log_dir_count(&steps_dir, "quarantine");
}
