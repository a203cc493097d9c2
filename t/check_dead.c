/*
 * The dead letter file after a crash: what was durable stays as it is, whole
 * letters behind it stay, and what a power cut left of others goes.
 */
#include "t/log_dir.h"
#include "t/suite.h"
#include "walproc/dead.h"

#include <check.h>

#include <stdlib.h>
#include <string.h>

#define NAME "dead-letters.ndjson"
#define SECTOR ((size_t)512)

static struct log_dir dir;

/* Reads the letters; the caller frees the bytes. */
static struct log_file
read_letters(void)
{
	struct log_image image;
	struct log_file file = {.data = NULL};

	log_image_take(&image, &dir);
	for (size_t i = 0; i < image.count; i++) {
		if (strcmp(image.files[i].name, NAME) != 0)
			continue;
		file = image.files[i];
		image.files[i].data = NULL;
	}
	log_image_free(&image);
	ck_assert_ptr_nonnull(file.data);
	return file;
}

static void
setup(void)
{
	log_dir_make(&dir);
}

static void
teardown(void)
{
	log_dir_remove(&dir);
}

/* Makes a file of three letters; *durable is where the first ends. */
static struct log_file
make_letters(uint64_t *durable)
{
	static const char big[1500] = "not JSON";
	struct dead dead;

	ck_assert_int_eq(dead_open(&dead, dir.fd, 0), 0);
	ck_assert_int_eq(dead_write(&dead, "a", 1, DEAD_NONE, big, 700), 0);
	ck_assert_int_eq(dead_sync(&dead), 0);
	*durable = dead.end_bytes;
	ck_assert_int_eq(dead_write(&dead, "b", 2, DEAD_NONE, big, 1500), 0);
	ck_assert_int_eq(dead_write(&dead, "c", 3, 7, big, 900), 0);
	dead_close(&dead);
	return read_letters();
}

/* Opens the file and writes one more letter; returns what is there then. */
static struct log_file
open_and_write(uint64_t durable)
{
	struct dead dead;

	ck_assert_int_eq(dead_open(&dead, dir.fd, durable), 0);
	ck_assert_int_eq(dead_write(&dead, "d", 0, DEAD_NONE, "x", 1), 0);
	ck_assert_int_eq(dead_sync(&dead), 0);
	dead_close(&dead);
	return read_letters();
}

/* Each line is a letter, or none at all. */
static size_t
count_letters(const struct log_file *file)
{
	size_t count = 0, start = 0;

	for (size_t i = 0; i < file->bytes; i++) {
		if (file->data[i] != '\n') {
			ck_assert_uint_ge(file->data[i], 0x20);
			continue;
		}
		ck_assert_mem_eq(file->data + start, "{\"time\":\"", 9);
		ck_assert_mem_eq(file->data + i - 2, "\"}", 2);
		start = i + 1;
		count++;
	}
	ck_assert_uint_eq(start, file->bytes);
	return count;
}

static void
check_after(const struct log_file *before, uint64_t durable)
{
	struct log_file after = open_and_write(durable);
	size_t count = count_letters(&after);

	ck_assert_uint_ge(count, 2);
	ck_assert_uint_le(count, 4);
	ck_assert_mem_eq(after.data, before->data, durable);
	free(after.data);
}

START_TEST(test_a_cut_at_any_byte_leaves_whole_letters)
{
	uint64_t durable;
	struct log_file file = make_letters(&durable);

	for (size_t cut = (size_t)durable; cut <= file.bytes; cut++) {
		log_dir_write(&dir, NAME, file.data, cut);
		check_after(&file, durable);
	}
	free(file.data);
}
END_TEST

/* Sectors that were never written read as zeros, also before ones that were. */
START_TEST(test_sectors_left_out_cost_the_letters_from_there_on)
{
	uint64_t durable;
	struct log_file file = make_letters(&durable);
	size_t sectors = (file.bytes + SECTOR - 1) / SECTOR;
	uint8_t *torn = malloc(file.bytes);

	ck_assert_uint_gt(sectors, 6);
	ck_assert_uint_lt(sectors, 16);
	for (unsigned int left_out = 0; left_out < 1u << sectors;
	     left_out += 3) {
		memcpy(torn, file.data, file.bytes);
		for (size_t i = durable; i < file.bytes; i++)
			if ((left_out >> i / SECTOR & 1) != 0)
				torn[i] = 0;
		log_dir_write(&dir, NAME, torn, file.bytes);
		check_after(&file, durable);
	}
	free(torn);
	free(file.data);
}
END_TEST

/* What was durable is not judged: a person looks at it. */
START_TEST(test_damage_to_what_was_durable_is_not_cut)
{
	uint64_t durable;
	struct log_file file = make_letters(&durable), after;

	file.data[40] = 0;
	log_dir_write(&dir, NAME, file.data, file.bytes);
	after = open_and_write(durable);
	ck_assert_uint_gt(after.bytes, file.bytes);
	ck_assert_mem_eq(after.data, file.data, file.bytes);
	free(after.data);
	log_dir_write(&dir, NAME, file.data, file.bytes);
	after = open_and_write(UINT64_MAX);
	ck_assert_uint_gt(after.bytes, file.bytes);
	ck_assert_mem_eq(after.data, file.data, file.bytes);
	free(after.data);
	free(file.data);
}
END_TEST

/* A file that was moved away and begun anew is shorter than what was noted. */
START_TEST(test_a_new_file_is_shorter_than_what_was_noted)
{
	uint64_t durable;
	struct log_file file = make_letters(&durable), after;

	log_dir_write(&dir, NAME, file.data, (size_t)durable + 9);
	after = open_and_write(durable + 100000);
	ck_assert_uint_eq(count_letters(&after), 2);
	free(after.data);
	/* Or longer, and no line starts there. */
	log_dir_write(&dir, NAME, file.data, file.bytes - 1);
	after = open_and_write(durable + 5);
	ck_assert_uint_eq(count_letters(&after), 3);
	free(after.data);
	free(file.data);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("dead");
	TCase *tcase = tcase_create("dead");

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 600);
	tcase_add_test(tcase, test_a_cut_at_any_byte_leaves_whole_letters);
	tcase_add_test(
	    tcase, test_sectors_left_out_cost_the_letters_from_there_on);
	tcase_add_test(tcase, test_damage_to_what_was_durable_is_not_cut);
	tcase_add_test(tcase, test_a_new_file_is_shorter_than_what_was_noted);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
