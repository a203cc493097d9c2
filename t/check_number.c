#include "stage/number.h"
#include "t/suite.h"

#include <check.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

START_TEST(test_whole_numbers)
{
	static const struct {
		const char *text;
		uint64_t min, max;
		uint64_t value;
	} table[] = {
	    {"0", 0, 9, 0},
	    {"9", 0, 9, 9},
	    {"007", 0, 9, 7},
	    {"18446744073709551615", 0, UINT64_MAX, UINT64_MAX},
	    {"5", 5, 5, 5},
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ck_assert_int_eq(
		    number_parse(table[i].text, table[i].min, table[i].max, &v),
		    0);
		ck_assert_uint_eq(v, table[i].value);
	}
}
END_TEST

START_TEST(test_what_is_no_whole_number)
{
	static const char *const table[] = {"", " ", "-0", "+1", " 1", "1 ",
	    "1x", "0x1", "1.0", "1e3", "18446744073709551616",
	    "99999999999999999999999", "\xd9\xa1"};
	uint64_t v = 77;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_int_eq(number_parse(table[i], 0, UINT64_MAX, &v), -1);
	ck_assert_uint_eq(v, 77);
}
END_TEST

START_TEST(test_whole_number_out_of_range)
{
	uint64_t v = 77;

	ck_assert_int_eq(number_parse("4", 5, 7, &v), -1);
	ck_assert_int_eq(number_parse("8", 5, 7, &v), -1);
	ck_assert_uint_eq(v, 77);
}
END_TEST

START_TEST(test_seconds)
{
	static const struct {
		const char *text;
		uint64_t ms;
	} table[] = {
	    {"0", 0},
	    {"5", 5000},
	    {"0.25", 250},
	    {"0.250", 250},
	    {"1.5", 1500},
	    {"1.05", 1050},
	    {"1.005", 1005},
	    {"01.0", 1000},
	    {"18446744073709551.615", UINT64_MAX},
	};
	uint64_t v;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		ck_assert_int_eq(
		    number_parse_seconds(table[i].text, 0, UINT64_MAX, &v), 0);
		ck_assert_uint_eq(v, table[i].ms);
	}
}
END_TEST

START_TEST(test_what_is_no_number_of_seconds)
{
	static const char *const table[] = {"", ".", "1.", ".5", "1.2345",
	    "1.2.3", "-1", "1s", "1.x", "1,5", "1e1", "18446744073709551.616",
	    "18446744073709552", "99999999999999999999"};
	uint64_t v = 77;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		ck_assert_int_eq(
		    number_parse_seconds(table[i], 0, UINT64_MAX, &v), -1);
	ck_assert_int_eq(number_parse_seconds("0.099", 100, 200, &v), -1);
	ck_assert_int_eq(number_parse_seconds("0.201", 100, 200, &v), -1);
	ck_assert_uint_eq(v, 77);
}
END_TEST

/* Each count of digits, and what is around it, as printf writes it. */
START_TEST(test_put)
{
	uint64_t power = 1;

	for (int digits = 1; digits <= NUMBER_MAX_BYTES; digits++) {
		const uint64_t around[] = {
		    power - 1, power, power + 1, power * 5, UINT64_MAX - power};

		for (size_t i = 0; i < sizeof(around) / sizeof(around[0]);
		     i++) {
			uint8_t text[NUMBER_MAX_BYTES];
			char expected[NUMBER_MAX_BYTES + 1];
			size_t n = (size_t)(number_put(text, around[i]) - text);

			(void)snprintf(
			    expected, sizeof(expected), "%" PRIu64, around[i]);
			ck_assert_uint_eq(n, strlen(expected));
			ck_assert_mem_eq(text, expected, n);
		}
		power *= 10;
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("number");
	TCase *tests = tcase_create("number");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_whole_numbers);
	tcase_add_test(tests, test_what_is_no_whole_number);
	tcase_add_test(tests, test_whole_number_out_of_range);
	tcase_add_test(tests, test_seconds);
	tcase_add_test(tests, test_what_is_no_number_of_seconds);
	tcase_add_test(tests, test_put);
	return suite_run(suite);
}
