/*
 * Damage to the bytes of a log that was whole and durable: each bit flipped,
 * each file cut at each byte, sectors zeroed or unreadable. What must hold
 * after each is in damage.h.
 */
#include "t/damage.h"
#include "t/suite.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SECTOR 512
#define BLOCK 4096

static struct sound sound;

/* One read of a file that fails. */
static struct {
	bool is_on;
	ino_t inode;	   /* of the file; 0: of any but the test's own */
	uint64_t from, to; /* bytes that cannot be read */
	bool is_short; /* what stands before them is read, as a kernel does */
	unsigned int nth;   /* only this read fails; 0: each */
	unsigned int count; /* reads so far */
} bad;

ssize_t __real_pread(int fd, void *to, size_t bytes, off_t offset);
ssize_t __wrap_pread(int fd, void *to, size_t bytes, off_t offset);

ssize_t
__wrap_pread(int fd, void *to, size_t bytes, off_t offset)
{
	uint64_t from = (uint64_t)offset;
	struct stat st;

	if (!bad.is_on || fstat(fd, &st) == -1 ||
	    (bad.inode != 0 && st.st_ino != bad.inode) || from >= bad.to ||
	    from + bytes <= bad.from)
		return __real_pread(fd, to, bytes, offset);
	bad.count++;
	if (bad.nth != 0 && bad.nth != bad.count)
		return __real_pread(fd, to, bytes, offset);
	if (bad.is_short && from < bad.from)
		return __real_pread(fd, to, (size_t)(bad.from - from), offset);
	errno = EIO;
	return -1;
}

/* Says whether nothing but zeros is near, behind the end of all else. */
static bool
is_among_zeros(const struct log_file *file, size_t at)
{
	size_t from = at / 64 * 64;
	size_t to = from + 64 < file->bytes ? from + 64 : file->bytes;

	for (size_t i = from; i < to; i++)
		if (file->data[i] != 0)
			return false;
	return true;
}

/* Flips each bit of a file, but of zeros among zeros only one in 64 bytes. */
static unsigned int
flip_file(size_t index)
{
	struct log_file *file = &sound.image.files[index];
	unsigned int flips = 0;

	for (size_t at = 0; at < file->bytes; at++) {
		bool is_sampled = is_among_zeros(file, at);

		for (unsigned int bit = 0; bit < 8; bit++) {
			struct harm harm;

			if (is_sampled &&
			    at * 8 + bit != at / 64 * 512 + at / 64 * 37 % 512)
				continue;
			harm_init(&harm, "bit %u of byte %zu of %s flipped",
			    bit, at, file->name);
			harm_bytes(&harm, &sound, index, at, at + 1);
			file->data[at] ^= (uint8_t)(1U << bit);
			sound_put(&sound);
			file->data[at] ^= (uint8_t)(1U << bit);
			/* The long check for one bit of a byte. */
			if (bit == at % 8)
				harm_check(&harm, &sound);
			else
				harm_look(&harm, &sound);
			flips++;
		}
	}
	return flips;
}

START_TEST(test_each_bit_flipped_in_a_segment)
{
	unsigned int flips = 0;

	sound_make(&sound, (enum sound_end)_i);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++)
		flips += flip_file(i);
	ck_assert_uint_ge(flips, 5000);
}
END_TEST

START_TEST(test_each_bit_flipped_in_the_cursor)
{
	sound_make(&sound, (enum sound_end)_i);
	ck_assert_uint_ge(flip_file(sound.cursor), 16 * LAYOUT_CURSOR_BYTES);
}
END_TEST

/* Cuts a file at each byte. */
static void
cut_file(size_t index)
{
	const struct log_file *file = &sound.image.files[index];

	for (size_t bytes = 0; bytes < file->bytes; bytes++) {
		struct harm harm;

		harm_init(&harm, "%s cut to %zu bytes", file->name, bytes);
		harm_bytes(&harm, &sound, index, bytes, file->bytes);
		harm.is_gone = true;
		sound_put_changed(&sound, index, file->data, bytes);
		if (bytes % 5 == 0)
			harm_check(&harm, &sound);
		else
			harm_look(&harm, &sound);
	}
}

START_TEST(test_each_segment_but_the_last_cut_at_each_byte)
{
	sound_make(&sound, (enum sound_end)_i);
	for (size_t i = 0; i + 1 < SOUND_SEGMENTS; i++)
		cut_file(i);
}
END_TEST

START_TEST(test_the_last_segment_cut_at_each_byte)
{
	sound_make(&sound, (enum sound_end)_i);
	cut_file(SOUND_SEGMENTS - 1);
}
END_TEST

START_TEST(test_the_cursor_cut_at_each_byte)
{
	sound_make(&sound, (enum sound_end)_i);
	cut_file(sound.cursor);
}
END_TEST

/* Puts zeros for each piece of `piece` bytes of each file in turn. */
static void
zero_pieces(size_t piece)
{
	for (size_t i = 0; i < sound.image.count; i++) {
		const struct log_file *file = &sound.image.files[i];
		uint8_t changed[16384];

		ck_assert_uint_le(file->bytes, sizeof(changed));
		for (size_t at = 0; at < file->bytes; at += piece) {
			size_t left = file->bytes - at;
			struct harm harm;

			if (left > piece)
				left = piece;
			harm_init(&harm, "bytes %zu to %zu of %s zeroed", at,
			    at + left - 1, file->name);
			harm_bytes(&harm, &sound, i, at, at + left);
			/* Zeros up to the end are not worth a copy. */
			harm.is_gone = i == SOUND_SEGMENTS - 1;
			memcpy(changed, file->data, file->bytes);
			memset(changed + at, 0, left);
			sound_put_changed(&sound, i, changed, file->bytes);
			harm_check(&harm, &sound);
		}
	}
}

START_TEST(test_each_sector_zeroed)
{
	sound_make(&sound, (enum sound_end)_i);
	zero_pieces(SECTOR);
}
END_TEST

START_TEST(test_each_block_zeroed)
{
	sound_make(&sound, (enum sound_end)_i);
	zero_pieces(BLOCK);
}
END_TEST

/* Makes the bytes from..to-1 of a file unreadable. */
static void
break_bytes(size_t file, uint64_t from, uint64_t to)
{
	struct stat st;

	ck_assert_int_eq(
	    fstatat(sound.dir.fd, sound.image.files[file].name, &st, 0), 0);
	bad.is_on = true;
	bad.inode = st.st_ino;
	bad.from = from;
	bad.to = to;
	bad.count = 0;
}

/* Nothing was written over what could not be read: once it can be read again,
 * all of it is there. */
static void
check_readable_again(const struct harm *harm)
{
	struct harm_outcome out;
	struct wal wal;

	bad.is_on = false;
	harm_open(harm, &sound, &wal);
	out = harm_read(harm, &sound, &wal, sound.last_seq, false);
	ck_assert_msg(out.damaged == 0, "%s: %" PRIu64 " lost, and for ever",
	    harm->what, out.damaged);
	wal_abandon(&wal);
}

/* Each sector of each file in turn cannot be read, for ever. */
START_TEST(test_each_sector_unreadable)
{
	struct harm harm;

	sound_make(&sound, (enum sound_end)(_i % SOUND_ENDS));
	bad.is_short = _i / SOUND_ENDS == 1;
	for (size_t i = 0; i < sound.image.count; i++) {
		const struct log_file *file = &sound.image.files[i];

		for (size_t at = 0; at < file->bytes; at += SECTOR) {
			harm_init(&harm, "sector %zu of %s unreadable",
			    at / SECTOR, file->name);
			harm_bytes(&harm, &sound, i, at, at + SECTOR);
			harm.is_unread = true;
			sound_put(&sound);
			break_bytes(i, at, at + SECTOR);
			harm_check(&harm, &sound);

			sound_put(&sound);
			break_bytes(i, at, at + SECTOR);
			harm_look(&harm, &sound);
			if (i != sound.cursor)
				check_readable_again(&harm);
			bad.is_on = false;
		}
	}
}
END_TEST

/* One read fails, whichever: the log opens, or says that it does not. */
START_TEST(test_one_read_that_fails_once)
{
	unsigned int reads;

	sound_make(&sound, (enum sound_end)_i);
	for (size_t i = 0; i < SOUND_SEGMENTS; i++) {
		reads = 1;
		for (unsigned int nth = 1; nth <= reads; nth++) {
			struct harm harm;
			struct wal wal;

			harm_init(&harm, "read %u of %s fails", nth,
			    sound.image.files[i].name);
			harm_bytes(
			    &harm, &sound, i, 0, sound.image.files[i].bytes);
			sound_put(&sound);
			break_bytes(i, 0, UINT64_MAX);
			bad.nth = nth;
			harm_open(&harm, &sound, &wal);
			(void)harm_read(
			    &harm, &sound, &wal, sound.last_seq, false);
			wal_abandon(&wal);
			reads = bad.count;
			check_readable_again(&harm);
		}
	}
	bad.nth = 0;
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
	Suite *suite = suite_create("damage");
	TCase *tcase = tcase_create("damage");

	tcase_add_unchecked_fixture(tcase, make_dir, remove_dir);
	tcase_add_checked_fixture(tcase, setup, NULL);
	tcase_set_timeout(tcase, 600);
	/* Each on a log of each end; the flips, which are many, on two. */
	tcase_add_loop_test(
	    tcase, test_each_bit_flipped_in_a_segment, 0, SOUND_UNMARKED);
	tcase_add_loop_test(
	    tcase, test_each_bit_flipped_in_the_cursor, 0, SOUND_UNMARKED);
	tcase_add_loop_test(tcase,
	    test_each_segment_but_the_last_cut_at_each_byte, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_the_last_segment_cut_at_each_byte, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_the_cursor_cut_at_each_byte, 0, SOUND_ENDS);
	tcase_add_loop_test(tcase, test_each_sector_zeroed, 0, SOUND_ENDS);
	tcase_add_loop_test(tcase, test_each_block_zeroed, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_one_read_that_fails_once, 0, SOUND_ENDS);
	tcase_add_loop_test(
	    tcase, test_each_sector_unreadable, 0, 2 * SOUND_ENDS);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
