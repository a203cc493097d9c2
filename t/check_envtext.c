#include "stage/envtext.h"
#include "t/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static void
set_variables(void)
{
	ck_assert_int_eq(setenv("TOKEN", "s3cr+t/=${env:A}", 1), 0);
	ck_assert_int_eq(setenv("A", "a", 1), 0);
	ck_assert_int_eq(setenv("EMPTY", "", 1), 0);
	ck_assert_int_eq(unsetenv("NOT_SET"), 0);
}

/* What a variable holds is not looked at again. */
START_TEST(test_expanded)
{
	static const struct {
		const char *text, *plain, *url;
	} table[] = {
	    {"", "", ""},
	    {"plain %$ {} $x $$", "plain %$ {} $x $$", "plain %$ {} $x $$"},
	    {"${env:A}", "a", "a"},
	    {"x${env:A}y${env:A}${env:EMPTY}z", "xayaz", "xayaz"},
	    {"$${env:A}}", "$a}", "$a}"},
	    {"ws://h/?t=${env:TOKEN}", "ws://h/?t=s3cr+t/=${env:A}",
		"ws://h/?t=s3cr%2Bt%2F%3D%24%7Benv%3AA%7D"},
	};
	char why[ENVTEXT_WHY_BYTES];

	set_variables();
	for (size_t i = 0; i < COUNT(table); i++) {
		char *plain = envtext_expand(table[i].text, ENVTEXT_PLAIN, why);
		char *url = envtext_expand(table[i].text, ENVTEXT_URL, why);

		ck_assert_ptr_nonnull(plain);
		ck_assert_str_eq(plain, table[i].plain);
		ck_assert_ptr_nonnull(url);
		ck_assert_str_eq(url, table[i].url);
		free(plain);
		free(url);
	}
}
END_TEST

START_TEST(test_bytes_over_127)
{
	char why[ENVTEXT_WHY_BYTES], *url;

	ck_assert_int_eq(setenv("A", "\xc3\xa4 _-.~", 1), 0);
	url = envtext_expand("${env:A}", ENVTEXT_URL, why);
	ck_assert_ptr_nonnull(url);
	ck_assert_str_eq(url, "%C3%A4%20_-.~");
	free(url);
}
END_TEST

START_TEST(test_refused)
{
	static const struct {
		const char *text, *why;
	} table[] = {
	    {"s3cr3t${env:NOT_SET}",
		"the environment variable NOT_SET is not set"},
	    {"s3cr3t${env:A}${env:NOT_SET}", "NOT_SET"},
	    {"${s3cr3t}", "no ${env:NAME}"},
	    {"${env:A}${s3cr3t", "no ${env:NAME}"},
	    {"${env:}s3cr3t", "no ${env:NAME}"},
	    {"${env:s3cr3t x}", "no ${env:NAME}"},
	};
	char why[ENVTEXT_WHY_BYTES];

	set_variables();
	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_ptr_null(
		    envtext_expand(table[i].text, ENVTEXT_PLAIN, why));
		ck_assert_msg(
		    strstr(why, table[i].why) != NULL, "said: %s", why);
		ck_assert_ptr_null(strstr(why, "s3cr3t"));
	}
}
END_TEST

START_TEST(test_faults)
{
	static const struct {
		const char *text, *fault;
		bool is_used;
	} table[] = {
	    {"", NULL, false},
	    {"$ { } $x {env:A} $", NULL, false},
	    {"a ${env:HOME_2} b", NULL, true},
	    {"${env:A}${env:B}", NULL, true},
	    {"${}", "${}", false},
	    {"${env:A}${hostname}x", "${hostname}", false},
	    {"${env:a-b}", "${env:a-b}", false},
	    {"x${env:A", "${env:A", false},
	    {"${${env:A}", "${${env:A}", false},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t bytes = 0;
		const char *at = envtext_fault(table[i].text, &bytes);

		if (table[i].fault == NULL) {
			ck_assert_ptr_null(at);
			ck_assert_int_eq(
			    envtext_is_used(table[i].text), table[i].is_used);
			continue;
		}
		ck_assert_ptr_nonnull(at);
		ck_assert_uint_eq(bytes, strlen(table[i].fault));
		ck_assert_mem_eq(at, table[i].fault, bytes);
	}
}
END_TEST

START_TEST(test_the_longest_name)
{
	char text[ENVTEXT_NAME_BYTES + 16], why[ENVTEXT_WHY_BYTES];
	size_t bytes;

	(void)snprintf(
	    text, sizeof(text), "${env:%0*d}", ENVTEXT_NAME_BYTES, 1);
	ck_assert_ptr_null(envtext_fault(text, &bytes));
	ck_assert_ptr_null(envtext_expand(text, ENVTEXT_PLAIN, why));
	ck_assert_ptr_nonnull(strstr(why, "1 is not set"));
	(void)snprintf(
	    text, sizeof(text), "${env:%0*d}", ENVTEXT_NAME_BYTES + 1, 1);
	ck_assert_ptr_nonnull(envtext_fault(text, &bytes));
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("envtext");
	TCase *tests = tcase_create("envtext");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_expanded);
	tcase_add_test(tests, test_bytes_over_127);
	tcase_add_test(tests, test_refused);
	tcase_add_test(tests, test_faults);
	tcase_add_test(tests, test_the_longest_name);
	return suite_run(suite);
}
