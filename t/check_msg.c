#include "stage/json.h"
#include "stage/msg.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Parses a copy of exactly that size, so that a read beyond it is seen. */
static int
parse(const void *text, size_t n, struct msg *msg, const char **why)
{
	uint8_t *in = malloc(n == 0 ? 1 : n);
	int result;

	ck_assert_ptr_nonnull(in);
	memcpy(in, text, n);
	result = msg_parse(in, n, msg, why);
	free(in);
	return result;
}

START_TEST(test_messages)
{
	static const struct {
		const char *text;
		struct msg msg;
	} table[] = {
	    {"{\"ack\":0}", {.kind = MSG_ACK}},
	    {"{\"ack\":17}", {.kind = MSG_ACK, .n = 17}},
	    {" { \"ack\" : 1.0e1 } ", {.kind = MSG_ACK, .n = 10}},
	    {"{\"\\u0061ck\":1}", {.kind = MSG_ACK, .n = 1}},
	    {"{\"ack\":9007199254740991}", {.kind = MSG_ACK, .n = MSG_MAX_N}},
	    {"{\"reject\":3,\"reason\":\"too big\"}",
		{.kind = MSG_REJECT, .n = 3, .reason = "too big"}},
	    {"{\"reason\":\"\\u20ac\",\"reject\":3}",
		{.kind = MSG_REJECT, .n = 3, .reason = "\xe2\x82\xac"}},
	    {"{\"reject\":1}", {.kind = MSG_REJECT, .n = 1}},
	    {"{\"reject\":1,\"reason\":5}", {.kind = MSG_REJECT, .n = 1}},
	    {"{\"breaker\":\"open\",\"reason\":\"full\"}",
		{.kind = MSG_BREAKER_OPEN, .reason = "full"}},
	    {"{\"breaker\":\"open\"}", {.kind = MSG_BREAKER_OPEN}},
	    {"{\"breaker\":\"closed\"}", {.kind = MSG_BREAKER_CLOSED}},
	};
	struct msg msg;
	const char *why;

	for (size_t i = 0; i < COUNT(table); i++) {
		memset(&msg, 0xee, sizeof(msg));
		ck_assert_int_eq(
		    parse(table[i].text, strlen(table[i].text), &msg, &why), 0);
		ck_assert_int_eq(msg.kind, table[i].msg.kind);
		ck_assert_uint_eq(msg.n, table[i].msg.n);
		ck_assert_str_eq(msg.reason, table[i].msg.reason);
	}
}
END_TEST

/* A later version may say more. What it says is not looked at: it may be
 * more than the JSON library reads. */
START_TEST(test_what_is_not_ours_is_ignored)
{
	static const char *const table[] = {
	    "{}",
	    "{\"pong\":1}",
	    "{\"Ack\":1}",
	    "{\"ack \":1}",
	    "{\"ack\\u0000\":1}",
	    "{\"x\":{\"ack\":1}}",
	    "{\"x\":\"\\ud800\"}",
	    ("{\"x\":11111111111111111111111111111111111111111111"
	     "111111111111111111111111111111111111111111}"),
	    "{\"x\":1e9999}",
	};
	struct msg msg;
	const char *why;

	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(
		    parse(table[i], strlen(table[i]), &msg, &why), 0);
		ck_assert_int_eq(msg.kind, MSG_UNKNOWN);
	}
}
END_TEST

START_TEST(test_what_is_no_message)
{
	static const char *const table[] = {
	    "",
	    " ",
	    "1",
	    "[]",
	    "\"ack\"",
	    "null",
	    "{",
	    "{}{}",
	    "{\"ack\":01}",
	    "{\"x\":\"\xff\"}",
	    "{\"ack\":-1}",
	    "{\"ack\":0.5}",
	    "{\"ack\":9007199254740992}",
	    "{\"ack\":18446744073709551616}",
	    "{\"ack\":1e999}",
	    "{\"ack\":-1e999}",
	    "{\"ack\":\"1\"}",
	    "{\"ack\":null}",
	    "{\"ack\":true}",
	    "{\"ack\":[1]}",
	    "{\"ack\":{}}",
	    "{\"ack\":\"\\ud800\"}",
	    "{\"reject\":-1}",
	    "{\"reject\":\"\"}",
	    "{\"breaker\":true}",
	    "{\"breaker\":\"\"}",
	    "{\"breaker\":\"Open\"}",
	    "{\"breaker\":\"opened\"}",
	    "{\"breaker\":null}",
	};
	struct msg msg = {.kind = MSG_REJECT, .n = 77};

	for (size_t i = 0; i < COUNT(table); i++) {
		const char *why = NULL, *unused;
		size_t at;
		bool is_ack = strncmp(table[i], "{\"ack\"", 6) == 0;

		msg.kind = MSG_UNKNOWN;
		ck_assert_msg(
		    parse(table[i], strlen(table[i]), &msg, &why) == -1, "%s",
		    table[i]);
		ck_assert_ptr_nonnull(why);
		/* What is an ack, but for its count, is told from the rest. */
		if (json_check((const uint8_t *)table[i], strlen(table[i]),
			&unused, &at))
			ck_assert_msg((msg.kind == MSG_ACK) == is_ack,
			    "kind of %s", table[i]);
	}
	ck_assert_uint_eq(msg.n, 77);
}
END_TEST

START_TEST(test_message_cut_at_every_byte)
{
	static const char text[] = "{\"reject\":12,\"reason\":\"\\u00e9\"}";
	struct msg msg;
	const char *why;

	for (size_t cut = 0; cut < sizeof(text) - 1; cut++)
		ck_assert_int_eq(parse(text, cut, &msg, &why), -1);
	ck_assert_int_eq(parse(text, sizeof(text) - 1, &msg, &why), 0);
}
END_TEST

/* No byte put in the place of another is more than a refusal. */
START_TEST(test_message_with_each_byte_replaced)
{
	static const char text[] = "{\"reject\":1.5e1,\"reason\":\"\\u00e9\"}";
	char in[sizeof(text)];
	const char *why;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(in, text, sizeof(text));
		for (int c = 0; c < 256; c++) {
			struct msg msg = {.n = 0};

			in[i] = (char)c;
			if (parse(in, sizeof(text) - 1, &msg, &why) == -1)
				continue;
			ck_assert_uint_le(msg.n, MSG_MAX_N);
			ck_assert_uint_lt(strlen(msg.reason), MSG_REASON_BYTES);
		}
	}
}
END_TEST

START_TEST(test_message_at_the_cap_and_over)
{
	char text[MSG_MAX_BYTES + 1];
	struct msg msg;
	const char *why;

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"ack\":1}", 9);
	ck_assert_int_eq(parse(text, MSG_MAX_BYTES, &msg, &why), 0);
	ck_assert_int_eq(parse(text, MSG_MAX_BYTES + 1, &msg, &why), -1);
}
END_TEST

START_TEST(test_long_reason_is_cut)
{
	char text[MSG_MAX_BYTES] = "{\"reject\":1,\"reason\":\"";
	struct msg msg;
	const char *why;

	memset(text + strlen(text), 'a', 1000);
	memcpy(text + strlen(text), "\"}", 3);
	ck_assert_int_eq(parse(text, strlen(text), &msg, &why), 0);
	ck_assert_uint_eq(strlen(msg.reason), MSG_REASON_BYTES - 1);
}
END_TEST

/* What is written is read back as it was. */
START_TEST(test_round_trip)
{
	static const struct msg table[] = {
	    {.kind = MSG_ACK, .n = 0},
	    {.kind = MSG_ACK, .n = MSG_MAX_N},
	    {.kind = MSG_REJECT, .n = 1, .reason = "\"\\\n\x01 \xe2\x82\xac"},
	    {.kind = MSG_REJECT, .n = 1},
	    {.kind = MSG_BREAKER_OPEN, .reason = "no connection"},
	    {.kind = MSG_BREAKER_OPEN},
	    {.kind = MSG_BREAKER_CLOSED},
	};
	uint8_t out[MSG_MAX_BYTES];
	const char *why;
	struct msg msg;

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t n = msg_put(out, &table[i]);

		ck_assert_int_eq(parse(out, n, &msg, &why), 0);
		ck_assert_int_eq(msg.kind, table[i].kind);
		ck_assert_uint_eq(msg.n, table[i].n);
		ck_assert_str_eq(msg.reason, table[i].reason);
	}
}
END_TEST

START_TEST(test_bytes_written)
{
	static const struct {
		struct msg msg;
		const char *text;
	} table[] = {
	    {{.kind = MSG_ACK, .n = 5}, "{\"ack\":5}"},
	    {{.kind = MSG_REJECT, .n = 5, .reason = "r"},
		"{\"reject\":5,\"reason\":\"r\"}"},
	    {{.kind = MSG_BREAKER_OPEN}, "{\"breaker\":\"open\"}"},
	    {{.kind = MSG_BREAKER_CLOSED, .reason = "r"},
		"{\"breaker\":\"closed\"}"},
	};
	uint8_t out[MSG_MAX_BYTES];

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t n = msg_put(out, &table[i].msg);

		ck_assert_uint_eq(n, strlen(table[i].text));
		ck_assert_mem_eq(out, table[i].text, n);
	}
}
END_TEST

START_TEST(test_longest_message_fits)
{
	struct msg msg = {.kind = MSG_REJECT, .n = MSG_MAX_N};
	uint8_t out[MSG_MAX_BYTES];
	const char *why;
	size_t n;

	memset(msg.reason, 1, MSG_REASON_BYTES - 1);
	n = msg_put(out, &msg);
	ck_assert_uint_gt(n, 6 * (MSG_REASON_BYTES - 1));
	ck_assert_int_eq(parse(out, n, &msg, &why), 0);
	ck_assert_uint_eq(strlen(msg.reason), MSG_REASON_BYTES - 1);
}
END_TEST

/* Cut by a reader of a few bytes less, a reason ends in half a character. */
START_TEST(test_reason_cut_inside_a_character)
{
	static const struct {
		const char *reason;
		const char *sent;
	} table[] = {
	    {"a\xf0\x9f\x98\x80", "a\xf0\x9f\x98\x80"},
	    {"a\xf0\x9f\x98", "a"},
	    {"a\xf0\x9f", "a"},
	    {"a\xf0", "a"},
	    {"\xf0\x9f\x98", ""},
	    {"\xff in the middle", ""},
	    {"\x80\x80\x80\x80\x80\x80", ""},
	};
	uint8_t out[MSG_MAX_BYTES];
	const char *why;

	for (size_t i = 0; i < COUNT(table); i++) {
		struct msg msg = {.kind = MSG_REJECT, .n = 1};
		size_t n;

		strcpy(msg.reason, table[i].reason);
		n = msg_put(out, &msg);
		ck_assert_int_eq(parse(out, n, &msg, &why), 0);
		ck_assert_str_eq(msg.reason, table[i].sent);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("msg");
	TCase *tests = tcase_create("msg");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_messages);
	tcase_add_test(tests, test_what_is_not_ours_is_ignored);
	tcase_add_test(tests, test_what_is_no_message);
	tcase_add_test(tests, test_message_cut_at_every_byte);
	tcase_add_test(tests, test_message_with_each_byte_replaced);
	tcase_add_test(tests, test_message_at_the_cap_and_over);
	tcase_add_test(tests, test_long_reason_is_cut);
	tcase_add_test(tests, test_round_trip);
	tcase_add_test(tests, test_bytes_written);
	tcase_add_test(tests, test_longest_message_fits);
	tcase_add_test(tests, test_reason_cut_inside_a_character);
	return suite_run(suite);
}
