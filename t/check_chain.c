/* The pure pieces of running a chain: delays, log lines, relays, places. */
#include "supervisor/chain.h"
#include "supervisor/link.h"
#include "supervisor/logline.h"
#include "supervisor/relay.h"
#include "supervisor/state_dir.h"
#include "t/suite.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

START_TEST(test_delays)
{
	static const int64_t wanted[] = {
	    100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
	int64_t delay = 0;

	for (size_t i = 0; i < COUNT(wanted); i++) {
		delay = chain_delay_ms(delay, 59999);
		ck_assert_int_eq(delay, wanted[i]);
	}
	ck_assert_int_eq(chain_delay_ms(delay, 60000), 100);
}
END_TEST

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

/* Takes the lines that a relay has, each ended by "|". */
static void
take_lines(struct relay *relay, char *out, size_t room)
{
	size_t used = strlen(out), bytes;
	const char *line;

	while (relay_next(relay, &line, &bytes)) {
		ck_assert_uint_lt(used + bytes + 1, room);
		memcpy(out + used, line, bytes);
		used += bytes;
		out[used++] = '|';
		out[used] = '\0';
	}
}

/* Sends text through a pipe and a relay, `step` bytes at a time. */
static void
relay_text(const char *text, size_t n, size_t step, char *out, size_t room)
{
	struct relay relay;
	int ends[2];

	out[0] = '\0';
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
	relay_init(&relay, ends[0]);
	for (size_t at = 0; at < n; at += step) {
		size_t piece = n - at < step ? n - at : step;

		ck_assert_int_eq(write(ends[1], text + at, piece), piece);
		while (relay_read(&relay))
			take_lines(&relay, out, room);
		ck_assert(!relay.has_ended);
	}
	(void)close(ends[1]);
	ck_assert(!relay_read(&relay));
	ck_assert(relay.has_ended);
	take_lines(&relay, out, room);
	relay_close(&relay);
}

START_TEST(test_relay)
{
	static const struct {
		const char *text;
		const char *lines;
	} table[] = {
	    {"", ""},
	    {"a\n", "a|"},
	    {"a\nb\n", "a|b|"},
	    {"\n\n", "||"},
	    {"a\nrest", "a|rest|"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		for (size_t step = 1; step < 8; step++) {
			char out[64];

			relay_text(table[i].text, strlen(table[i].text), step,
			    out, sizeof(out));
			ck_assert_str_eq(out, table[i].lines);
		}
	}
}
END_TEST

/* A long line is cut at the same place, however it comes in. */
START_TEST(test_relay_cuts)
{
	static const size_t steps[] = {1, 7, 1000, 1024, 1025, 4096, 20000};
	char text[20000], out[4096], wanted[4096];

	memset(text, 'x', sizeof(text));
	memcpy(text + sizeof(text) - 5, "\nend\n", 5);
	memset(wanted, 'x', RELAY_LINE_BYTES);
	memcpy(wanted + RELAY_LINE_BYTES, "|end|", 6);
	for (size_t i = 0; i < COUNT(steps); i++) {
		relay_text(text, sizeof(text), steps[i], out, sizeof(out));
		ck_assert_str_eq(out, wanted);
	}
}
END_TEST

START_TEST(test_state_dir_default)
{
	static const struct {
		struct state_dir_env env;
		const char *path;
	} table[] = {
	    {{"/a:/b", "/x", "/h", false}, "/a"},
	    {{"/a", "/x", "/h", true}, "/a"},
	    {{NULL, "/x", "/h", true}, "/var/lib/walpipe"},
	    {{NULL, "/x", "/h", false}, "/x/walpipe"},
	    {{"", "", "/h", false}, "/h/.local/state/walpipe"},
	    {{"a", "x", "/h", false}, "/h/.local/state/walpipe"},
	    {{NULL, NULL, "h", false}, NULL},
	    {{NULL, NULL, NULL, false}, NULL},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char *path = state_dir_default(&table[i].env);

		ck_assert_pstr_eq(path, table[i].path);
		free(path);
	}
}
END_TEST

/* Counts the descriptors that are open. */
static int
count_fds(void)
{
	int count = 0;

	for (int fd = 0; fd < 256; fd++)
		count += fcntl(fd, F_GETFD) != -1;
	return count;
}

START_TEST(test_links)
{
	int before = count_fds();
	struct link link;
	char byte;

	for (int has_source = 0; has_source < 2; has_source++) {
		ck_assert_int_eq(link_open(&link, has_source), 0);
		for (int kind = 0; kind < STAGE_KINDS; kind++) {
			const struct link_stage *stage = &link.stage[kind];

			if (kind == STAGE_SOURCE && !has_source)
				continue;
			ck_assert_int_eq(
			    fcntl(stage->in_fd, F_GETFD), FD_CLOEXEC);
			ck_assert_int_eq(
			    fcntl(stage->out_fd, F_GETFD), FD_CLOEXEC);
			ck_assert_int_eq(
			    fcntl(stage->log_fd, F_GETFD), FD_CLOEXEC);
			ck_assert_int_eq(
			    fcntl(stage->reader_fd, F_GETFD), FD_CLOEXEC);
		}
		/* Without a source the WAL is at its end at once. */
		if (!has_source)
			ck_assert_int_eq(
			    read(link.stage[STAGE_WAL].in_fd, &byte, 1), 0);
		link_close(&link);
		ck_assert_int_eq(count_fds(), before);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chain");
	TCase *tests = tcase_create("chain");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_delays);
	tcase_add_test(tests, test_line_of_ours);
	tcase_add_test(tests, test_line_cut_at_every_byte);
	tcase_add_test(tests, test_foreign_lines);
	tcase_add_test(tests, test_json_fits);
	tcase_add_test(tests, test_printable_is_cut);
	tcase_add_test(tests, test_relay);
	tcase_add_test(tests, test_relay_cuts);
	tcase_add_test(tests, test_state_dir_default);
	tcase_add_test(tests, test_links);
	return suite_run(suite);
}
