#include "supervisor/journal.h"
#include "supervisor/logline.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
/* The form of a line of the sink, in the next structure. */
#define SINK_LINE(level) \
	"2026-01-31T12:00:00.123Z wssink[812] " level " the far end left"

static struct timespec now;
static int calls;	  /* of write */
static size_t room_bytes; /* on the disk */
static char text[1 << 20];
static size_t text_bytes;
static struct journal journal;
static struct flood flood;
static const struct journal_stage stage = {
    .instance = "01",
    .id = "ws",
    .program = "wssink",
    .pid = 812,
    .flood = &flood,
};

int __wrap_clock_gettime(clockid_t clock, struct timespec *at);
ssize_t __wrap_write(int fd, const void *in, size_t bytes);
ssize_t __real_write(int fd, const void *in, size_t bytes);

/* The clock stands where a test puts it. */
int
__wrap_clock_gettime(clockid_t clock, struct timespec *at)
{
	(void)clock;
	*at = now;
	return 0;
}

/* The log goes to a disk that may be full; Check's own pipe is left alone. */
ssize_t
__wrap_write(int fd, const void *in, size_t bytes)
{
	if (fd != STDERR_FILENO)
		return __real_write(fd, in, bytes);
	calls++;
	if (room_bytes == 0) {
		errno = ENOSPC;
		return -1;
	}
	if (bytes > room_bytes)
		bytes = room_bytes;
	ck_assert_uint_lt(text_bytes + bytes, sizeof(text));
	memcpy(text + text_bytes, in, bytes);
	text_bytes += bytes;
	text[text_bytes] = '\0';
	room_bytes -= bytes;
	return (ssize_t)bytes;
}

static void
set_up(void)
{
	FILE *out = tmpfile();

	/* What poll is asked about: a file is always ready. */
	ck_assert_ptr_nonnull(out);
	ck_assert_int_eq(dup2(fileno(out), STDERR_FILENO), STDERR_FILENO);
	now = (struct timespec){.tv_sec = 1769860800, .tv_nsec = 123456789};
	calls = 0;
	room_bytes = SIZE_MAX;
	text_bytes = 0;
	flood = (struct flood){0};
	journal_init(&journal, JOURNAL_TEXT, LOG_INFO);
}

static void
pass(const char *line)
{
	journal_pass(&journal, &stage, line, strlen(line));
}

/* How often `words` stand in the log. */
static int
count(const char *words)
{
	int n = 0;

	for (const char *at = text; (at = strstr(at, words)) != NULL; at++)
		n++;
	return n;
}

/* The line in the log that is `back` before the last, without its newline. */
static const char *
line_from_end(int back)
{
	static char line[LOGLINE_BYTES];
	size_t end = text_bytes - 1, start;

	for (;; end = start - 1) {
		for (start = end; start > 0 && text[start - 1] != '\n';)
			start--;
		if (back-- == 0)
			break;
	}
	(void)snprintf(
	    line, sizeof(line), "%.*s", (int)(end - start), text + start);
	return line;
}

START_TEST(test_each_line_is_one_write)
{
	static char many[3 * LOG_LINE_BYTES];
	static const enum journal_format formats[] = {
	    JOURNAL_TEXT, JOURNAL_JSON};
	int lines = 0;

	memset(many, '"', sizeof(many) - 1);
	for (size_t i = 0; i < COUNT(formats); i++) {
		journal.format = formats[i];
		journal_say(&journal, LOG_INFO, "a %s", many);
		journal_say_about(&journal, LOG_INFO, &stage, "b %s", many);
		pass(many);
		pass(SINK_LINE("info"));
		for (int n = 0; n < 4; n++) {
			ck_assert_int_eq(calls, lines + 4);
			ck_assert_uint_lt(
			    strlen(line_from_end(n)), LOGLINE_BYTES);
		}
		lines += 4;
		ck_assert_int_eq(count("\n"), lines);
		ck_assert_int_eq(text[text_bytes - 1], '\n');
	}
}
END_TEST

/* Lines for which there is no room are counted to the last, and why. */
START_TEST(test_a_full_disk)
{
	journal_say(&journal, LOG_INFO, "before");
	room_bytes = 0;
	journal_say(&journal, LOG_INFO, "first");
	journal_say_about(&journal, LOG_INFO, &stage, "second");
	pass("third");
	journal_say(&journal, LOG_DEBUG, "not for this level");
	ck_assert_int_eq(count("\n"), 1);
	room_bytes = SIZE_MAX;
	journal_say(&journal, LOG_INFO, "after");
	ck_assert_int_eq(count("\n"), 3);
	ck_assert_ptr_nonnull(strstr(line_from_end(1),
	    "warn 3 log lines were lost: No space left on device"));
	ck_assert_ptr_nonnull(strstr(line_from_end(0), "info after"));
	journal_say(&journal, LOG_INFO, "and on");
	ck_assert_int_eq(count("lost"), 1);
}
END_TEST

/* A line cut off by the end of the disk does not run into the next. */
START_TEST(test_half_a_line_is_ended)
{
	for (size_t room = 1; room < 40; room++) {
		set_up();
		room_bytes = room;
		journal_say(&journal, LOG_INFO, "first");
		journal_say(&journal, LOG_INFO, "second");
		room_bytes = SIZE_MAX;
		journal_say(&journal, LOG_INFO, "third");
		ck_assert_int_eq(text[room], '\n');
		ck_assert_int_eq(count("\n"), 3);
		ck_assert_int_eq(count("2 log lines were lost"), 1);
	}
}
END_TEST

/* What was lost is told at the end, though no line follows. */
START_TEST(test_lost_lines_are_told_at_the_end)
{
	room_bytes = 0;
	journal_say(&journal, LOG_INFO, "first");
	room_bytes = SIZE_MAX;
	journal_close(&journal);
	ck_assert_int_eq(count("1 log lines were lost"), 1);
}
END_TEST

START_TEST(test_a_flood_is_held_back)
{
	for (int i = 0; i < FLOOD_BURST + 7; i++)
		pass("drip");
	ck_assert_int_eq(count("01/ws drip\n"), FLOOD_BURST);
	ck_assert_int_eq(count("\n"), FLOOD_BURST);
	now.tv_sec += 2;
	pass("again");
	ck_assert_ptr_nonnull(
	    strstr(line_from_end(1), "warn 7 lines of 01/ws held back"));
	ck_assert_str_eq(line_from_end(0), "01/ws again");
}
END_TEST

/* What is said about a stage, its end above all, comes behind the count. */
START_TEST(test_held_lines_are_told_before_the_end)
{
	for (int i = 0; i < FLOOD_BURST + 3; i++)
		pass("drip");
	journal_say(&journal, LOG_INFO, "of somebody else");
	ck_assert_int_eq(count("held back"), 0);
	journal_say_about(&journal, LOG_DEBUG, &stage, "ended, unseen");
	ck_assert_ptr_nonnull(
	    strstr(line_from_end(0), "warn 3 lines of 01/ws held back"));
	journal_say_about(&journal, LOG_INFO, &stage, "ended");
	journal_tell_held(&journal, &stage);
	ck_assert_int_eq(count("held back"), 1);
}
END_TEST

/* A count that cannot be written is not forgotten. */
START_TEST(test_held_lines_outlive_a_full_disk)
{
	for (int i = 0; i < FLOOD_BURST + 3; i++)
		pass("drip");
	room_bytes = 0;
	journal_tell_held(&journal, &stage);
	room_bytes = SIZE_MAX;
	journal_tell_held(&journal, &stage);
	ck_assert_int_eq(count("3 lines of 01/ws held back"), 1);
}
END_TEST

/* Errors of the stage's program pass; those it quotes of others do not. */
START_TEST(test_errors_are_never_held_back)
{
	static const struct {
		const char *line;
		bool passes;
	} table[] = {
	    {SINK_LINE("error"), true},
	    {SINK_LINE("warn"), false},
	    {"2026-01-31T12:00:00.123Z wssink[813] error another pid", false},
	    {"2026-01-31T12:00:00.123Z wssin[812] error another name", false},
	    {"error: no form at all", false},
	};

	for (int i = 0; i < FLOOD_BURST; i++)
		pass("drip");
	for (size_t i = 0; i < COUNT(table); i++) {
		int before = count("\n");

		pass(table[i].line);
		ck_assert_int_eq(count("\n") - before, table[i].passes ? 1 : 0);
	}
}
END_TEST

/* What the level hides takes no room from what it shows. */
START_TEST(test_hidden_lines_are_no_flood)
{
	journal.level = LOG_WARN;
	for (int i = 0; i < 2 * FLOOD_BURST; i++)
		pass(SINK_LINE("info"));
	pass(SINK_LINE("warn"));
	ck_assert_int_eq(count("\n"), 1);
	ck_assert_uint_eq(flood.held, 0);
}
END_TEST

/* The whole instance, and a stage that has no bucket. */
START_TEST(test_without_a_bucket_all_passes)
{
	static const struct journal_stage free_stage = {
	    .instance = "01", .id = "ws", .program = "wssink"};
	static const struct journal_stage whole = {.instance = "01"};

	for (int i = 0; i < 2 * FLOOD_BURST; i++)
		journal_pass(&journal, &free_stage, "drip", 4);
	journal_say_about(&journal, LOG_INFO, &whole, "done");
	ck_assert_int_eq(count("\n"), 2 * FLOOD_BURST + 1);
}
END_TEST

/* The command of an onramp may be called anything, also what no file is. */
START_TEST(test_a_name_that_is_too_long)
{
	static char name[4 * LOG_LINE_BYTES];
	struct journal_stage about = {
	    .instance = "01", .id = "ws", .program = name, .pid = 812};

	memset(name, 'n', sizeof(name) - 1);
	journal_say_about(&journal, LOG_ERROR, &about, "no such file");
	about.pid = 0;
	journal_say_about(&journal, LOG_ERROR, &about, "no such file");
	ck_assert_int_eq(count("\n"), 2);
	ck_assert_int_eq(count("no such file\n"), 2);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("journal");
	TCase *tests = tcase_create("journal");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, NULL);
	tcase_add_test(tests, test_each_line_is_one_write);
	tcase_add_test(tests, test_a_full_disk);
	tcase_add_test(tests, test_half_a_line_is_ended);
	tcase_add_test(tests, test_lost_lines_are_told_at_the_end);
	tcase_add_test(tests, test_a_flood_is_held_back);
	tcase_add_test(tests, test_held_lines_are_told_before_the_end);
	tcase_add_test(tests, test_held_lines_outlive_a_full_disk);
	tcase_add_test(tests, test_errors_are_never_held_back);
	tcase_add_test(tests, test_hidden_lines_are_no_flood);
	tcase_add_test(tests, test_without_a_bucket_all_passes);
	tcase_add_test(tests, test_a_name_that_is_too_long);
	return suite_run(suite);
}
