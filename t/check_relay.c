/* The reader of a log pipe: lines, however they come in. */
#include "supervisor/relay.h"
#include "t/suite.h"

#include <check.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

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

int
main(void)
{
	Suite *suite = suite_create("relay");
	TCase *tests = tcase_create("relay");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_relay);
	tcase_add_test(tests, test_relay_cuts);
	return suite_run(suite);
}
