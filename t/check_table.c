/* The status as text: how it looks, and that nothing in the JSON breaks it. */
#include "stage/mem.h"
#include "supervisor/table.h"
#include "t/suite.h"

#include <check.h>
#include <cjson/cJSON.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
/* 2026-01-31T12:00:00Z */
#define NOW_NS INT64_C(1769860800000000000)
#define WIDTH 80

static const char whole[] =
    "{\"supervisor\":{\"pid\":811,\"version\":\"1.2.3\",\"state\":"
    "\"running\",\"state_dir\":\"/var/lib/walpipe\",\"since\":"
    "\"2026-01-30T09:59:00.000Z\"},\"instances\":[{\"instance\":\"01\","
    "\"pipeline\":\"main\",\"binding\":\"default\",\"state\":\"running\","
    "\"directory\":\"/var/lib/walpipe/01/main\",\"stages\":["
    "{\"stage\":\"m\",\"program\":\"metronome\",\"pid\":812,\"state\":"
    "\"running\",\"since\":\"2026-01-31T11:56:48.000Z\",\"restarts\":0,"
    "\"last_exit\":null,\"report\":null},"
    "{\"stage\":\"main\",\"program\":\"walproc\",\"pid\":null,\"state\":"
    "\"waiting\",\"since\":\"2026-01-31T11:59:59.500Z\",\"restarts\":12,"
    "\"last_exit\":\"killed by signal 9 (SIGKILL)\",\"report\":null},"
    "{\"stage\":\"ws\",\"program\":\"wssink\",\"pid\":814,\"state\":"
    "\"running\",\"since\":\"2026-01-31T12:00:01.000Z\",\"restarts\":1,"
    "\"last_exit\":\"exit status 111\",\"report\":null}],"
    "\"flow\":{\"in\":1234,\"stored\":12,\"bytes\":3482,\"acked\":1219,"
    "\"in_flight\":5,\"rejected\":1,\"dropped\":0,\"dead_lettered\":3,"
    "\"quarantined\":0,\"oldest_unacked_ms\":65999,\"source_breaker\":"
    "\"open\",\"source_breaker_reason\":\"full\",\"sink_breaker\":"
    "\"closed\",\"connection\":\"waiting\",\"connection_why\":"
    "\"connection refused\",\"in_rate\":10,\"out_rate\":9.87,\"unstored\":2"
    "}}],\"orphans\":[{\"directory\":\"/var/lib/walpipe/00/main\","
    "\"instance\":\"00\",\"pipeline\":\"main\",\"stored\":7,\"bytes\":900},"
    "{\"directory\":\"/v/9/p\",\"instance\":\"9\",\"pipeline\":\"p\","
    "\"stored\":0,\"bytes\":0},{\"directory\":\"/v/9/q\",\"instance\":"
    "\"9\",\"pipeline\":\"q\",\"stored\":null,\"bytes\":null}]}";

static const char looks[] =
    "supervisor 811 (1.2.3)  running  started 1d2h ago  "
    "state in /var/lib/walpipe\n"
    "\n"
    "instance 01: running  (pipeline main, binding default)\n"
    "  m     metronome     812  running   3m12s ago\n"
    "  main  walproc         -  waiting   1s ago  12 restarts\n"
    "      last: killed by signal 9 (SIGKILL)\n"
    "  ws    wssink        814  running   0s ago  1 restart  "
    "last: exit status 111\n"
    "      in 1234 (10.0/s)  stored 12 (3.4 KiB)  oldest 1m5s  "
    "in flight 5\n"
    "      acked 1219 (9.9/s)  not stored yet 2  rejected 1  "
    "dead letters 3\n"
    "      source breaker open: full  sink breaker closed  "
    "connection waiting\n"
    "      because: connection refused\n"
    "\n"
    "logs that no instance uses any more:\n"
    "  00/main  7 stored (900 B)  /var/lib/walpipe/00/main\n"
    "  9/p  nothing stored  /v/9/p\n"
    "  9/q  what it stores is not known  /v/9/q\n";

/* Returns the text of a JSON text, NULL if that cannot be read. */
static char *
put(const char *text, size_t bytes)
{
	cJSON *json = cJSON_ParseWithLength(text, bytes);
	char *table = json == NULL ? NULL : table_put(json, NOW_NS);

	cJSON_Delete(json);
	return table;
}

/* It is lines of printable ASCII. */
static void
must_be_text(const char *text)
{
	size_t n = strlen(text);

	ck_assert_uint_gt(n, 0);
	ck_assert_int_eq(text[n - 1], '\n');
	for (size_t i = 0; i < n; i++)
		ck_assert(text[i] == '\n' || (text[i] >= ' ' && text[i] < 127));
}

START_TEST(test_looks)
{
	char *text = put(whole, sizeof(whole) - 1);

	ck_assert_str_eq(text, looks);
	free(text);
}
END_TEST

START_TEST(test_width)
{
	const char *line = looks;

	while (*line != '\0') {
		size_t n = strcspn(line, "\n");

		ck_assert_uint_le(n, WIDTH);
		line += n + 1;
	}
}
END_TEST

/* What is missing or wrong is a dash, and the rest is as it was. */
START_TEST(test_hostile)
{
	static const char *const table[] = {
	    "{}",
	    "[]",
	    "7",
	    "null",
	    "{\"supervisor\":7,\"instances\":{\"a\":1},\"orphans\":\"x\"}",
	    "{\"instances\":[],\"orphans\":[]}",
	    "{\"instances\":[7,null,[],{}],\"orphans\":[7,{}]}",
	    "{\"instances\":[{\"stages\":7,\"flow\":[]}]}",
	    "{\"instances\":[{\"stages\":[7,[],{}],\"flow\":7}]}",
	    "{\"supervisor\":{\"pid\":-1,\"since\":\"yesterday\"}}",
	    "{\"supervisor\":{\"pid\":1e999,\"since\":\"2026-01-31T12:00\"}}",
	    "{\"supervisor\":{\"pid\":1e300,\"since\":7}}",
	    "{\"supervisor\":{\"since\":\"9999-99-99T99:99:99Z\"}}",
	    "{\"supervisor\":{\"state_dir\":\"a\\n\\u001b[31m\\u00e9\"}}",
	    "{\"instances\":[{\"instance\":\"\\u0007\",\"stages\":["
	    "{\"stage\":\"\\u202e\",\"restarts\":-5,\"last_exit\":\"\\n\"}]}]}",
	    "{\"instances\":[{\"flow\":{\"sinks\":[7,{}],\"sources\":[[],1]"
	    "}}]}",
	    "{\"instances\":[{\"flow\":{\"sinks\":7,\"sources\":{\"a\":[]}"
	    "}}]}",
	    "{\"instances\":[{\"flow\":{\"in\":1e19,\"bytes\":1e18,"
	    "\"stored\":0.5,\"oldest_unacked_ms\":1e18,\"in_rate\":-1}}]}",
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char *text = put(table[i], strlen(table[i]));

		ck_assert_msg(text != NULL, "%s", table[i]);
		must_be_text(text);
		ck_assert_ptr_null(strstr(text, "nan"));
		ck_assert_ptr_null(strstr(text, "inf"));
		free(text);
	}
}
END_TEST

/* Any byte may be wrong; where the rest is JSON still, it is shown. */
START_TEST(test_each_byte_flipped)
{
	size_t bytes = sizeof(whole) - 1, shown = 0;
	char *copy = strdup(whole);

	for (size_t i = 0; i < bytes; i++) {
		char *text;

		copy[i] = (char)(whole[i] ^ 1);
		text = put(copy, bytes);
		copy[i] = whole[i];
		if (text == NULL)
			continue;
		must_be_text(text);
		free(text);
		shown++;
	}
	ck_assert_uint_gt(shown, bytes / 2);
	free(copy);
}
END_TEST

/* What need not be told is told where it is there, and only there. */
START_TEST(test_each_of_the_flow)
{
	static const struct {
		const char *json, *looks;
	} table[] = {
	    {"\"in_rate\":7", "  in - (7.0/s)"},
	    {"\"out_rate\":7", "  acked - (7.0/s)"},
	    {"\"bytes\":7", "  stored - (7 B)"},
	    {"\"oldest_unacked_ms\":7000", "  oldest 7s"},
	    {"\"unstored\":7", "  not stored yet 7"},
	    {"\"rejected\":7", "  rejected 7"},
	    {"\"dropped\":7", "  dropped 7"},
	    {"\"dead_lettered\":7", "  dead letters 7"},
	    {"\"quarantined\":7", "  quarantined 7"},
	    {"\"source_breaker_reason\":\"7\"", "  source breaker -: 7"},
	    {"\"connection_why\":\"7\"", "  because: 7"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		char *json = mem_printf(
		    "{\"instances\":[{\"flow\":{%s}}]}", table[i].json);
		char *text = put(json, strlen(json));

		for (size_t j = 0; j < COUNT(table); j++)
			ck_assert_msg(
			    (strstr(text, table[j].looks) != NULL) == (i == j),
			    "%s: %s", table[i].json, text);
		free(text);
		free(json);
	}
}
END_TEST

/* Several sources and sinks have a line each. */
START_TEST(test_several)
{
	static const char json[] =
	    "{\"instances\":[{\"flow\":{\"connection\":\"waiting\","
	    "\"connection_why\":\"no\",\"sources\":["
	    "{\"name\":\"a\",\"taken\":7,\"unstored\":1},"
	    "{\"name\":\"b\",\"taken\":8,\"unstored\":0}],\"sinks\":["
	    "{\"name\":\"v\",\"stored\":0,\"in_flight\":2,"
	    "\"delivered\":9,\"out_rate\":1.5,\"breaker\":\"closed\","
	    "\"connection\":\"open\",\"connection_why\":\"old\"},"
	    "{\"name\":\"w\",\"stored\":5,\"in_flight\":0,\"rejected\":1,"
	    "\"delivered\":4,\"out_rate\":0,\"breaker\":\"open\","
	    "\"connection\":\"waiting\",\"connection_why\":\"no\"}]}}]}";
	static const char wanted[] =
	    "connection waiting\n"
	    "      source a:  in 7  not stored yet 1\n"
	    "      source b:  in 8\n"
	    "      sink v:  stored 0  in flight 2  acked 9 (1.5/s)  "
	    "breaker closed\n"
	    "      connection open\n"
	    "      sink w:  stored 5  in flight 0  acked 4 (0.0/s)  "
	    "rejected 1  breaker open\n"
	    "      connection waiting  because: no\n";
	char *text = put(json, sizeof(json) - 1);

	ck_assert_ptr_nonnull(strstr(text, wanted));
	free(text);
}
END_TEST

/* Returns a text of `count` times `c`; the caller frees it. */
static char *
repeat(char c, size_t count)
{
	char *text = mem_alloc(count + 1);

	memset(text, c, count);
	text[count] = '\0';
	return text;
}

/* Texts of any length are cut, not spilt. */
START_TEST(test_long_texts)
{
	static const char *const names[] = {"instance", "pipeline", "binding",
	    "state", "stage", "program", "last_exit"};
	cJSON *json = cJSON_CreateObject();
	cJSON *instance = cJSON_CreateObject();
	cJSON *flow = cJSON_AddObjectToObject(instance, "flow");
	char *long_text = repeat('\x01', 100000), *text;

	for (size_t i = 0; i < COUNT(names); i++)
		(void)cJSON_AddStringToObject(instance, names[i], long_text);
	(void)cJSON_AddStringToObject(flow, "connection", long_text);
	(void)cJSON_AddStringToObject(flow, "connection_why", long_text);
	(void)cJSON_AddItemToArray(cJSON_AddArrayToObject(instance, "stages"),
	    cJSON_Duplicate(instance, true));
	(void)cJSON_AddItemToArray(
	    cJSON_AddArrayToObject(json, "instances"), instance);
	text = table_put(json, NOW_NS);
	must_be_text(text);
	ck_assert_uint_lt(strlen(text), 10000);
	free(text);
	free(long_text);
	cJSON_Delete(json);
}
END_TEST

/* Fifty instances are as many blocks; one that runs well takes 6 lines. */
START_TEST(test_fifty)
{
	cJSON *json = cJSON_Parse(whole);
	cJSON *list = cJSON_GetObjectItemCaseSensitive(json, "instances");
	size_t blocks = 0;
	char *text;

	for (int i = 1; i < 50; i++)
		(void)cJSON_AddItemToArray(
		    list, cJSON_Duplicate(list->child, true));
	text = table_put(json, NOW_NS);
	for (const char *at = text; (at = strstr(at, "\n\ninstance ")); at += 2)
		blocks++;
	ck_assert_uint_eq(blocks, 50);
	free(text);
	cJSON_Delete(json);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("table");
	TCase *tests = tcase_create("table");

	mem_init();
	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_looks);
	tcase_add_test(tests, test_width);
	tcase_add_test(tests, test_hostile);
	tcase_add_test(tests, test_each_byte_flipped);
	tcase_add_test(tests, test_each_of_the_flow);
	tcase_add_test(tests, test_several);
	tcase_add_test(tests, test_long_texts);
	tcase_add_test(tests, test_fifty);
	return suite_run(suite);
}
