/*
 * What readers of one log share: the first reads and looks, the others take it
 * as it was. What nobody has looked at yet nobody takes for sound.
 */
#include "stage/log.h"
#include "t/steps.h"
#include "t/suite.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct pieces pieces;

static void
begin(void)
{
	steps_begin();
	pieces_init(&pieces);
}

/* Opens a log with segments of this size. */
static void
open_log(struct wal *wal, uint64_t segment_bytes)
{
	struct wal_limits limits = steps_limits;

	limits.segment_bytes = segment_bytes;
	steps_open(wal, &limits);
}

static void
append_batches(struct wal *wal, int batches, uint64_t events)
{
	for (int i = 0; i < batches; i++) {
		steps_append(wal, events);
		ck_assert_int_eq(wal_sync(wal), 0);
	}
}

static void
stand(struct wal *wal, struct reader *reader, uint64_t seq)
{
	reader_init(reader, &wal->catalog, seq);
	reader->pieces = &pieces;
}

/* Damages from..to of the last segment. */
static void
damage(const struct wal *wal, uint64_t from, uint64_t to)
{
	char name[SEGMENT_NAME_BYTES];
	int fd = steps_open_last(wal, name);

	for (; from < to; from += 8)
		steps_flip(fd, from);
	(void)close(fd);
}

START_TEST(test_what_one_has_read_the_others_need_not)
{
	struct reader readers[3] = {0}, alone = {0};
	uint64_t damaged;
	struct wal wal;

	open_log(&wal, 1 << 20);
	append_batches(&wal, 10, 20);
	for (size_t i = 0; i < 3; i++)
		stand(&wal, &readers[i], 1);
	ck_assert_uint_eq(steps_read_to(&readers[0], 50, &damaged), 50);
	damage(
	    &wal, LAYOUT_DATA_OFFSET, catalog_last(&wal.catalog)->end_offset);
	for (size_t i = 0; i < 3; i++) {
		ck_assert_uint_eq(steps_read_to(&readers[i], 200, &damaged),
		    i == 0 ? 150 : 200);
		ck_assert_uint_eq(damaged, 0);
	}
	ck_assert_uint_eq(pieces.count, 1);
	/* The negative control: so it is in the file. */
	reader_init(&alone, &wal.catalog, 1);
	alone.is_looking = true;
	ck_assert_uint_eq(steps_read_to(&alone, 200, &damaged), 0);
	ck_assert_uint_eq(damaged, 200);
	for (size_t i = 0; i < 3; i++)
		reader_fini(&readers[i]);
	reader_fini(&alone);
	pieces_fini(&pieces);
	wal_abandon(&wal);
}
END_TEST

START_TEST(test_what_is_written_later_goes_on_in_the_piece)
{
	struct reader readers[2] = {0};
	uint64_t damaged, count = 0;
	struct wal wal;

	open_log(&wal, 1 << 20);
	for (size_t i = 0; i < 2; i++)
		stand(&wal, &readers[i], 1);
	while (count < 100) {
		append_batches(&wal, 1, 5);
		count += 5;
		for (size_t i = 0; i < 2; i++)
			ck_assert_uint_eq(
			    steps_read_to(&readers[i], count, &damaged), 5);
	}
	ck_assert_uint_eq(pieces.count, 1);
	ck_assert_uint_eq(pieces.list[0]->users, 2);
	/* All of it was looked at, so that nobody has to do it again. */
	ck_assert_uint_eq(pieces.list[0]->proven_offset,
	    catalog_last(&wal.catalog)->end_offset);
	for (size_t i = 0; i < 2; i++)
		reader_fini(&readers[i]);
	ck_assert_uint_eq(pieces.list[0]->users, 0);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* As where what lies between came from memory. */
START_TEST(test_what_nobody_asks_for_is_not_read)
{
	struct piece *first, *later;
	const struct segment *last;
	uint64_t offset;
	struct wal wal;

	open_log(&wal, 1 << 20);
	append_batches(&wal, 1, 5);
	first = pieces_enter(&pieces, catalog_last(&wal.catalog),
	    LAYOUT_DATA_OFFSET, LAYOUT_BATCH_BYTES);
	append_batches(&wal, 20, 5);
	offset = catalog_last(&wal.catalog)->end_offset;
	append_batches(&wal, 1, 5);
	last = catalog_last(&wal.catalog);
	later = pieces_enter(&pieces, last, offset, LAYOUT_BATCH_BYTES);
	ck_assert_uint_eq(later->offset, offset);
	ck_assert_uint_eq(later->bytes, last->end_offset - offset);
	pieces_leave(&pieces, first);
	pieces_leave(&pieces, later);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* It starts behind an event that is damaged, in the same piece. */
START_TEST(test_what_was_passed_over_is_not_taken_for_sound)
{
	struct reader first = {0}, later = {0};
	uint64_t damaged, at;
	struct wal wal;

	open_log(&wal, 1 << 20);
	append_batches(&wal, 1, 20);
	/* Its length is as it was. */
	at = catalog_last(&wal.catalog)->end_offset + LAYOUT_BATCH_BYTES +
	     LAYOUT_RECORD_BYTES + 2;
	append_batches(&wal, 3, 20);
	damage(&wal, at, at + 1);
	stand(&wal, &first, 61);
	ck_assert_uint_eq(steps_read_to(&first, 80, &damaged), 20);
	ck_assert_uint_eq(damaged, 0);
	stand(&wal, &later, 1);
	later.is_looking = true;
	ck_assert_uint_eq(steps_read_to(&later, 80, &damaged), 79);
	ck_assert_uint_eq(damaged, 1);
	reader_fini(&first);
	reader_fini(&later);
	pieces_fini(&pieces);
	wal_abandon(&wal);
}
END_TEST

/* Else what is in memory would come before what a later start finds. */
START_TEST(test_behind_damage_each_reads_for_itself)
{
	struct reader first = {0}, later = {0};
	uint64_t damaged, from, to;
	struct wal wal;

	open_log(&wal, 1 << 20);
	append_batches(&wal, 1, 5);
	from = LAYOUT_DATA_OFFSET + LAYOUT_BATCH_BYTES;
	to = catalog_last(&wal.catalog)->end_offset;
	append_batches(&wal, 2, 5);
	damage(&wal, from, to);
	stand(&wal, &first, 6);
	ck_assert_uint_eq(steps_read_to(&first, 15, &damaged), 10);
	stand(&wal, &later, 1);
	damage(&wal, to, catalog_last(&wal.catalog)->end_offset);
	ck_assert_uint_eq(steps_read_to(&later, 15, &damaged), 0);
	ck_assert_uint_eq(damaged, 15);
	ck_assert_uint_eq(pieces.list[0]->users, 1);
	reader_fini(&first);
	reader_fini(&later);
	pieces_fini(&pieces);
	wal_abandon(&wal);
}
END_TEST

/* As where a disk could not read for a moment. Only the file says what is lost.
 */
START_TEST(test_what_was_damaged_when_another_read_it_is_read_again)
{
	struct reader first = {0}, later = {0};
	uint64_t damaged, from, to;
	struct wal wal;

	open_log(&wal, 1 << 20);
	append_batches(&wal, 1, 5);
	from = catalog_last(&wal.catalog)->end_offset;
	append_batches(&wal, 1, 5);
	to = catalog_last(&wal.catalog)->end_offset;
	append_batches(&wal, 1, 5);
	for (int part = 0; part < 2; part++) {
		/* A header with all behind it, or a record. */
		from += part * LAYOUT_BATCH_BYTES;
		stand(&wal, &first, 1);
		stand(&wal, &later, 1);
		damage(&wal, from, to);
		ck_assert_uint_eq(steps_read_to(&first, 15, &damaged), 10);
		ck_assert_uint_eq(damaged, 5);
		/* What was flipped is as it was. */
		damage(&wal, from, to);
		ck_assert_uint_eq(steps_read_to(&later, 15, &damaged), 15);
		ck_assert_uint_eq(damaged, 0);
		reader_fini(&first);
		reader_fini(&later);
		pieces_fini(&pieces);
	}
	wal_abandon(&wal);
}
END_TEST

START_TEST(test_one_that_is_left_makes_room)
{
	struct reader readers[3] = {0};
	uint64_t damaged;
	struct wal wal;

	open_log(&wal, 1 << 20);
	append_batches(&wal, 120, 60);
	ck_assert_uint_gt(
	    catalog_last(&wal.catalog)->end_offset, 3 * PIECES_BYTES);
	for (size_t i = 0; i < 2; i++)
		stand(&wal, &readers[i], 1);
	/* They go together, and come apart by one piece and more. */
	for (uint64_t to = 10; to <= 7200; to += 10)
		for (size_t i = 0; i < 2; i++)
			ck_assert_uint_eq(
			    steps_read_to(&readers[i], to, &damaged), 10);
	ck_assert_uint_le(pieces.count, 2);
	stand(&wal, &readers[0], 1);
	stand(&wal, &readers[2], 3600);
	ck_assert_uint_eq(steps_read_to(&readers[0], 10, &damaged), 10);
	ck_assert_uint_eq(steps_read_to(&readers[2], 3609, &damaged), 10);
	ck_assert_uint_eq(pieces.count, 3);
	ck_assert_uint_eq(steps_read_to(&readers[0], 7200, &damaged), 7190);
	ck_assert_uint_eq(steps_read_to(&readers[2], 7200, &damaged), 3591);
	ck_assert_uint_eq(pieces.count, 3);
	for (size_t i = 0; i < 3; i++)
		reader_fini(&readers[i]);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

START_TEST(test_an_event_may_be_longer_than_a_piece)
{
	size_t bytes = 2 * PIECES_BYTES;
	uint8_t *text = calloc(bytes, 1);
	struct reader readers[2] = {0};
	struct reader_event event;
	uint64_t damaged;
	struct wal wal;

	open_log(&wal, 4 << 20);
	append_batches(&wal, 1, 50);
	for (size_t i = 0; i < bytes; i++)
		text[i] = (uint8_t)(i / 251);
	ck_assert_int_eq(wal_append(&wal, text, bytes), 0);
	append_batches(&wal, 1, 50);
	for (size_t i = 0; i < 2; i++) {
		stand(&wal, &readers[i], 1);
		ck_assert_uint_eq(steps_read_to(&readers[i], 50, &damaged), 50);
		ck_assert_int_eq(
		    reader_next(&readers[i], 101, &event), READER_EVENT);
		ck_assert_uint_eq(event.bytes, bytes);
		ck_assert(memcmp(event.event, text, bytes) == 0);
		ck_assert_uint_eq(
		    steps_read_to(&readers[i], 101, &damaged), 50);
	}
	for (size_t i = 0; i < 2; i++)
		reader_fini(&readers[i]);
	free(text);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

static size_t
room_of_all(void)
{
	size_t sum = 0;

	for (size_t i = 0; i < pieces.count; i++)
		sum += pieces.list[i]->room_bytes;
	return sum;
}

/* Each reader has met one, and none stands in it any more. */
START_TEST(test_of_long_events_hardly_any_memory_is_kept)
{
	enum {
		READERS = 4
	};
	size_t bytes = 4 * PIECES_BYTES;
	uint8_t *text = calloc(bytes, 1);
	struct reader readers[READERS] = {0};
	struct reader_event event;
	struct wal wal;

	open_log(&wal, 8 << 20);
	for (size_t i = 0; i < READERS; i++) {
		ck_assert_int_eq(wal_append(&wal, text, bytes), 0);
		append_batches(&wal, 1, 1);
		stand(&wal, &readers[i], 1 + 2 * i);
	}
	for (size_t i = 0; i < READERS; i++)
		ck_assert_int_eq(
		    reader_next(&readers[i], 2 * i + 1, &event), READER_EVENT);
	ck_assert_uint_gt(room_of_all(), READERS * bytes);
	for (size_t i = 1; i < READERS; i++)
		reader_fini(&readers[i]);
	/* The last of them, and where one still stands. */
	ck_assert_uint_lt(room_of_all(), 3 * bytes);
	ck_assert_int_eq(reader_next(&readers[0], 2, &event), READER_EVENT);
	ck_assert_uint_lt(room_of_all(), 2 * bytes);
	pieces_free_unused(&pieces);
	ck_assert_uint_eq(room_of_all(), PIECES_BYTES);
	ck_assert_int_eq(reader_next(&readers[0], 3, &event), READER_EVENT);
	ck_assert_uint_eq(event.bytes, bytes);
	reader_fini(&readers[0]);
	free(text);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* Who stands in it would hold it, for what others have long. */
START_TEST(test_the_memory_of_a_long_event_is_not_used_for_short_ones)
{
	const struct segment *last;
	uint8_t *text = calloc(4, PIECES_BYTES);
	struct reader alone = {0};
	struct reader_event event;
	struct piece *piece;
	struct wal wal;

	open_log(&wal, 8 << 20);
	ck_assert_int_eq(wal_append(&wal, text, 4 * PIECES_BYTES), 0);
	append_batches(&wal, 1, 1);
	last = catalog_last(&wal.catalog);
	piece =
	    pieces_enter(&pieces, last, LAYOUT_DATA_OFFSET, 4 * PIECES_BYTES);
	ck_assert_uint_eq(piece->room_bytes, 4 * PIECES_BYTES);
	pieces_leave(&pieces, piece);
	piece = pieces_enter(&pieces, last,
	    LAYOUT_DATA_OFFSET + 4 * PIECES_BYTES, LAYOUT_RECORD_BYTES);
	ck_assert_uint_eq(pieces.count, 1);
	ck_assert_uint_eq(piece->room_bytes, PIECES_BYTES);
	pieces_leave(&pieces, piece);
	/* Nor where one reads for itself. */
	reader_init(&alone, &wal.catalog, 1);
	ck_assert_int_eq(reader_next(&alone, 2, &event), READER_EVENT);
	ck_assert_uint_gt(alone.room_bytes, 4 * PIECES_BYTES);
	ck_assert_int_eq(reader_next(&alone, 2, &event), READER_EVENT);
	ck_assert_uint_eq(alone.room_bytes, PIECES_BYTES);
	reader_fini(&alone);
	free(text);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

/* In segments that are many, with some in memory, each at its own pace. */
START_TEST(test_readers_at_any_pace_get_all_in_order)
{
	enum {
		READERS = 5
	};
	struct reader readers[READERS] = {0};
	uint64_t last = 0, damaged;
	struct wal wal;

	srand48((long)_i);
	open_log(&wal, 400 << 10);
	for (size_t i = 0; i < READERS; i++) {
		stand(&wal, &readers[i], 1);
		readers[i].recent = &wal.recent;
	}
	for (int round = 0; round < 300; round++) {
		struct reader *reader = &readers[lrand48() % READERS];
		uint64_t to = reader->next_seq + (uint64_t)(lrand48() % 800);
		uint64_t from = reader->next_seq;

		if (round < 200 && lrand48() % 3 == 0) {
			append_batches(&wal, 1, 1 + (uint64_t)lrand48() % 400);
			last = wal_ready_seq(&wal);
		}
		if (lrand48() % 40 == 0)
			stand(&wal, reader, from);
		if (to > last)
			to = last;
		ck_assert_uint_eq(steps_read_to(reader, to, &damaged),
		    to < from ? 0 : to + 1 - from);
		ck_assert_uint_eq(damaged, 0);
	}
	ck_assert_uint_le(pieces.count, READERS);
	for (size_t i = 0; i < READERS; i++)
		reader_fini(&readers[i]);
	pieces_fini(&pieces);
	ck_assert_int_eq(wal_close(&wal), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("pieces");
	TCase *tcase = tcase_create("pieces");

	log_init("check_pieces", LOG_ERROR);
	tcase_add_unchecked_fixture(tcase, steps_init, steps_fini);
	tcase_add_checked_fixture(tcase, begin, NULL);
	tcase_add_test(tcase, test_what_one_has_read_the_others_need_not);
	tcase_add_test(tcase, test_what_is_written_later_goes_on_in_the_piece);
	tcase_add_test(tcase, test_what_nobody_asks_for_is_not_read);
	tcase_add_test(tcase, test_what_was_passed_over_is_not_taken_for_sound);
	tcase_add_test(tcase, test_behind_damage_each_reads_for_itself);
	tcase_add_test(
	    tcase, test_what_was_damaged_when_another_read_it_is_read_again);
	tcase_add_test(tcase, test_one_that_is_left_makes_room);
	tcase_add_test(tcase, test_an_event_may_be_longer_than_a_piece);
	tcase_add_test(tcase, test_of_long_events_hardly_any_memory_is_kept);
	tcase_add_test(
	    tcase, test_the_memory_of_a_long_event_is_not_used_for_short_ones);
	tcase_add_loop_test(
	    tcase, test_readers_at_any_pace_get_all_in_order, 1, 9);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
