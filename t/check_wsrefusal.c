#include "t/suite.h"
#include "wssink/wsrefusal.h"

#include <check.h>
#include <stdio.h>
#include <string.h>

#define KEY "dGhlIHNhbXBsZSBub25jZQ=="
/* 1994-11-06 08:49:37, the example of RFC 9110, section 5.6.7. */
#define DATE "Sun, 06 Nov 1994 08:49:37 GMT"
#define DATE_NS (INT64_C(784111777) * 1000000000)
#define HOUR_MS ((uint64_t)3600 * 1000)

/* Reads a response that is no websocket's. */
static struct wshandshake_reply
read_reply(const char *response)
{
	struct wshandshake_reply reply;

	ck_assert_int_eq(wshandshake_check((const uint8_t *)response,
			     strlen(response), KEY, NULL, &reply),
	    WSHANDSHAKE_REFUSED);
	return reply;
}

START_TEST(test_what_is_told)
{
	static const char *const cases[][2] = {
	    {"HTTP/1.1 503 Busy\r\n\r\ntry later\n",
		"503 Busy \"try later\\n\""},
	    {"HTTP/1.1 404\r\n\r\n", "404  \"\""},
	    {"HTTP/1.1 403 N\xc3\xb6\x1b[0m\r\n\r\n\"no\"\r\n",
		"403 N\\xc3\\xb6\\x1b[0m \"\\\"no\\\"\\r\\n\""},
	    {"HTTP/1.1 500 x\r\ntransfer-encoding: Chunked\r\n\r\n"
	     "5;a=b\r\nhello\r\n0\r\n\r\n",
		"500 x \"hello\\r\\n0\\r\\n\\r\\n\""},
	    {"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n5",
		"500 x \"\""},
	    {"HTTP/1.1 500 x\r\nTransfer-Encoding: chunked\r\n\r\n",
		"500 x \"\""},
	    {"HTTP/1.1 301 Moved\r\nLocation: /else\"where\r\n\r\n",
		"301 Moved \"\", a redirection to \"/else\\\"where\", which "
		"is not followed"},
	    {"HTTP/1.1 302 Found\r\n\r\n", "302 Found \"\""},
	    {"HTTP/1.1 201 Created\r\nLocation: /x\r\n\r\n",
		"201 Created \"\""},
	    {"HTTP/1.1 100 Go on\r\n\r\nHTTP/1.1 401 No\r\n\r\nwho?",
		"401 No \"who?\""},
	};
	char text[WSREFUSAL_BYTES];

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		const char *response = cases[i][0];
		struct wshandshake_reply reply = read_reply(response);

		wsrefusal_tell(text, &reply,
		    (const uint8_t *)response + reply.head_bytes,
		    strlen(response) - reply.head_bytes);
		ck_assert_str_eq(text, cases[i][1]);
	}
}
END_TEST

/* However much a server says, in bytes that take four times their room. */
START_TEST(test_what_is_told_is_cut)
{
	char response[8192], text[WSREFUSAL_BYTES];
	struct wshandshake_reply reply;
	char noise[2001];

	memset(noise, '\x01', sizeof(noise) - 1);
	noise[sizeof(noise) - 1] = '\0';
	(void)snprintf(response, sizeof(response),
	    "HTTP/1.1 308 %s\r\nLocation: %s\r\n\r\n%s", noise, noise, noise);
	reply = read_reply(response);
	wsrefusal_tell(text, &reply,
	    (const uint8_t *)response + reply.head_bytes,
	    strlen(response) - reply.head_bytes);
	ck_assert_uint_lt(strlen(text), WSREFUSAL_BYTES);
	ck_assert_ptr_nonnull(strstr(text, "308 \\x01"));
	ck_assert_ptr_nonnull(strstr(text, "redirection to \"\\x01"));
}
END_TEST

START_TEST(test_how_long_to_wait)
{
	static const struct {
		const char *status;
		const char *value;
		int64_t now_ns;
		uint64_t ms;
	} cases[] = {
	    {"503", "7", 0, 7000},
	    {"429", "7", 0, 7000},
	    {"503", " 7\t", 0, 7000},
	    {"503", "0", 0, 0},
	    {"503", "3600", 0, HOUR_MS},
	    {"503", "3601", 0, HOUR_MS},
	    {"503", "99999999999999999999999999", 0, HOUR_MS},
	    {"503", "-1", 0, 0},
	    {"503", "1.5", 0, 0},
	    {"503", "", 0, 0},
	    {"503", "soon", 0, 0},
	    {"500", "7", 0, 0},
	    {"401", "7", 0, 0},
	    {"301", "7", 0, 0},
	    {"503", DATE, DATE_NS - INT64_C(90500000000), 90500},
	    {"503", DATE, DATE_NS, 0},
	    {"503", DATE, DATE_NS + 1000000000, 0},
	    {"503", DATE, 0, HOUR_MS},
	    {"503", DATE " ", 0, HOUR_MS},
	    {"503", DATE "x", 0, 0},
	    {"503", "Sun, 06 Nov 1994 08:49:37 PST", 0, 0},
	    {"503", "Sun, 99 Nov 1994 08:49:37 GMT", 0, 0},
	    {"503", "1994-11-06T08:49:37Z and more than a date ever has", 0, 0},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char response[256];
		struct wshandshake_reply reply;

		(void)snprintf(response, sizeof(response),
		    "HTTP/1.1 %s x\r\nRetry-After: %s\r\n\r\n", cases[i].status,
		    cases[i].value);
		reply = read_reply(response);
		ck_assert_msg(
		    wsrefusal_wait_ms(&reply, cases[i].now_ns) == cases[i].ms,
		    "%s %s: %llu", cases[i].status, cases[i].value,
		    (unsigned long long)wsrefusal_wait_ms(
			&reply, cases[i].now_ns));
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("wsrefusal");
	TCase *tests = tcase_create("wsrefusal");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_what_is_told);
	tcase_add_test(tests, test_what_is_told_is_cut);
	tcase_add_test(tests, test_how_long_to_wait);
	return suite_run(suite);
}
