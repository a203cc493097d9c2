/*
 * The files of a log that was whole and durable, misplaced: segments swapped,
 * removed, doubled, of another log; the cursor lost or of another log. What
 * must hold after each is in damage.h.
 */
#include "t/damage.h"
#include "t/suite.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define BLOCK 4096

static struct sound sound;

static void
rename_file(const char *from, const char *to)
{
	ck_assert_int_eq(renameat(sound.dir.fd, from, sound.dir.fd, to), 0);
}

START_TEST(test_each_two_segments_swapped)
{
	sound_make(&sound, (enum sound_end)_i);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		for (size_t j = i + 1; j < SOUND_SEGMENTS; j++) {
			const char *a = sound.image.files[i].name;
			const char *b = sound.image.files[j].name;
			struct harm harm;

			harm_init(&harm, "%s and %s swapped", a, b);
			sound_put(&sound);
			rename_file(a, "x");
			rename_file(b, a);
			rename_file("x", b);
			harm_check(&harm, &sound);
			sound_check_names(&sound, harm.what);
		}
	}
}
END_TEST

START_TEST(test_each_segment_removed)
{
	sound_make(&sound, (enum sound_end)_i);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		const struct log_file *file = &sound.image.files[i];
		struct harm harm;

		harm_init(&harm, "%s removed", file->name);
		harm_bytes(&harm, &sound, i, 0, file->bytes);
		harm.is_gone = true;
		sound_put(&sound);
		ck_assert_int_eq(unlinkat(sound.dir.fd, file->name, 0), 0);
		harm_check(&harm, &sound);
	}
}
END_TEST

/* First sequence numbers that no segment has in its name: before all, between
 * each two, behind all. */
static size_t
free_names(uint64_t seqs[SOUND_SEGMENTS + 4])
{
	size_t n = 0;

	seqs[n++] = 1;
	seqs[n++] = sound.first_seq - 1;
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		uint64_t seq;

		ck_assert(segment_is_name(sound.image.files[i].name, &seq));
		seqs[n++] = seq + 1;
	}
	seqs[n++] = sound.last_seq + 1;
	seqs[n++] = sound.last_seq + 1000;
	return n;
}

START_TEST(test_each_segment_doubled_under_each_free_name)
{
	uint64_t seqs[SOUND_SEGMENTS + 4];
	size_t count;

	sound_make(&sound, (enum sound_end)_i);
	count = free_names(seqs);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		for (size_t j = 0; j < count; j++) {
			const struct log_file *file = &sound.image.files[i];
			char name[SEGMENT_NAME_BYTES];
			struct harm harm;

			segment_name(name, seqs[j]);
			harm_init(&harm, "%s also as %s", file->name, name);
			harm.strangers = 1;
			sound_put(&sound);
			log_dir_write(
			    &sound.dir, name, file->data, file->bytes);
			harm_check(&harm, &sound);
			sound_check_names(&sound, harm.what);
		}
	}
}
END_TEST

/* Puts a segment of another log among ours: its bytes are one of ours, with
 * another log's id and `seq` for its first event. */
static void
put_foreign(size_t from, uint64_t seq, const char *name)
{
	const struct log_file *file = &sound.image.files[from];
	uint8_t changed[16384];
	struct layout_segment header;

	ck_assert_uint_le(file->bytes, sizeof(changed));
	memcpy(changed, file->data, file->bytes);
	ck_assert_int_eq(layout_get_segment(changed, &header), LAYOUT_OK);
	header.log_id[0] ^= 1;
	header.first_seq = seq;
	layout_put_segment(changed, &header);
	layout_put_segment(changed + LAYOUT_COPY_OFFSET, &header);
	log_dir_write(&sound.dir, name, changed, file->bytes);
}

START_TEST(test_a_foreign_segment_under_each_free_name)
{
	uint64_t seqs[SOUND_SEGMENTS + 4];
	size_t count;

	sound_make(&sound, (enum sound_end)_i);
	count = free_names(seqs);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		for (size_t j = 0; j < count; j++) {
			char name[SEGMENT_NAME_BYTES];
			struct harm harm;

			segment_name(name, seqs[j]);
			harm_init(&harm, "foreign %s like %s", name,
			    sound.image.files[i].name);
			harm.strangers = 1;
			sound_put(&sound);
			put_foreign(i, seqs[j], name);
			harm_check(&harm, &sound);
			sound_check_names(&sound, harm.what);
		}
	}
}
END_TEST

/* A file that is no segment at all, but has a segment's name, says nothing of
 * the events of those that are. */
START_TEST(test_a_file_without_a_header_under_each_free_name)
{
	static const uint8_t garbage[8192] = {1, 2, 3};
	uint64_t seqs[SOUND_SEGMENTS + 4];
	size_t count;

	sound_make(&sound, (enum sound_end)_i);
	/* The last of them would be far behind: many events before it would
	 * have to be missing. */
	count = free_names(seqs) - 1;
	for (size_t j = 0; j < count; j++) {
		for (size_t bytes = 0; bytes <= 8192; bytes += 4096) {
			char name[SEGMENT_NAME_BYTES];
			struct harm harm;

			segment_name(name, seqs[j]);
			harm_init(&harm, "%zu bytes as %s", bytes, name);
			harm.strangers = 1;
			sound_put(&sound);
			log_dir_write(&sound.dir, name, garbage, bytes);
			harm_check(&harm, &sound);
		}
	}
}
END_TEST

/* A foreign file under the name of one of ours: that one is lost. */
START_TEST(test_a_foreign_segment_in_place_of_each)
{
	sound_make(&sound, (enum sound_end)_i);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		const struct log_file *file = &sound.image.files[i];
		struct harm harm;
		uint64_t seq;

		ck_assert(segment_is_name(file->name, &seq));
		harm_init(&harm, "foreign %s in its place", file->name);
		harm_bytes(&harm, &sound, i, 0, file->bytes);
		harm.is_gone = true;
		harm.strangers = 1;
		sound_put(&sound);
		put_foreign(i, seq, file->name);
		harm_check(&harm, &sound);
		sound_check_names(&sound, harm.what);
	}
}
END_TEST

/* A cursor that says nothing true costs duplicates of ended events only. */
START_TEST(test_a_cursor_lost_in_each_way)
{
	static const uint8_t zeros[2 * BLOCK];
	const struct log_file *file;
	uint8_t changed[2 * BLOCK];
	struct layout_cursor slot;
	struct harm harm;

	sound_make(&sound, (enum sound_end)_i);
	file = &sound.image.files[sound.cursor];
	ck_assert_uint_le(file->bytes, sizeof(changed));
	harm_init(&harm, "both slots flipped");
	harm.is_cursor_hit = true;
	memcpy(changed, file->data, file->bytes);
	changed[50] ^= 1;
	changed[LAYOUT_CURSOR_OFFSET + 50] ^= 1;
	sound_put_changed(&sound, sound.cursor, changed, file->bytes);
	harm_check(&harm, &sound);

	harm_init(&harm, "cursor full of zeros");
	harm.is_cursor_hit = true;
	sound_put_changed(&sound, sound.cursor, zeros, file->bytes);
	harm_check(&harm, &sound);

	harm_init(&harm, "cursor missing");
	harm.is_cursor_hit = true;
	sound_put(&sound);
	ck_assert_int_eq(unlinkat(sound.dir.fd, file->name, 0), 0);
	harm_check(&harm, &sound);

	for (unsigned int i = 0; i < 2; i++) {
		harm_init(&harm, "cursor of another log, %u slots", i + 1);
		harm.is_cursor_hit = true;
		ck_assert_int_eq(
		    layout_get_cursor(file->data + LAYOUT_CURSOR_OFFSET, &slot),
		    LAYOUT_OK);
		slot.log_id[3] ^= 1;
		slot.acked_seq += 1000;
		slot.delivered += 1000;
		slot.generation += 10;
		layout_put_cursor(changed + i * LAYOUT_CURSOR_OFFSET, &slot);
		sound_put_changed(&sound, sound.cursor, changed, file->bytes);
		harm_check(&harm, &sound);
	}
}
END_TEST

/* What is known of a last segment without headers must not be forgotten when
 * the log is opened again: the file is in quarantine then. */
START_TEST(test_the_last_segment_and_the_cursor_lost)
{
	const size_t last = SOUND_SEGMENTS - 1;
	const struct log_file *file;
	uint8_t changed[16384];
	struct harm harm;

	sound_make(&sound, (enum sound_end)_i);
	file = &sound.image.files[last];
	ck_assert_uint_le(file->bytes, sizeof(changed));
	harm_init(&harm, "headers of %s zeroed, no cursor", file->name);
	harm_bytes(&harm, &sound, last, 0, LAYOUT_DATA_OFFSET);
	harm.is_cursor_hit = true;
	memcpy(changed, file->data, file->bytes);
	memset(changed, 0, LAYOUT_DATA_OFFSET);
	sound_put_changed(&sound, last, changed, file->bytes);
	ck_assert_int_eq(unlinkat(sound.dir.fd, "cursor", 0), 0);
	harm_check(&harm, &sound);
}
END_TEST

/* The slot that was written before a segment was unlinked must not make its
 * ended events count as lost. */
START_TEST(test_a_slot_lost_after_a_segment_was_unlinked)
{
	struct harm harm;
	struct wal wal;
	uint8_t changed[2 * BLOCK];
	const struct log_file *file;

	sound_make(&sound, SOUND_KILLED);
	sound_put(&sound);
	ck_assert_int_eq(wal_open(&wal, sound.dir.fd, &sound_limits), WAL_OPEN);
	sound_end(
	    &wal, wal.catalog.segments[1].first_seq - 1 - sound.acked_seq);
	sound.acked_seq = wal_acked_seq(&wal);
	sound.first_seq = sound.acked_seq + 1;
	wal_abandon(&wal);
	log_image_free(&sound.image);
	log_image_take(&sound.image, &sound.dir);
	sound.cursor = sound.image.count - 1;
	file = &sound.image.files[sound.cursor];
	for (unsigned int i = 0; i < 2; i++) {
		harm_init(&harm, "slot %u lost after an unlink", i);
		harm.is_cursor_hit = true;
		memcpy(changed, file->data, file->bytes);
		changed[i * LAYOUT_CURSOR_OFFSET + 45] ^= 4;
		sound_put_changed(&sound, sound.cursor, changed, file->bytes);
		harm_check(&harm, &sound);
	}
}
END_TEST

static void
make_dir(void)
{
	sound_init(&sound);
}

static void
remove_dir(void)
{
	sound_fini(&sound);
}

static void
setup(void)
{
	sound_begin(&sound);
}

int
main(void)
{
	Suite *suite = suite_create("misplaced");
	TCase *tcase = tcase_create("misplaced");

	tcase_add_unchecked_fixture(tcase, make_dir, remove_dir);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_set_timeout(tcase, 600);
	/* Each is run on a log of each end. */
	tcase_add_loop_test(
	    tcase, test_each_two_segments_swapped, 0, SOUND_ENDS);
	tcase_add_loop_test(tcase, test_each_segment_removed, 0, SOUND_ENDS);
	tcase_add_loop_test(tcase,
	    test_each_segment_doubled_under_each_free_name, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_a_foreign_segment_under_each_free_name, 0, SOUND_ENDS);
	tcase_add_loop_test(tcase,
	    test_a_file_without_a_header_under_each_free_name, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_a_foreign_segment_in_place_of_each, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_a_cursor_lost_in_each_way, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_the_last_segment_and_the_cursor_lost, 0, SOUND_ENDS);
	tcase_add_test(tcase, test_a_slot_lost_after_a_segment_was_unlinked);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
