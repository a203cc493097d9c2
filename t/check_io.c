#include "stage/io.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* What the next calls of one function do, then the real one is used. */
struct step {
	enum {
		SHORT,
		FAIL,
		NOTHING
	} what;
	int error;    /* FAIL */
	size_t bytes; /* SHORT: how many pass */
};

static const struct step *steps;
static size_t steps_left;
static int fd;

ssize_t __real_pwrite(int, const void *, size_t, off_t);
ssize_t __real_pread(int, void *, size_t, off_t);
ssize_t __real_write(int, const void *, size_t);
ssize_t __real_read(int, void *, size_t);
ssize_t __wrap_pwrite(int, const void *, size_t, off_t);
ssize_t __wrap_pread(int, void *, size_t, off_t);
ssize_t __wrap_write(int, const void *, size_t);
ssize_t __wrap_read(int, void *, size_t);

/* Takes the next step. Returns false if there is none; else true with *result
 * for a call that does nothing, or *bytes cut for one that does less. */
static bool
next_step(size_t *bytes, ssize_t *result)
{
	const struct step *step = steps;

	if (steps_left == 0)
		return false;
	steps++;
	steps_left--;
	*result = step->what == FAIL ? -1 : 0;
	if (step->what == FAIL)
		errno = step->error;
	if (step->what != SHORT)
		return true;
	if (step->bytes < *bytes)
		*bytes = step->bytes;
	return false;
}

ssize_t
__wrap_pwrite(int to, const void *data, size_t bytes, off_t offset)
{
	ssize_t result;

	if (next_step(&bytes, &result))
		return result;
	return __real_pwrite(to, data, bytes, offset);
}

ssize_t
__wrap_pread(int from, void *data, size_t bytes, off_t offset)
{
	ssize_t result;

	if (next_step(&bytes, &result))
		return result;
	return __real_pread(from, data, bytes, offset);
}

ssize_t
__wrap_write(int to, const void *data, size_t bytes)
{
	ssize_t result;

	if (next_step(&bytes, &result))
		return result;
	return __real_write(to, data, bytes);
}

ssize_t
__wrap_read(int from, void *data, size_t bytes)
{
	ssize_t result;

	if (next_step(&bytes, &result))
		return result;
	return __real_read(from, data, bytes);
}

#define SCRIPT(...) \
	static const struct step script[] = {__VA_ARGS__}; \
	steps = script; \
	steps_left = sizeof(script) / sizeof(script[0])

static void
set_up(void)
{
	fd = memfd_create("check_io", MFD_CLOEXEC);
	ck_assert_int_ne(fd, -1);
	steps_left = 0;
}

static void
assert_content(const char *wanted)
{
	char text[64];
	ssize_t n = __real_pread(fd, text, sizeof(text), 0);

	ck_assert_int_eq(n, (ssize_t)strlen(wanted));
	ck_assert_mem_eq(text, wanted, (size_t)n);
}

START_TEST(test_pwrite_goes_on_after_short_counts)
{
	SCRIPT({SHORT, 0, 1}, {FAIL, EINTR, 0}, {SHORT, 0, 3});
	ck_assert_int_eq(io_pwrite_full(fd, "abcdefgh", 8, 0), 0);
	ck_assert_int_eq(io_pwrite_full(fd, "XY", 2, 3), 0);
	assert_content("abcXYfgh");
}
END_TEST

START_TEST(test_pwrite_stops_at_an_error)
{
	SCRIPT({SHORT, 0, 2}, {FAIL, ENOSPC, 0});
	ck_assert_int_eq(io_pwrite_full(fd, "abcd", 4, 0), -1);
	ck_assert_int_eq(errno, ENOSPC);
	assert_content("ab");
}
END_TEST

START_TEST(test_pwrite_of_nothing_is_no_endless_loop)
{
	SCRIPT({NOTHING, 0, 0});
	ck_assert_int_eq(io_pwrite_full(fd, "abcd", 4, 0), -1);
	ck_assert_int_eq(errno, ENOSPC);
	ck_assert_int_eq(io_pwrite_full(fd, "", 0, 0), 0);
}
END_TEST

START_TEST(test_pread_goes_on_after_short_counts)
{
	char text[8];

	SCRIPT({SHORT, 0, 1}, {FAIL, EINTR, 0}, {SHORT, 0, 3});
	ck_assert_int_eq(__real_pwrite(fd, "abcdefgh", 8, 0), 8);
	ck_assert_int_eq(io_pread_full(fd, text, 8, 0), 8);
	ck_assert_mem_eq(text, "abcdefgh", 8);
}
END_TEST

START_TEST(test_pread_is_short_at_the_end_only)
{
	char text[8];

	ck_assert_int_eq(__real_pwrite(fd, "abcd", 4, 0), 4);
	ck_assert_int_eq(io_pread_full(fd, text, 8, 1), 3);
	ck_assert_mem_eq(text, "bcd", 3);
	ck_assert_int_eq(io_pread_full(fd, text, 8, 4), 0);
	ck_assert_int_eq(io_pread_full(fd, text, 8, 400), 0);
}
END_TEST

/* An error is not the end of the file, not even after a part was read. */
START_TEST(test_pread_error_is_no_short_count)
{
	char text[8];

	SCRIPT({SHORT, 0, 2}, {FAIL, EIO, 0});
	ck_assert_int_eq(__real_pwrite(fd, "abcd", 4, 0), 4);
	ck_assert_int_eq(io_pread_full(fd, text, 4, 0), -1);
	ck_assert_int_eq(errno, EIO);
}
END_TEST

START_TEST(test_write_goes_on_after_short_counts)
{
	SCRIPT({FAIL, EINTR, 0}, {SHORT, 0, 1}, {SHORT, 0, 2});
	ck_assert_int_eq(io_write_full(fd, "abcdefgh", 8), 0);
	assert_content("abcdefgh");
}
END_TEST

START_TEST(test_write_stops_at_an_error)
{
	SCRIPT({SHORT, 0, 2}, {FAIL, EPIPE, 0}, {SHORT, 0, 1}, {NOTHING, 0, 0});
	ck_assert_int_eq(io_write_full(fd, "abcd", 4), -1);
	ck_assert_int_eq(errno, EPIPE);
	ck_assert_int_eq(io_write_full(fd, "cd", 2), -1);
	ck_assert_int_eq(errno, ENOSPC);
}
END_TEST

/* Returns a path to the temporary file of this test. */
static const char *
path_of_file(void)
{
	static char path[32];

	(void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return path;
}

START_TEST(test_read_file_is_whole_with_a_nul)
{
	size_t n = 77;
	char *text;

	SCRIPT({SHORT, 0, 3}, {FAIL, EINTR, 0});
	ck_assert_int_eq(__real_pwrite(fd, "ab\0cdefg", 8, 0), 8);
	text = io_read_file(path_of_file(), 100, &n);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_eq(n, 8);
	ck_assert_mem_eq(text, "ab\0cdefg", 9);
	free(text);
}
END_TEST

START_TEST(test_read_file_at_the_cap_and_over)
{
	size_t n = 77;
	char *text;

	ck_assert_int_eq(__real_pwrite(fd, "abcdefgh", 8, 0), 8);
	ck_assert_ptr_null(io_read_file(path_of_file(), 7, &n));
	ck_assert_int_eq(errno, EFBIG);
	ck_assert_uint_eq(n, 77);
	text = io_read_file(path_of_file(), 8, &n);
	ck_assert_ptr_nonnull(text);
	ck_assert_uint_eq(n, 8);
	free(text);
}
END_TEST

START_TEST(test_read_file_that_cannot_be_read)
{
	size_t n = 77;

	ck_assert_ptr_null(io_read_file("/nonexistent/file", 8, &n));
	ck_assert_int_eq(errno, ENOENT);
	ck_assert_ptr_null(io_read_file("/", 8, &n));
	ck_assert_int_eq(errno, EISDIR);
	ck_assert_uint_eq(n, 77);
}
END_TEST

START_TEST(test_what_is_a_socket)
{
	int pair[2], pipe_fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
	ck_assert_int_eq(pipe(pipe_fds), 0);
	ck_assert(io_is_socket(pair[0]));
	ck_assert(!io_is_socket(pipe_fds[0]));
	ck_assert(!io_is_socket(fd));
	ck_assert(!io_is_socket(-1));
	ck_assert(io_is_open(pair[0]));
	(void)close(pair[0]);
	ck_assert(!io_is_open(pair[0]));
}
END_TEST

/* What it says can be written at once, and no byte more is promised. */
START_TEST(test_room_in_a_pipe)
{
	static const char data[1 << 16];
	char back[PIPE_BUF];
	int ends[2], size;

	ck_assert_int_eq(pipe(ends), 0);
	size = fcntl(ends[1], F_GETPIPE_SZ);
	ck_assert_int_eq(size, sizeof(data));
	ck_assert_uint_eq(io_pipe_room(ends[1]), sizeof(data));
	ck_assert_int_eq(write(ends[1], data, sizeof(data)), sizeof(data));
	/* Read in part, a page takes its place still. */
	ck_assert_int_eq(read(ends[0], back, sizeof(back)), sizeof(back));
	ck_assert_uint_eq(io_pipe_room(ends[1]), PIPE_BUF);
	ck_assert_int_eq(write(ends[1], data, PIPE_BUF), PIPE_BUF);
	for (int i = 0; i < size / PIPE_BUF; i++) {
		ck_assert_uint_eq(io_pipe_room(ends[1]), PIPE_BUF);
		ck_assert_int_eq(
		    read(ends[0], back, sizeof(back)), sizeof(back));
	}
	ck_assert_uint_eq(io_pipe_room(ends[1]), sizeof(data));
	(void)close(ends[0]);
	(void)close(ends[1]);
}
END_TEST

START_TEST(test_room_in_what_is_no_pipe)
{
	int null_fd = open("/dev/null", O_WRONLY), pair[2];

	/* A file never has none; of what else there is nothing is known. */
	ck_assert_uint_eq(io_pipe_room(fd), SIZE_MAX);
	ck_assert_uint_eq(io_pipe_room(null_fd), PIPE_BUF);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
	ck_assert_uint_eq(io_pipe_room(pair[0]), PIPE_BUF);
	(void)close(null_fd);
	(void)close(pair[0]);
	(void)close(pair[1]);
}
END_TEST

START_TEST(test_standard_descriptors_are_claimed)
{
	int next;

	(void)close(0);
	(void)close(2);
	ck_assert_int_eq(io_claim_stdio(), 0);
	ck_assert(io_is_open(0) && io_is_open(1) && io_is_open(2));
	next = dup(fd);
	ck_assert_int_gt(next, 2);
	ck_assert_int_eq(io_claim_stdio(), 0);
	ck_assert_int_eq(dup(fd), next + 1);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("io");
	TCase *tests = tcase_create("io");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_pwrite_goes_on_after_short_counts);
	tcase_add_test(tests, test_pwrite_stops_at_an_error);
	tcase_add_test(tests, test_pwrite_of_nothing_is_no_endless_loop);
	tcase_add_test(tests, test_pread_goes_on_after_short_counts);
	tcase_add_test(tests, test_pread_is_short_at_the_end_only);
	tcase_add_test(tests, test_pread_error_is_no_short_count);
	tcase_add_test(tests, test_write_goes_on_after_short_counts);
	tcase_add_test(tests, test_write_stops_at_an_error);
	tcase_add_test(tests, test_read_file_is_whole_with_a_nul);
	tcase_add_test(tests, test_read_file_at_the_cap_and_over);
	tcase_add_test(tests, test_read_file_that_cannot_be_read);
	tcase_add_test(tests, test_what_is_a_socket);
	tcase_add_test(tests, test_room_in_a_pipe);
	tcase_add_test(tests, test_room_in_what_is_no_pipe);
	tcase_add_test(tests, test_standard_descriptors_are_claimed);
	return suite_run(suite);
}
