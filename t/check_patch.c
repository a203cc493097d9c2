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

/* Outlines an event, which is JSON, and applies the patch to it. */
static int
apply(const struct patch *patch, const struct patch_event *about_it,
    const char *event, struct buf *buf, char *why, size_t why_bytes)
{
	const uint8_t *in = (const uint8_t *)event;
	struct json_outline outline;
	const char *wrong;
	size_t at;

	ck_assert(json_outline(in, strlen(event), &outline, &wrong, &at));
	return patch_apply(
	    patch, about_it, in, strlen(event), &outline, buf, why, why_bytes);
}

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
	if (apply(patch, &about, event, &buf, why, sizeof(why)) == 0) {
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
    {"h=x", NULL, "[1]", "!not an object: it cannot be patched"},
    {"h=x", NULL, "1", "!not an object: it cannot be patched"},
    {NULL, "h=x", "{}", "{\"h\":\"x\"}"},
    {NULL, "h=x", "{\"h\" : 1 , \"b\":2}", "{\"h\" : \"x\" , \"b\":2}"},
    {NULL, "h=x", "{\"h\":{\"h\":[]},\"b\":2}", "{\"h\":\"x\",\"b\":2}"},
    {NULL, "h=x", "{\"h\":1,\"h\":2}", "{\"h\":\"x\",\"h\":\"x\"}"},
    {"i=1", "h=x", "{\"h\":0}", "{\"h\":\"x\",\"i\":1}"},
    {"h=1", "i=2", "{\"i\":0,\"h\":1}",
	"!insert: the key \"h\" exists already"},
    /* Both, in the order that they were given, into what is empty or not. */
    {"i=${seq}", "h=${log_id}", "{}", "{\"i\":42,\"h\":\"00ff\"}"},
    {"i=${seq}", "h=${log_id}", "\t{\n}\r", "\t{\n\"i\":42,\"h\":\"00ff\"}\r"},
    {"i=1", "h=2", "{\"a\" : [ ] }", "{\"a\" : [ ] ,\"i\":1,\"h\":2}"},
    {"i=1", "h=<${seq}>", " { \"h\" : {} \n, \"a\":0 } ",
	" { \"h\" : \"<42>\" \n, \"a\":0 ,\"i\":1} "},
    /* A value that gives way to a longer one, a shorter one, to more parts. */
    {NULL, "h=", "{\"h\":\"a long value\"}", "{\"h\":\"\"}"},
    {NULL, "h=${seq}${seq}", "{\"h\":1}", "{\"h\":\"4242\"}"},
    {NULL, "h=\"${log_id}\"", "{\"h\":1}", "{\"h\":\"00ff\"}"},
    /* Keys that only look alike, and keys that only look different. */
    {"h=x", NULL, "{\"hh\":1,\"\":2,\"H\":3}",
	"{\"hh\":1,\"\":2,\"H\":3,\"h\":\"x\"}"},
    {"host=x", NULL, "{\"hostname\":1,\"hos\":2}",
	"{\"hostname\":1,\"hos\":2,\"host\":\"x\"}"},
    {NULL, "host=x", "{\"h\\u006fst\":1,\"h\\u006fsts\":2}",
	"{\"h\\u006fst\":\"x\",\"h\\u006fsts\":2}"},
    {NULL, "a/b=x", "{\"a\\/b\":1,\"a/b\":2}",
	"{\"a\\/b\":\"x\",\"a/b\":\"x\"}"},
    {"a\\nb=x", NULL, "{\"a\\nb\":1}", "{\"a\\nb\":1,\"a\\\\nb\":\"x\"}"},
    {NULL, "a\\nb=x", "{\"a\\\\nb\":1}", "{\"a\\\\nb\":\"x\"}"},
    {NULL, "a\nb=x", "{\"a\\nb\":1}", "{\"a\\nb\":\"x\"}"},
    {NULL, "\xc3\xa9=x", "{\"\xc3\xa9\":1,\"\\u00E9\":2}",
	"{\"\xc3\xa9\":\"x\",\"\\u00E9\":\"x\"}"},
    {"\xf0\x9f\x98\x80=x", NULL, "{\"\\ud83d\\ude00\":1}",
	"!insert: the key \"\\xf0\\x9f\\x98\\x80\" exists already"},
    {"h=x", NULL, "{\"h\\u0000\":1}", "{\"h\\u0000\":1,\"h\":\"x\"}"},
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
    {"\xff=h", "not valid UTF-8"},
};

START_TEST(test_refused_at_the_start)
{
	struct patch *patch = patch_new(&names);
	char why[128];

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
	    apply(patch, &about, "{\"aaa\":1}", &buf, why, sizeof(why)), -1);
	ck_assert_str_eq(why, "too long once patched");
	ck_assert_uint_eq(buf_bytes(&buf), 0);
	ck_assert_int_eq(
	    apply(patch, &about, "{\"aa\":1}", &buf, why, sizeof(why)), 0);
	ck_assert_uint_eq(buf_bytes(&buf), 16);
	buf_fini(&buf);
	patch_free(patch);
}
END_TEST

/* Inserts those numbers into an object that is empty. */
static void
assert_numbers(uint64_t seq, int64_t ingest_ns, const char *result)
{
	const struct patch_event numbers = {
	    .seq = seq, .ingest_ns = ingest_ns, .log_id = ""};
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char why[128];

	buf_init(&buf, FRAME_MAX_BYTES);
	ck_assert_int_eq(
	    patch_add(patch, PATCH_INSERT, "s=${seq}", why, sizeof(why)), 0);
	ck_assert_int_eq(
	    patch_add(patch, PATCH_UPSERT, "n=${ingest_ns}", why, sizeof(why)),
	    0);
	ck_assert_int_eq(
	    apply(patch, &numbers, "{}", &buf, why, sizeof(why)), 0);
	ck_assert_uint_eq(buf_bytes(&buf), strlen(result));
	ck_assert_mem_eq(buf_front(&buf), result, strlen(result));
	buf_fini(&buf);
	patch_free(patch);
}

START_TEST(test_numbers_at_their_ends)
{
	assert_numbers(0, 0, "{\"s\":0,\"n\":0}");
	assert_numbers(9, -1, "{\"s\":9,\"n\":-1}");
	assert_numbers(UINT64_MAX, INT64_MAX,
	    "{\"s\":18446744073709551615,\"n\":9223372036854775807}");
	assert_numbers(
	    10000, INT64_MIN, "{\"s\":10000,\"n\":-9223372036854775808}");
}
END_TEST

/* Twice what an outline holds, and some more. */
#define MANY (2 * JSON_OUTLINE_MEMBERS + 3)

/* Writes an event of `count` members and what a patch makes of it: the last
 * member gives way, and one is inserted. */
static void
write_many(size_t count, char *event, char *result)
{
	char *e = event, *r = result;

	e += sprintf(e, "{ ");
	r += sprintf(r, "{ ");
	for (size_t i = 1; i <= count; i++) {
		const char *comma = i == 1 ? "" : " , ";

		e += sprintf(e, "%s\"k%zu\":[%zu]", comma, i, i);
		if (i == count)
			r += sprintf(r, "%s\"k%zu\":\"new\"", comma, i);
		else
			r += sprintf(r, "%s\"k%zu\":[%zu]", comma, i, i);
	}
	(void)sprintf(e, " }\n");
	(void)sprintf(r, " ,\"i\":1}\n");
}

START_TEST(test_any_count_of_members)
{
	static char event[MANY * 32], result[MANY * 32], out[MANY * 32];
	char key_value[32];

	for (size_t count = 1; count <= MANY; count++) {
		write_many(count, event, result);
		(void)snprintf(key_value, sizeof(key_value), "k%zu=new", count);
		ck_assert_str_eq(
		    patched("i=1", key_value, event, out, sizeof(out)), result);
		(void)snprintf(result, sizeof(result),
		    "!insert: the key \"k%zu\" exists already", count);
		ck_assert_str_eq(
		    patched(key_value, NULL, event, out, sizeof(out)), result);
	}
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
	tcase_add_test(tcase, test_numbers_at_their_ends);
	tcase_add_test(tcase, test_any_count_of_members);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
