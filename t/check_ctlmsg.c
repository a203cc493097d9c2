#include "stage/ctlmsg.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Parses a copy of exactly that size, so that a read beyond it is seen. */
static int
parse(const void *text, size_t n, struct ctlmsg *msg)
{
	uint8_t *in = malloc(n == 0 ? 1 : n);
	const char *why = NULL;
	int result;

	ck_assert_ptr_nonnull(in);
	memcpy(in, text, n);
	result = ctlmsg_parse(in, n, msg, &why);
	ck_assert((result == 0) == (why == NULL));
	ck_assert(result == -1 ||
		  (msg->kind == CTLMSG_REPORT || msg->kind == CTLMSG_STREAMS) ==
		      (msg->body != NULL));
	ck_assert(result == 0 || msg->body == NULL);
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
	struct ctlmsg msg;

	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(
		    parse(table[i].text, strlen(table[i].text), &msg), 0);
		ck_assert_int_eq(msg.kind, table[i].kind);
		cJSON_Delete(msg.body);
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
	    "{\"streams\":[]}",
	    "{\"streams\":{\"in\":[]}}",
	    "{\"streams\":{\"in\":[],\"out\":{}}}",
	    "{\"streams\":{\"in\":[\"a/b\"],\"out\":[]}}",
	    "{\"streams\":{\"in\":[],\"out\":[1]}}",
	    "{\"attach\":\"in\",\"name\":\"\"}",
	    "{\"attach\":\"in\",\"name\":\".a\"}",
	    "{\"attach\":\"in\",\"name\":\"..\"}",
	    "{\"attach\":\"out\",\"name\":7}",
	    "{\"attach\":\"in\",\"name\":\"a2345678901234567890123456789012"
	    "345678901234567890123456789012345\"}",
	};
	struct ctlmsg msg = {.kind = CTLMSG_HELLO};

	for (size_t i = 0; i < COUNT(table); i++) {
		ck_assert_int_eq(parse(table[i], strlen(table[i]), &msg), -1);
		ck_assert_int_eq(msg.kind, CTLMSG_HELLO);
	}
}
END_TEST

START_TEST(test_report_is_handed_out_whole)
{
	static const char text[] =
	    "{\"report\":{\"events\":7,\"reader\":true,\"why\":\"a\"}}";
	struct ctlmsg msg;

	ck_assert_int_eq(parse(text, strlen(text), &msg), 0);
	ck_assert_int_eq(msg.kind, CTLMSG_REPORT);
	ck_assert_int_eq(cJSON_GetArraySize(msg.body), 3);
	ck_assert(cJSON_IsTrue(cJSON_GetObjectItem(msg.body, "reader")));
	cJSON_Delete(msg.body);
}
END_TEST

START_TEST(test_message_cut_at_every_byte)
{
	static const char text[] = "{\"report\":{\"why\":\"\\u00e9\",\"n\":1}}";
	struct ctlmsg msg;

	for (size_t cut = 0; cut < sizeof(text) - 1; cut++)
		ck_assert_int_eq(parse(text, cut, &msg), -1);
}
END_TEST

START_TEST(test_message_with_each_byte_replaced)
{
	static const char text[] = "{\"attach\":\"in\",\"report\":{\"n\":1}}";
	char in[sizeof(text)];
	struct ctlmsg msg;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(in, text, sizeof(text));
		for (int c = 0; c < 256; c++) {
			in[i] = (char)c;
			if (parse(in, sizeof(text) - 1, &msg) == 0)
				cJSON_Delete(msg.body);
		}
	}
}
END_TEST

START_TEST(test_message_at_the_cap_and_over)
{
	static char text[CTLMSG_MAX_BYTES + 1];
	struct ctlmsg msg;

	memset(text, ' ', sizeof(text));
	memcpy(text, "{\"drain\":true}", 14);
	ck_assert_int_eq(parse(text, CTLMSG_MAX_BYTES, &msg), 0);
	ck_assert_int_eq(msg.kind, CTLMSG_DRAIN);
	ck_assert_int_eq(parse(text, CTLMSG_MAX_BYTES + 1, &msg), -1);
}
END_TEST

START_TEST(test_what_is_written_is_read_as_it_was)
{
	uint8_t out[CTLMSG_MAX_BYTES];
	cJSON *sent = cJSON_CreateObject();
	struct ctlmsg msg;

	(void)cJSON_AddNumberToObject(sent, "events", 9007199254740991.0);
	(void)cJSON_AddStringToObject(sent, "why", "\"\\\n\x01 \xe2\x82\xac");
	(void)cJSON_AddBoolToObject(sent, "reader", false);
	(void)cJSON_AddArrayToObject(sent, "in");
	(void)cJSON_AddItemToArray(
	    cJSON_AddArrayToObject(sent, "out"), cJSON_CreateString("ws"));
	for (int i = CTLMSG_HELLO; i < CTLMSG_KINDS; i++) {
		struct ctlmsg put = {.kind = (enum ctlmsg_kind)i, .body = sent};
		size_t n = ctlmsg_put(out, &put);

		ck_assert_uint_gt(n, 0);
		ck_assert_int_eq(parse(out, n, &msg), 0);
		ck_assert_int_eq(msg.kind, i);
		if (msg.body != NULL)
			ck_assert(cJSON_Compare(msg.body, sent, true));
		cJSON_Delete(msg.body);
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
		struct ctlmsg put = {.kind = CTLMSG_REPORT, .body = report};

		memset(why, 'x', CTLMSG_MAX_BYTES - around + extra);
		(void)cJSON_AddStringToObject(report, "why", why);
		ck_assert_uint_eq(
		    ctlmsg_put(out, &put), extra == 0 ? CTLMSG_MAX_BYTES : 0);
		cJSON_Delete(report);
	}
}
END_TEST

START_TEST(test_names_stand_beside)
{
	static const char longest[] =
	    "{\"attach\":\"in\",\"name\":\"a234567890123456789012345678901"
	    "234567890123456789012345678901234\"}";
	uint8_t out[CTLMSG_MAX_BYTES] = {0};
	struct ctlmsg msg, put = {.kind = CTLMSG_FAULT_OUT, .name = "b.-_9Z"};

	ck_assert_int_eq(parse(longest, strlen(longest), &msg), 0);
	ck_assert_uint_eq(strlen(msg.name), CTLMSG_NAME_BYTES);
	ck_assert_int_eq(parse(out, ctlmsg_put(out, &put), &msg), 0);
	ck_assert_int_eq(msg.kind, CTLMSG_FAULT_OUT);
	ck_assert_str_eq(msg.name, put.name);
	/* Where none belongs it is one more key to be ignored. */
	ck_assert_int_eq(parse("{\"drain\":true,\"name\":1}", 23, &msg), 0);
	ck_assert_str_eq(msg.name, "");
}
END_TEST

START_TEST(test_streams_are_lists_of_names)
{
	static const char good[] = "{\"streams\":{\"in\":[\"a\",\"b\"],"
				   "\"out\":[],\"more\":1}}";
	struct ctlmsg msg;

	ck_assert_int_eq(parse(good, strlen(good), &msg), 0);
	ck_assert_int_eq(msg.kind, CTLMSG_STREAMS);
	ck_assert_int_eq(
	    cJSON_GetArraySize(cJSON_GetObjectItem(msg.body, "in")), 2);
	cJSON_Delete(msg.body);
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
	tcase_add_test(tests, test_names_stand_beside);
	tcase_add_test(tests, test_streams_are_lists_of_names);
	return suite_run(suite);
}
