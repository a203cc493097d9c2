#include "t/suite.h"
#include "walproc/counts.h"

#include <check.h>
#include <stdlib.h>

/* Each count is another power of ten, so that a sum shows its parts. */
static const struct layout_cursor slot = {
    .acked_seq = 1111,
    .delivered = 1,
    .rejected = 10,
    .dropped = 100,
    .quarantined = 1000,
    .refused = 10000,
    .dropped_newest = 100000,
};

START_TEST(test_each_event_is_in_one_count)
{
	struct counts counts = counts_of(&slot, 5111);

	ck_assert_uint_eq(counts.taken, 115111);
	ck_assert_uint_eq(counts.delivered, 1);
	ck_assert_uint_eq(counts.stored, 4000);
	ck_assert_uint_eq(counts.dropped, 100100);
	ck_assert_uint_eq(counts.dead_lettered, 10010);
	ck_assert_uint_eq(counts.quarantined, 1000);
	ck_assert(counts_add_up(&counts));
}
END_TEST

START_TEST(test_a_cursor_that_lies_does_not_add_up)
{
	struct layout_cursor other = slot;
	struct counts counts;

	other.delivered++;
	counts = counts_of(&other, 5111);
	ck_assert(!counts_add_up(&counts));
}
END_TEST

START_TEST(test_a_log_behind_its_cursor_stores_nothing)
{
	ck_assert_uint_eq(counts_of(&slot, 1110).stored, 0);
	ck_assert_uint_eq(counts_of(&slot, 1111).stored, 0);
}
END_TEST

START_TEST(test_numbers_are_exact)
{
	cJSON *json = cJSON_CreateObject();
	char *text;

	counts_put_number(json, "n", UINT64_MAX);
	counts_put_number(json, "m", (UINT64_C(1) << 53) + 1);
	text = cJSON_PrintUnformatted(json);
	ck_assert_str_eq(
	    text, "{\"n\":18446744073709551615,\"m\":9007199254740993}");
	free(text);
	cJSON_Delete(json);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("counts");
	TCase *tests = tcase_create("counts");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_each_event_is_in_one_count);
	tcase_add_test(tests, test_a_cursor_that_lies_does_not_add_up);
	tcase_add_test(tests, test_a_log_behind_its_cursor_stores_nothing);
	tcase_add_test(tests, test_numbers_are_exact);
	return suite_run(suite);
}
