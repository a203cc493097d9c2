#include "walproc/patch.h"

#include "stage/frame.h"
#include "stage/json.h"
#include "t/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct patch_names names = {
    .hostname = "host\"1",
    .instance = "01",
};

static const struct patch_event about = {
    .seq = 42,
    .ingest_ns = 1700000000000000000,
    .log_id = "00ff",
};

/* Applies up to two operations to an event; returns what came of it, in
 * `out`: the event, or "!" and why not. */
static const char *
patched(const char *insert, const char *upsert, const char *event, char *out,
    size_t out_bytes)
{
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char why[128];

	buf_init(&buf, FRAME_MAX_BYTES);
	if (insert != NULL)
		ck_assert_int_eq(
		    patch_add(patch, PATCH_INSERT, insert, why, sizeof(why)),
		    0);
	if (upsert != NULL)
		ck_assert_int_eq(
		    patch_add(patch, PATCH_UPSERT, upsert, why, sizeof(why)),
		    0);
	if (patch_apply(patch, &about, (const uint8_t *)event, strlen(event),
		&buf, why, sizeof(why)) == 0) {
		(void)snprintf(out, out_bytes, "%.*s", (int)buf_bytes(&buf),
		    (const char *)buf_front(&buf));
	} else {
		ck_assert_uint_eq(buf_bytes(&buf), 0);
		(void)snprintf(out, out_bytes, "!%s", why);
	}
	buf_fini(&buf);
	patch_free(patch);
	return out;
}

/* What comes of an event is exactly this; all that is not named keeps its
 * bytes. */
static const struct {
	const char *insert;
	const char *upsert;
	const char *event;
	const char *result;
} cases[] = {
    {"h=x", NULL, "{}", "{\"h\":\"x\"}"},
    {"h=x", NULL, "{ }", "{ \"h\":\"x\"}"},
    {"h=x", NULL, " {\"a\":1} ", " {\"a\":1,\"h\":\"x\"} "},
    {"h=x", NULL, "{\"b\":1.50e3,\"a\":[1, 2],\"b\":null}",
	"{\"b\":1.50e3,\"a\":[1, 2],\"b\":null,\"h\":\"x\"}"},
    {"h=5", NULL, "{}", "{\"h\":5}"},
    {"h=\"5\"", NULL, "{}", "{\"h\":\"5\"}"},
    {"h=true", NULL, "{}", "{\"h\":true}"},
    {"h=05", NULL, "{}", "{\"h\":\"05\"}"},
    {"h=", NULL, "{}", "{\"h\":\"\"}"},
    {"h=a=b", NULL, "{}", "{\"h\":\"a=b\"}"},
    {"h={\"x\": [1,2]}", NULL, "{}", "{\"h\":{\"x\": [1,2]}}"},
    {"h=a\"b\\c\n", NULL, "{}", "{\"h\":\"a\\\"b\\\\c\\n\"}"},
    {"a\"b=1", NULL, "{}", "{\"a\\\"b\":1}"},
    {"h=${hostname}", NULL, "{}", "{\"h\":\"host\\\"1\"}"},
    {"h=<${hostname}/${instance}>", NULL, "{}", "{\"h\":\"<host\\\"1/01>\"}"},
    {"h=[\"${hostname}\",\"${instance}\"]", NULL, "{}",
	"{\"h\":[\"host\\\"1\",\"01\"]}"},
    {"h=${seq}", NULL, "{}", "{\"h\":42}"},
    {"h=\"${seq}\"", NULL, "{}", "{\"h\":\"42\"}"},
    {"h=n${seq}", NULL, "{}", "{\"h\":\"n42\"}"},
    {"h=${ingest_ns}", NULL, "{}", "{\"h\":1700000000000000000}"},
    {"h=${log_id}", NULL, "{}", "{\"h\":\"00ff\"}"},
    {"h=${log_id}-${seq}", NULL, "{}", "{\"h\":\"00ff-42\"}"},
    {"h=${env:WALPIPE_TEST}", NULL, "{}", "{\"h\":\"a\\\\b\"}"},
    {"h=$hostname", NULL, "{}", "{\"h\":\"$hostname\"}"},
    {"h=x", NULL, "{\"h\":1}", "!insert: the key \"h\" exists already"},
    {"h=x", NULL, "{\"a\":{\"h\":1}}", "{\"a\":{\"h\":1},\"h\":\"x\"}"},
    {"h=x", NULL, "{\"\\u0068\":1}", "!insert: the key \"h\" exists already"},
    {"h=x", NULL, "[1]", "!not an object: nothing can be inserted into it"},
    {"h=x", NULL, "1", "!not an object: nothing can be inserted into it"},
    {NULL, "h=x", "{}", "{\"h\":\"x\"}"},
    {NULL, "h=x", "{\"h\" : 1 , \"b\":2}", "{\"h\" : \"x\" , \"b\":2}"},
    {NULL, "h=x", "{\"h\":{\"h\":[]},\"b\":2}", "{\"h\":\"x\",\"b\":2}"},
    {NULL, "h=x", "{\"h\":1,\"h\":2}", "{\"h\":\"x\",\"h\":\"x\"}"},
    {"i=1", "h=x", "{\"h\":0}", "{\"h\":\"x\",\"i\":1}"},
    {"h=1", "i=2", "{\"i\":0,\"h\":1}",
	"!insert: the key \"h\" exists already"},
};

START_TEST(test_patched)
{
	char out[256];
	const char *why;
	size_t at;

	ck_assert_str_eq(patched(cases[_i].insert, cases[_i].upsert,
			     cases[_i].event, out, sizeof(out)),
	    cases[_i].result);
	if (out[0] != '!')
		ck_assert(
		    json_check((const uint8_t *)out, strlen(out), &why, &at));
}
END_TEST

/* What cannot be inserted at all is refused at the start. */
static const struct {
	const char *key_value;
	const char *why;
} bad[] = {
    {"h", "KEY=VALUE expected"},
    {"=x", "KEY=VALUE expected"},
    {"", "KEY=VALUE expected"},
    {"h=${nothing}", "unknown placeholder ${nothing}"},
    {"h=${}", "unknown placeholder ${}"},
    {"h=\"${no}\"", "unknown placeholder ${no}"},
    {"h=${env:WALPIPE_NOT_SET}",
	"the environment variable WALPIPE_NOT_SET is not set"},
    {"h=${seq", "placeholder without its }"},
    {"h=\xff", "not valid UTF-8"},
    {"twice=2", "the key is given twice"},
};

START_TEST(test_refused_at_the_start)
{
	struct patch *patch = patch_new(&names);
	char why[128];

	ck_assert_int_eq(
	    patch_add(patch, PATCH_UPSERT, "twice=1", why, sizeof(why)), 0);
	ck_assert_int_eq(
	    patch_add(patch, PATCH_INSERT, bad[_i].key_value, why, sizeof(why)),
	    -1);
	ck_assert_str_eq(why, bad[_i].why);
	patch_free(patch);
}
END_TEST

START_TEST(test_a_result_over_the_cap_is_refused)
{
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char why[128];

	buf_init(&buf, 16);
	ck_assert_int_eq(
	    patch_add(patch, PATCH_INSERT, "h=x", why, sizeof(why)), 0);
	ck_assert_int_eq(
	    patch_apply(patch, &about, (const uint8_t *)"{\"aaa\":1}", 9, &buf,
		why, sizeof(why)),
	    -1);
	ck_assert_str_eq(why, "too long once patched");
	ck_assert_uint_eq(buf_bytes(&buf), 0);
	ck_assert_int_eq(
	    patch_apply(patch, &about, (const uint8_t *)"{\"a\":1}", 7, &buf,
		why, sizeof(why)),
	    0);
	buf_fini(&buf);
	patch_free(patch);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("patch");
	TCase *tcase = tcase_create("patch");

	(void)setenv("WALPIPE_TEST", "a\\b", 1);
	tcase_add_loop_test(
	    tcase, test_patched, 0, (int)(sizeof(cases) / sizeof(cases[0])));
	tcase_add_loop_test(tcase, test_refused_at_the_start, 0,
	    (int)(sizeof(bad) / sizeof(bad[0])));
	tcase_add_test(tcase, test_a_result_over_the_cap_is_refused);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
