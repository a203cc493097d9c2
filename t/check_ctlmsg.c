#include "stage/ctlmsg.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Parses a copy of exactly that size, so that a read beyond it is seen. */
static int
parse(const void *text, size_t n, enum ctlmsg_kind *kind, cJSON **report)
{
	uint8_t *in = malloc(n == 0 ? 1 : n);
	const char *why = NULL;
	int result;

	ck_assert_ptr_nonnull(in);
	memcpy(in, text, n);
	result = ctlmsg_parse(in, n, kind, report, &why);
	ck_assert((result == 0) == (why == NULL));
	ck_assert(
	    result == -1 || (*kind == CTLMSG_REPORT) == (*report != NULL));
	ck_assert(result == 0 || *report == NULL);
	free(in);
	return result;
}

START_TEST(test_messages)
{
	static const struct {
		const char *text;
		enum ctlmsg_kind kind;
	} table[] = {
	    {"{\"control\":1}", CTLMSG_HELLO},
	    {"{\"attach\":\"in\"}", CTLMSG_ATTACH_IN},
	    {" { \"attach\" : \"out\" } ", CTLMSG_ATTACH_OUT},
	    {"{\"drain\":true}", CTLMSG_DRAIN},
	    {"{\"ask\":\"report\",\"of\":[1,2]}", CTLMSG_ASK},
	    {"{\"ready\":true}", CTLMSG_READY},
	    {"{\"report\":{}}", CTLMSG_REPORT},
	    {"{\"fault\":\"in\"}", CTLMSG_FAULT_IN},
	    {"{\"fault\":\"out\"}", CTLMSG_FAULT_OUT},
	    {"{}", CTLMSG_UNKNOWN},
	    {"{\"Ask\":\"report\"}", CTLMSG_UNKNOWN},
	    {"{\"x\":{\"drain\":true}}", CTLMSG_UNKNOWN},
	};
	enum ctlmsg_kind kind;
	cJSON *report;

	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(
		    parse(table[i].text, strlen(table[i].text), &kind, &report),
		    0);
		ck_assert_int_eq(kind, table[i].kind);
		cJSON_Delete(report);
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
	    "null",
	    "\"ask\"",
	    "{\"control\":2}",
	    "{\"control\":\"1\"}",
	    "{\"control\":true}",
	    "{\"attach\":\"both\"}",
	    "{\"attach\":1}",
	    "{\"drain\":false}",
	    "{\"drain\":1}",
	    "{\"ask\":\"more\"}",
	    "{\"ask\":null}",
	    "{\"ready\":\"true\"}",
	    "{\"report\":[]}",
	    "{\"report\":1}",
	    "{\"ask\":\"report\"}}",
	    "{\"ask\":\"report\"} {}",
	    "{'ask':'report'}",
	    "{\"ask\":\"report\",}",
	    "{\"report\":{\"a\":01}}",
	    "{\"report\":{\"a\":\"\xff\"}}",
	};
	enum ctlmsg_kind kind = CTLMSG_HELLO;
	cJSON *report;

	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(
		    parse(table[i], strlen(table[i]), &kind, &report), -1);
		ck_assert_int_eq(kind, CTLMSG_HELLO);
	}
}
END_TEST

START_TEST(test_report_is_handed_out_whole)
{
	static const char text[] =
	    "{\"report\":{\"events\":7,\"reader\":true,\"why\":\"a\"}}";
	enum ctlmsg_kind kind;
	cJSON *report;

	ck_assert_int_eq(parse(text, strlen(text), &kind, &report), 0);
	ck_assert_int_eq(kind, CTLMSG_REPORT);
	ck_assert_int_eq(cJSON_GetArraySize(report), 3);
	ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(report, "reader")));
	cJSON_Delete(report);
}
END_TEST

START_TEST(test_message_cut_at_every_byte)
{
	static const char text[] = "{\"report\":{\"why\":\"\\u00e9\",\"n\":1}}";
	enum ctlmsg_kind kind;
	cJSON *report;

	for (size_t cut = 0; cut < sizeof(text) - 1; cut++)
		ck_assert_int_eq(parse(text, cut, &kind, &report), -1);
}
END_TEST

START_TEST(test_message_with_each_byte_replaced)
{
	static const char text[] = "{\"attach\":\"in\",\"report\":{\"n\":1}}";
	char in[sizeof(text)];
	enum ctlmsg_kind kind;
	cJSON *report;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(in, text, sizeof(text));
		for (int c = 0; c < 256; c++) {
			in[i] = (char)c;
			if (parse(in, sizeof(text) - 1, &kind, &report) == 0)
				cJSON_Delete(report);
		}
	}
}
END_TEST

START_TEST(test_message_at_the_cap_and_over)
{
	static char text[CTLMSG_MAX_BYTES + 1];
	enum ctlmsg_kind kind;
	cJSON *report;

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"drain\":true}", 14);
	ck_assert_int_eq(parse(text, CTLMSG_MAX_BYTES, &kind, &report), 0);
	ck_assert_int_eq(kind, CTLMSG_DRAIN);
	ck_assert_int_eq(parse(text, CTLMSG_MAX_BYTES + 1, &kind, &report), -1);
}
END_TEST

START_TEST(test_what_is_written_is_read_as_it_was)
{
	uint8_t out[CTLMSG_MAX_BYTES];
	cJSON *sent = cJSON_CreateObject(), *report;
	enum ctlmsg_kind kind;

	(void)cJSON_AddNumberToObject(sent, "events", 9007199254740991.0);
	(void)cJSON_AddStringToObject(sent, "why", "\"\\\n\x01 \xe2\x82\xac");
	(void)cJSON_AddBoolToObject(sent, "reader", false);
	for (int i = CTLMSG_HELLO; i < CTLMSG_KINDS; i++) {
		size_t n = ctlmsg_put(
		    out, (enum ctlmsg_kind)i, i == CTLMSG_REPORT ? sent : NULL);

		ck_assert_uint_gt(n, 0);
		ck_assert_int_eq(parse(out, n, &kind, &report), 0);
		ck_assert_int_eq(kind, i);
		if (i == CTLMSG_REPORT)
			ck_assert(cJSON_Compare(report, sent, true));
		cJSON_Delete(report);
	}
	cJSON_Delete(sent);
}
END_TEST

/* A report that just fits, and one with a byte more. */
START_TEST(test_longest_report)
{
	static char why[CTLMSG_MAX_BYTES];
	uint8_t out[CTLMSG_MAX_BYTES];
	size_t around = strlen("{\"report\":{\"why\":\"\"}}");

	for (size_t extra = 0; extra < 2; extra++) {
		cJSON *report = cJSON_CreateObject();

		memset(why, 'x', CTLMSG_MAX_BYTES - around + extra);
		(void)cJSON_AddStringToObject(report, "why", why);
		ck_assert_uint_eq(ctlmsg_put(out, CTLMSG_REPORT, report),
		    extra == 0 ? CTLMSG_MAX_BYTES : 0);
		cJSON_Delete(report);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("ctlmsg");
	TCase *tests = tcase_create("ctlmsg");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_messages);
	tcase_add_test(tests, test_what_is_no_message);
	tcase_add_test(tests, test_report_is_handed_out_whole);
	tcase_add_test(tests, test_message_cut_at_every_byte);
	tcase_add_test(tests, test_message_with_each_byte_replaced);
	tcase_add_test(tests, test_message_at_the_cap_and_over);
	tcase_add_test(tests, test_what_is_written_is_read_as_it_was);
	tcase_add_test(tests, test_longest_report);
	return suite_run(suite);
}
