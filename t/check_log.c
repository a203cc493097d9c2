#include "stage/log.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static int pipe_fds[2];
static struct timespec fake_now;

int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

/* The clock stands where a test puts it. */
int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	(void)clock;
	*now = fake_now;
	return 0;
}

/* Standard error becomes a pipe; Check forks, so only for this test. */
static void
set_up(void)
{
	fake_now =
	    (struct timespec){.tv_sec = 1769860800, .tv_nsec = 123456789};
	ck_assert_int_eq(pipe2(pipe_fds, O_NONBLOCK), 0);
	ck_assert_int_eq(dup2(pipe_fds[1], STDERR_FILENO), STDERR_FILENO);
	log_init("walproc", LOG_INFO);
}

/* Returns what was logged since the last call, at most `room` - 1 bytes. */
static const char *
logged(char *text, size_t room)
{
	ssize_t n = read(pipe_fds[0], text, room - 1);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

START_TEST(test_line_has_time_name_pid_level_and_text)
{
	char text[2 * LOG_LINE_BYTES], wanted[LOG_LINE_BYTES];

	log_info("segment %d: rolled bytes=%zu", 7, (size_t)4096);
	(void)snprintf(wanted, sizeof(wanted),
	    "2026-01-31T12:00:00.123Z walproc[%d] info segment 7: rolled "
	    "bytes=4096\n",
	    (int)getpid());
	ck_assert_str_eq(logged(text, sizeof(text)), wanted);
}
END_TEST

START_TEST(test_level_decides_what_is_written)
{
	char text[2 * LOG_LINE_BYTES];

	log_init("t", LOG_WARN);
	log_info("no");
	log_debug("no");
	ck_assert_str_eq(logged(text, sizeof(text)), "");
	log_warn("one");
	ck_assert_ptr_nonnull(strstr(logged(text, sizeof(text)), " warn one"));
	log_error("two");
	ck_assert_ptr_nonnull(strstr(logged(text, sizeof(text)), "error two"));
	log_init("t", LOG_DEBUG);
	log_debug("three");
	ck_assert_ptr_nonnull(strstr(logged(text, sizeof(text)), "bug three"));
	ck_assert_str_eq(log_level_name(LOG_WARN), "warn");
}
END_TEST

START_TEST(test_errno_is_printed_and_kept)
{
	char text[2 * LOG_LINE_BYTES];

	errno = EIO;
	log_error("fdatasync: %m");
	ck_assert_int_eq(errno, EIO);
	ck_assert_ptr_nonnull(strstr(
	    logged(text, sizeof(text)), "fdatasync: Input/output error\n"));
	log_debug("not written");
	ck_assert_int_eq(errno, EIO);
}
END_TEST

START_TEST(test_line_of_any_length_is_cut_at_the_cap)
{
	char text[4 * LOG_LINE_BYTES], long_text[2 * LOG_LINE_BYTES];

	for (size_t n = LOG_LINE_BYTES - 100; n < sizeof(long_text); n++) {
		size_t bytes;

		memset(long_text, 'x', n);
		long_text[n] = '\0';
		log_error("%s", long_text);
		bytes = strlen(logged(text, sizeof(text)));
		ck_assert_uint_le(bytes, LOG_LINE_BYTES);
		ck_assert_uint_gt(bytes, LOG_LINE_BYTES - 100);
		ck_assert_ptr_eq(strchr(text, '\n'), text + bytes - 1);
	}
}
END_TEST

/* Nobody reads: the lines are lost, the process goes on. */
START_TEST(test_full_pipe_does_not_block)
{
	char text[LOG_LINE_BYTES];

	ck_assert_int_eq(fcntl(pipe_fds[1], F_SETFL, 0), 0);
	for (int i = 0; i < 5000; i++)
		log_error("%0900d", i);
	ck_assert_ptr_nonnull(strstr(logged(text, sizeof(text)), "error 000"));
}
END_TEST

START_TEST(test_closed_stderr_does_no_harm)
{
	(void)close(STDERR_FILENO);
	errno = EIO;
	log_error("into the void");
	ck_assert_int_eq(errno, EIO);
}
END_TEST

START_TEST(test_time)
{
	static const struct {
		int64_t ns;
		const char *text;
	} table[] = {
	    {0, "1970-01-01T00:00:00.000Z"},
	    {999999, "1970-01-01T00:00:00.000Z"},
	    {1600860720749137000, "2020-09-23T11:32:00.749Z"},
	    {1709164799999999999, "2024-02-28T23:59:59.999Z"},
	    {INT64_MAX, "2262-04-11T23:47:16.854Z"},
	};
	char out[LOG_TIME_BYTES];

	for (size_t i = 0; i < COUNT(table); i++) {
		log_time(out, table[i].ns);
		ck_assert_str_eq(out, table[i].text);
	}
}
END_TEST

START_TEST(test_escape)
{
	static const struct {
		const char *in;
		size_t n;
		const char *out;
	} table[] = {
	    {"", 0, ""},
	    {"plain ~", 7, "plain ~"},
	    {"\n\r\t\\\"", 5, "\\n\\r\\t\\\\\\\""},
	    {"\0\x01\x1f\x7f\x80\xff", 6, "\\x00\\x01\\x1f\\x7f\\x80\\xff"},
	    {"\x1b[31m", 5, "\\x1b[31m"},
	    {"\xc3\xa9", 2, "\\xc3\\xa9"},
	};
	char out[64];

	for (size_t i = 0; i < COUNT(table); i++)
		ck_assert_str_eq(
		    log_escape(out, sizeof(out), table[i].in, table[i].n),
		    table[i].out);
}
END_TEST

START_TEST(test_escape_cuts_between_characters)
{
	static const struct {
		const char *in;
		const char *out;
	} table[] = {
	    {"1234567", "1234567"},
	    {"12345678", "1234..."},
	    {"12\x01", "12\\x01"},
	    {"123\x01", "123\\x01"},
	    {"1234\x01", "1234..."},
	    {"1\x01\x01", "1..."},
	    {"\x01\x01", "\\x01..."},
	    {"\n\n\n\n", "\\n\\n..."},
	};
	char out[8];

	for (size_t i = 0; i < COUNT(table); i++)
		ck_assert_str_eq(log_escape(out, sizeof(out), table[i].in,
				     strlen(table[i].in)),
		    table[i].out);
}
END_TEST

START_TEST(test_limit_passes_one_a_second_and_counts_the_rest)
{
	struct log_limit limit = {0};
	unsigned long held = 77;

	ck_assert(log_limit_passes(&limit, &held));
	ck_assert_uint_eq(held, 0);
	ck_assert(!log_limit_passes(&limit, &held));
	fake_now.tv_nsec += 876543210;
	ck_assert(!log_limit_passes(&limit, &held));
	ck_assert_uint_eq(held, 0);
	fake_now.tv_sec++;
	ck_assert(log_limit_passes(&limit, &held));
	ck_assert_uint_eq(held, 2);
	fake_now.tv_sec++;
	ck_assert(log_limit_passes(&limit, &held));
	ck_assert_uint_eq(held, 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("log");
	TCase *tests = tcase_create("log");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_line_has_time_name_pid_level_and_text);
	tcase_add_test(tests, test_level_decides_what_is_written);
	tcase_add_test(tests, test_errno_is_printed_and_kept);
	tcase_add_test(tests, test_line_of_any_length_is_cut_at_the_cap);
	tcase_add_test(tests, test_full_pipe_does_not_block);
	tcase_add_test(tests, test_closed_stderr_does_no_harm);
	tcase_add_test(tests, test_time);
	tcase_add_test(tests, test_escape);
	tcase_add_test(tests, test_escape_cuts_between_characters);
	tcase_add_test(
	    tests, test_limit_passes_one_a_second_and_counts_the_rest);
	return suite_run(suite);
}
