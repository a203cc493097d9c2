#include "stage/header.h"
#include "t/suite.h"

#include <check.h>

START_TEST(test_headers_that_may_not_be_sent)
{
	static const char *const bad[] = {"", "X", ": x", "X Y: z", "X : y",
	    " X: y", "X: a\nb", "X: a\rb", "X: \x7f", "X: a\001", "host: x",
	    "UPGRADE: x", "Connection: close", "Sec-WebSocket-Key: x",
	    "sec-websocket-extensions: x", "Content-Length: 0",
	    "Transfer-Encoding: chunked"};
	static const char *const good[] = {"X: y", "X:", "X:y", "X:\ty z",
	    "Authorization: Bearer abc", "X: caf\xc3\xa9"};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(
		    header_fault(bad[i]) != NULL, "taken: '%s'", bad[i]);
	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
		ck_assert_msg(
		    header_fault(good[i]) == NULL, "refused: '%s'", good[i]);
}
END_TEST

START_TEST(test_tokens)
{
	ck_assert(header_is_token("a", 1));
	ck_assert(header_is_token("X-1_!#$%&'*+.^`|~ b", 17));
	ck_assert(!header_is_token("", 0));
	ck_assert(!header_is_token("a b", 3));
	ck_assert(!header_is_token("a\0b", 3));
	ck_assert(!header_is_token("a:", 2));
	ck_assert(!header_is_token("\xc3\xa4", 2));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("header");
	TCase *tests = tcase_create("header");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_headers_that_may_not_be_sent);
	tcase_add_test(tests, test_tokens);
	return suite_run(suite);
}
