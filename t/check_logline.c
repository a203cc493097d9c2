/* Log lines of our programs: taken apart, and as JSON. */
#include "supervisor/logline.h"
#include "t/suite.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

START_TEST(test_line_of_ours)
{
	static const char text[] =
	    "2026-01-31T12:00:00.123Z walproc[812] error segment 7: x";
	struct logline line;

	ck_assert(logline_parse(text, sizeof(text) - 1, &line));
	ck_assert_ptr_eq(line.time, text);
	ck_assert_uint_eq(line.program_bytes, 7);
	ck_assert_mem_eq(line.program, "walproc", 7);
	ck_assert_int_eq(line.pid, 812);
	ck_assert_int_eq(line.level, LOG_ERROR);
	ck_assert_uint_eq(line.message_bytes, 12);
	ck_assert_mem_eq(line.message, "segment 7: x", 12);
}
END_TEST

/* A line of ours that ends early, before its message, is none of ours. */
START_TEST(test_line_cut_at_every_byte)
{
	static const char text[] = "2026-01-31T12:00:00.123Z a[1] info m";
	size_t head = sizeof(text) - 2;

	for (size_t n = 0; n < sizeof(text); n++) {
		char *copy = strndup(text, n);
		struct logline line;

		ck_assert_int_eq(logline_parse(copy, n, &line), n >= head);
		free(copy);
	}
}
END_TEST

START_TEST(test_foreign_lines)
{
	static const char *const table[] = {
	    "",
	    " ",
	    "segmentation fault",
	    "2026-01-31T12:00:00.123 a[1] info m",
	    "2026-01-31 12:00:00.123Z a[1] info m",
	    "2026-01-31T12:00:00.123Z a info m",
	    "2026-01-31T12:00:00.123Z [1] info m",
	    "2026-01-31T12:00:00.123Z a[] info m",
	    "2026-01-31T12:00:00.123Z a[x] info m",
	    "2026-01-31T12:00:00.123Z a[0] info m",
	    "2026-01-31T12:00:00.123Z a[99999999999] info m",
	    "2026-01-31T12:00:00.123Z a[1 info m",
	    "2026-01-31T12:00:00.123Z a[1] fatal m",
	    "2026-01-31T12:00:00.123Z  a[1] info m",
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct logline line;

		ck_assert_msg(!logline_parse(table[i], strlen(table[i]), &line),
		    "%s", table[i]);
	}
}
END_TEST

/* The longest and worst that can come fits, and is JSON. */
START_TEST(test_json_fits)
{
	char message[5000], program[5000], out[LOGLINE_BYTES], *name;
	struct logline line = {
	    .time = "2026-01-31T12:00:00.123Z",
	    .program = program,
	    .program_bytes = sizeof(program),
	    .pid = 2147483647,
	    .level = LOG_DEBUG,
	    .message = message,
	    .message_bytes = sizeof(message),
	};
	static const char worst[] = {'"', '\\', '\x01', '\xff', 'x'};

	name = malloc(65);
	memset(name, 'n', 64);
	name[64] = '\0';
	for (size_t i = 0; i < COUNT(worst); i++) {
		cJSON *json;
		size_t n;

		memset(message, worst[i], sizeof(message));
		memset(program, worst[i], sizeof(program));
		n = logline_put_json(out, &line, name, name);
		ck_assert_uint_le(n, sizeof(out));
		ck_assert_int_eq(out[n - 1], '\n');
		ck_assert_ptr_null(memchr(out, '\n', n - 1));
		json = cJSON_ParseWithLength(out, n);
		ck_assert_ptr_nonnull(json);
		ck_assert_int_eq(cJSON_GetArraySize(json), 7);
		cJSON_Delete(json);
	}
	free(name);
}
END_TEST

START_TEST(test_printable_is_cut)
{
	char out[16];

	(void)log_printable(out, sizeof(out), "123456789012345", 15);
	ck_assert_str_eq(out, "123456789012345");
	(void)log_printable(out, sizeof(out), "1234567890123456", 16);
	ck_assert_str_eq(out, "123456789012...");
	(void)log_printable(out, sizeof(out), "\n\n\n\n", 4);
	ck_assert_str_eq(out, "\\x0a\\x0a\\x0a...");
	(void)log_printable(out, sizeof(out), "", 0);
	ck_assert_str_eq(out, "");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("logline");
	TCase *tests = tcase_create("logline");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_line_of_ours);
	tcase_add_test(tests, test_line_cut_at_every_byte);
	tcase_add_test(tests, test_foreign_lines);
	tcase_add_test(tests, test_json_fits);
	tcase_add_test(tests, test_printable_is_cut);
	return suite_run(suite);
}
