/*
 * Patches that do more than put values under keys of their own. PATCH_SEED runs
 * one seed of those made by chance, PATCH_ROUNDS that many rounds of it.
 */
#include "walproc/patch_steps.h"

#include "stage/frame.h"
#include "stage/json.h"
#include "t/patch_same.h"
#include "t/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define SEEDS 4
#define ROUNDS 4000

static const struct patch_names names = {.hostname = "host\"1", .instance = ""};
static const struct patch_event about = {
    .seq = 42, .ingest_ns = 7, .log_id = "00ff"};

/* Adds the operation of a line: its letter, and what patch_add takes. */
static int
add_line(struct patch *patch, const char *line, char *why, size_t why_bytes)
{
	static const char letters[] = "iupemM";
	const char *how = strchr(letters, line[0]);

	ck_assert_ptr_nonnull(how);
	return patch_add(
	    patch, (enum patch_how)(how - letters), line + 1, why, why_bytes);
}

/* Applies the patch to an event, which is JSON, in memory of its size. */
static int
apply(const struct patch *patch, const char *event, struct buf *buf, char *why,
    size_t why_bytes)
{
	size_t n = strlen(event), at;
	uint8_t *in = malloc(n);
	struct json_outline outline;
	const char *wrong;
	int result;

	memcpy(in, event, n);
	ck_assert(json_outline(in, n, &outline, &wrong, &at));
	result =
	    patch_apply(patch, &about, in, n, &outline, buf, why, why_bytes);
	free(in);
	return result;
}

/* What operations, one a line, make of an event is exactly this. */
static const struct {
	const char *lines;
	const char *event;
	const char *result;
} cases[] = {
    /* update */
    {"pa=x", "{\"a\":1}", "{\"a\":\"x\"}"},
    {"pa=2", " { \"b\" : 1 , \"a\" : [ ] } ", " { \"b\" : 1 , \"a\" : 2 } "},
    {"pa=2", "{}", "!update: there is no key \"a\""},
    {"pa=2", "{\"b\":{\"a\":1}}", "!update: there is no key \"a\""},
    {"pa=2", "{\"a\":null}", "{\"a\":2}"},
    {"pa=2", "{\"a\":1,\"b\":0,\"\\u0061\":3}",
	"{\"a\":2,\"b\":0,\"\\u0061\":2}"},
    {"pa=${seq}", "{\"a\":1}", "{\"a\":42}"},
    {"p\xc3\xa9=1", "{}", "!update: there is no key \"\\xc3\\xa9\""},
    {"pa=2", "[{\"a\":1}]", "!not an object: it cannot be patched"},
    /* erase: one comma goes too, and the white space around it */
    {"ea", "{\"a\":1}", "{}"},
    {"ea", " { \"a\" : 1 } ", " { } "},
    {"ea", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"b\": 2\n}\n"},
    {"eb", "{\n  \"a\": 1,\n  \"b\": 2\n}\n", "{\n  \"a\": 1\n}\n"},
    {"eb", "{\"a\":1, \"b\":2 ,\t\"c\":3}", "{\"a\":1 ,\t\"c\":3}"},
    {"ea", "{\"b\":1}", "{\"b\":1}"},
    {"ea", "{}", "{}"},
    {"ea", " {\t} ", " {\t} "},
    {"ea", "{\"A\":1,\"aa\":2,\"\":3,\"b\":{\"a\":4}}",
	"{\"A\":1,\"aa\":2,\"\":3,\"b\":{\"a\":4}}"},
    {"ea", "{\"a\":1,\"b\":2,\"a\":3,\"\\u0061\":4}", "{\"b\":2}"},
    {"ea", "{\"b\":1,\"a\":[1,{\"a\":2}],\"c\":2}", "{\"b\":1,\"c\":2}"},
    {"ea\neb", "{ \"a\":1 , \"b\":2 , \"c\":3 }", "{ \"c\":3 }"},
    {"eb\nea", "{ \"a\":1 , \"b\":2 , \"c\":3 }", "{ \"c\":3 }"},
    {"eb\nec", "{ \"a\":1 , \"b\":2 , \"c\":3 }", "{ \"a\":1 }"},
    {"ea\nec", "{ \"a\":1 , \"b\":2 , \"c\":3 }", "{ \"b\":2 }"},
    {"ec\neb\nea", "{ \"a\":1 , \"b\":2 , \"c\":3 }", "{ }"},
    {"ea=b", "{\"a\":1,\"a=b\":2}", "{\"a\":1}"},
    {"e${seq}", "{\"42\":1,\"${seq}\":2}", "{\"42\":1}"},
    {"e\xf0\x9f\x98\x80", "{\"\\ud83d\\ude00\":1}", "{}"},
    {"ea\\b", "{\"a\\\\b\":1,\"a\\b\":2}", "{\"a\\b\":2}"},
    {"ea", "{\"a\\u0000\":1}", "{\"a\\u0000\":1}"},
    /* merge: the examples of RFC 7396, appendix A, under a key */
    {"mk={\"a\":\"c\"}", "{\"k\":{\"a\":\"b\"}}", "{\"k\":{\"a\":\"c\"}}"},
    {"mk={\"b\":\"c\"}", "{\"k\":{\"a\":\"b\"}}",
	"{\"k\":{\"a\":\"b\",\"b\":\"c\"}}"},
    {"mk={\"a\":null}", "{\"k\":{\"a\":\"b\"}}", "{\"k\":{}}"},
    {"mk={\"a\":null}", "{\"k\":{\"a\":\"b\",\"b\":\"c\"}}",
	"{\"k\":{\"b\":\"c\"}}"},
    {"mk={\"a\":\"c\"}", "{\"k\":{\"a\":[\"b\"]}}", "{\"k\":{\"a\":\"c\"}}"},
    {"mk={\"a\":[\"b\"]}", "{\"k\":{\"a\":\"c\"}}", "{\"k\":{\"a\":[\"b\"]}}"},
    {"mk={\"a\":{\"b\":\"d\",\"c\":null}}", "{\"k\":{\"a\":{\"b\":\"c\"}}}",
	"{\"k\":{\"a\":{\"b\":\"d\"}}}"},
    {"mk={\"a\":[1]}", "{\"k\":{\"a\":[{\"b\":\"c\"}]}}",
	"{\"k\":{\"a\":[1]}}"},
    {"mk={\"a\":1}", "{\"k\":{\"e\":null}}", "{\"k\":{\"e\":null,\"a\":1}}"},
    {"mk={\"a\":\"b\",\"c\":null}", "{\"k\":[1,2]}", "{\"k\":{\"a\":\"b\"}}"},
    {"mk={\"a\":{\"bb\":{\"ccc\":null}}}", "{\"k\":{}}",
	"{\"k\":{\"a\":{\"bb\":{}}}}"},
    /* and more of it */
    {"mk={\"a\":1}", "{}", "{\"k\":{\"a\":1}}"},
    {"mk={\"a\":1}", "{ \"b\" : 0 }", "{ \"b\" : 0 ,\"k\":{\"a\":1}}"},
    {"mk={\"a\":1}", "{\"k\":null}", "{\"k\":{\"a\":1}}"},
    {"mk={\"a\":1}", "{\"k\":\"{}\"}", "{\"k\":{\"a\":1}}"},
    {"mk={}", "{}", "{\"k\":{}}"},
    {"mk={}", "{\"k\":1}", "{\"k\":{}}"},
    {"mk={}", "{\"k\": { \"a\" : 1.0 } }", "{\"k\": { \"a\" : 1.0 } }"},
    {"mk={ \"a\" : 1.50E0 , \"b\" : [ null, { \"c\" : null } ] }", "{}",
	"{\"k\":{\"a\":1.50E0,\"b\":[ null, { \"c\" : null } ]}}"},
    {"mk={\"a\":null,\"b\":{\"c\":null,\"d\":{\"e\":null,\"f\":1}}}", "{}",
	"{\"k\":{\"b\":{\"d\":{\"f\":1}}}}"},
    {"mk={\"x\":{\"y\":{\"z\":null}}}",
	"{\"k\" : { \"x\" : { \"y\" : { \"z\" : 1, \"w\" : 1e5 } , \"v\":0 } } "
	"}",
	"{\"k\" : { \"x\" : { \"y\" : { \"w\" : 1e5 } , \"v\":0 } } }"},
    {"mk={\"a\":2}", "{\"k\":{\"a\":1},\"k\":[],\"k\":{\"a\":3,\"a\":4}}",
	"{\"k\":{\"a\":2},\"k\":{\"a\":2},\"k\":{\"a\":2,\"a\":2}}"},
    {"mk={\"a\":{\"b\":1}}", "{\"k\":{\"a\":{\"b\":0},\"a\":{}}}",
	"{\"k\":{\"a\":{\"b\":1},\"a\":{\"b\":1}}}"},
    {"mk={\"\\u0061\":2,\"\":3}", "{\"k\":{\"a\":1}}",
	"{\"k\":{\"a\":2,\"\":3}}"},
    {"mk={\"\\u0061\":2}", "{\"k\":{\"b\":1}}",
	"{\"k\":{\"b\":1,\"\\u0061\":2}}"},
    {"mk={\"\\ud800\":1,\"a\\u0000\":2}",
	"{\"k\":{\"\\uD800\":0,\"a\":0,\"a\\u0000\":0}}",
	"{\"k\":{\"\\uD800\":1,\"a\":0,\"a\\u0000\":2}}"},
    {"mk={\"a\\\\b\":1}", "{\"k\":{\"a\\\\b\":0,\"a\\b\":0}}",
	"{\"k\":{\"a\\\\b\":1,\"a\\b\":0}}"},
    {"mk={\"a\":\"${seq}\",\"b\":[\"${log_id}\"],\"${hostname}\":1}", "{}",
	"{\"k\":{\"a\":\"42\",\"b\":[\"00ff\"],\"host\\\"1\":1}}"},
    {"mk={\"host\\u0022${env:ONE}\":null}", "{\"k\":{\"host\\\"1\":0}}",
	"{\"k\":{}}"},
    /* merge-event */
    {"M{}", "{ \"a\" : 1 }", "{ \"a\" : 1 }"},
    {"M{\"a\":null,\"b\":2,\"c\":{\"d\":null}}", "{\"a\":1,\"c\":{\"d\":0}}",
	"{\"c\":{},\"b\":2}"},
    {"M{\"a\":1,\"b\":\"x\"}", "{\"b\":0}", "{\"b\":\"x\",\"a\":1}"},
    {"M{\"\":1}", "{\"\":0}", "{\"\":1}"},
    {"M{\"\":1}", "{\"a\":0}", "{\"a\":0,\"\":1}"},
    {"M{\"a\":\"${ingest_ns}\"}", "{}", "{\"a\":\"7\"}"},
    {"M{\"a=b\":1}", "{}", "{\"a=b\":1}"},
    {"M{\"a\":1}", "[]", "!not an object: it cannot be patched"},
    /* each operation sees what those before it have made */
    {"ia=1\npa=2\nua=3\nia=4", "{}", "!insert: the key \"a\" exists already"},
    {"ia=1\npa=2\nua=3", "{}", "{\"a\":3}"},
    {"ua=1\nua=2", "{\"a\":0}", "{\"a\":2}"},
    {"ea\nia=1", "{\"a\":0,\"b\":0}", "{\"b\":0,\"a\":1}"},
    {"ia=1\nea", "{\"b\":0}", "{\"b\":0}"},
    {"ia=1\nea", "{\"a\":0}", "!insert: the key \"a\" exists already"},
    {"ea\npa=1", "{\"a\":0}", "!update: there is no key \"a\""},
    {"pa=1\nea", "{\"a\":0}", "{}"},
    {"pa=1\nia=2", "{}", "!update: there is no key \"a\""},
    {"ua={\"b\":1}\nma={\"c\":2,\"b\":null}\nma={\"d\":3}", "{}",
	"{\"a\":{\"c\":2,\"d\":3}}"},
    {"ma={\"b\":1}\nM{\"a\":{\"b\":null}}\nea\nM{\"a\":{\"x\":null}}", "{}",
	"{\"a\":{}}"},
    {"ix=1\nea", "{ \"a\":0 }", "{ \"x\":1}"},
    {"ea\nix=1", "{ \"a\":0 }", "{ \"x\":1}"},
    {"ib=1\nic=2\npa=3\nux=4\neb\nib=5", "{\"a\":0}",
	"{\"a\":3,\"c\":2,\"x\":4,\"b\":5}"},
    /* the first that is wrong is told */
    {"pa=1\nib=1", "{\"b\":0}", "!update: there is no key \"a\""},
    {"ib=1\npa=1", "{\"b\":0}", "!insert: the key \"b\" exists already"},
};

START_TEST(test_steps)
{
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char lines[256], out[256], why[128];
	char *rest = lines, *line;

	(void)snprintf(lines, sizeof(lines), "%s", cases[_i].lines);
	while ((line = strsep(&rest, "\n")) != NULL)
		ck_assert_int_eq(add_line(patch, line, why, sizeof(why)), 0);
	buf_init(&buf, FRAME_MAX_BYTES);
	/* Twice: nothing is left of the first time. */
	for (int i = 0; i < 2; i++) {
		buf_drop(&buf, buf_bytes(&buf));
		out[0] = '!';
		if (patch_is_empty(patch))
			(void)buf_append(
			    &buf, cases[_i].event, strlen(cases[_i].event));
		else if (apply(patch, cases[_i].event, &buf, out + 1,
			     sizeof(out) - 1) == -1)
			ck_assert_uint_eq(buf_bytes(&buf), 0);
		if (buf_bytes(&buf) > 0)
			(void)snprintf(out, sizeof(out), "%.*s",
			    (int)buf_bytes(&buf),
			    (const char *)buf_front(&buf));
		ck_assert_str_eq(out, cases[_i].result);
	}
	buf_fini(&buf);
	patch_free(patch);
}
END_TEST

/* What is wrong with an operation is told at the start. */
static const struct {
	const char *line;
	const char *why;
} bad[] = {
    {"pa", "KEY=VALUE expected"},
    {"p=1", "KEY=VALUE expected"},
    {"e", "KEY expected"},
    {"e\xff", "not valid UTF-8"},
    {"m", "KEY=RECORD expected"},
    {"m={}", "KEY=RECORD expected"},
    {"ma=x", "a record is expected, a JSON object: value expected at byte 0"},
    {"ma=", "a record is expected, a JSON object: empty at byte 0"},
    {"ma=[]", "a record is expected, a JSON object"},
    {"ma=null", "a record is expected, a JSON object"},
    {"ma=${seq}",
	"a record is expected, a JSON object: value expected at byte 0"},
    {"M", "a record is expected, a JSON object: empty at byte 0"},
    {"Ma={}", "a record is expected, a JSON object: value expected at byte 0"},
    {"M1", "a record is expected, a JSON object"},
    {"M{\"a\":1,\"a\":2}", "the record has the key \"a\" twice"},
    {"mk={\"b\":{\"a\":1,\"c\":0,\"\\u0061\":null}}",
	"the record has the key \"a\" twice"},
    {"mk={\"${hostname}\":1,\"host\\\"1\":2}",
	"the record has the key \"host\\\"1\" twice"},
    {"M{\"${seq}\":1}", "a key of a record is the same for all events: without "
			"${seq}, ${log_id} and ${ingest_ns}"},
    {"M{\"a\":\"${what}\"}", "unknown placeholder ${what}"},
    {"M{\"${env:PATCH_NOT_SET}\":0}",
	"the environment variable PATCH_NOT_SET is not set"},
    {"M{\"a\":{\"b\":\"${seq\"}}", "placeholder without its }"},
};

START_TEST(test_refused_at_the_start)
{
	struct patch *patch = patch_new(&names);
	char why[128];

	ck_assert_int_eq(add_line(patch, bad[_i].line, why, sizeof(why)), -1);
	ck_assert_str_eq(why, bad[_i].why);
	ck_assert(patch_is_empty(patch));
	patch_free(patch);
}
END_TEST

/* Writes `count` times `open`, and as often what closes it around `core`. */
static void
nest(char *out, size_t count, const char *open, const char *core, char close)
{
	for (size_t i = 0; i < count; i++)
		out = stpcpy(out, open);
	out = stpcpy(out, core);
	memset(out, close, count);
	out[count] = '\0';
}

/* The deepest record is merged into the deepest event; a deeper one would make
 * events that no reader of ours takes. */
START_TEST(test_depth)
{
	static char text[8 * JSON_MAX_DEPTH], event[8 * JSON_MAX_DEPTH];
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char why[128];
	const char *wrong;
	size_t at;

	text[0] = 'M';
	nest(text + 1, JSON_MAX_DEPTH, "{\"a\":", "2", '}');
	nest(event, JSON_MAX_DEPTH, "{\"a\":", "1", '}');
	buf_init(&buf, FRAME_MAX_BYTES);
	ck_assert_int_eq(add_line(patch, text, why, sizeof(why)), 0);
	ck_assert_int_eq(add_line(patch, text, why, sizeof(why)), 0);
	ck_assert_int_eq(apply(patch, event, &buf, why, sizeof(why)), 0);
	ck_assert_uint_eq(buf_bytes(&buf), strlen(text + 1));
	ck_assert_mem_eq(buf_front(&buf), text + 1, strlen(text + 1));
	buf_drop(&buf, buf_bytes(&buf));
	ck_assert_int_eq(apply(patch, "{}", &buf, why, sizeof(why)), 0);
	ck_assert(json_check(buf_front(&buf), buf_bytes(&buf), &wrong, &at));
	nest(text + 1, JSON_MAX_DEPTH + 1, "{\"a\":", "2", '}');
	ck_assert_int_eq(add_line(patch, text, why, sizeof(why)), -1);
	for (const char *how = "iupm"; *how != '\0'; how++) {
		(void)sprintf(text, "%ck=", *how);
		nest(text + 3, JSON_MAX_DEPTH, "{\"a\":", "2", '}');
		ck_assert_int_eq(add_line(patch, text, why, sizeof(why)), -1);
		ck_assert_ptr_nonnull(strstr(why, "deep"));
		nest(text + 3, JSON_MAX_DEPTH - 1, "{\"a\":", "2", '}');
		ck_assert_int_eq(add_line(patch, text, why, sizeof(why)), 0);
	}
	buf_fini(&buf);
	patch_free(patch);
}
END_TEST

/* An event that does not fit on the way is refused, and the next one is not. */
START_TEST(test_a_result_over_the_cap_is_refused)
{
	static const char *const lines[] = {"ea", "ub=1", "ub=1234567890",
	    "mc={\"d\":1}", "eb", "M{\"c\":null}"};
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char why[128];

	for (size_t i = 0; i < COUNT(lines); i++)
		ck_assert_int_eq(
		    add_line(patch, lines[i], why, sizeof(why)), 0);
	for (size_t cap = 8; cap < 40; cap++) {
		/* With "b" and "c" it is {"b":1234567890,"c":{"d":1}}. */
		int code = cap < 28 ? -1 : 0;

		buf_init(&buf, cap);
		ck_assert_int_eq(
		    apply(patch, "{\"a\":1}", &buf, why, sizeof(why)), code);
		if (code == -1)
			ck_assert_str_eq(why, "too long once patched");
		ck_assert_uint_eq(buf_bytes(&buf), code == -1 ? 0 : 2);
		buf_fini(&buf);
	}
	patch_free(patch);
}
END_TEST

/* Half of a value would be no JSON. */
START_TEST(test_too_much_text)
{
#define MUCH "${env:BIG}${env:BIG}${env:BIG}"
	static const char *const lines[] = {"ih=" MUCH, "uh=\"" MUCH "\"",
	    "mh={\"a\":[\"" MUCH "\"]}", "M{\"a\":{\"" MUCH "\":1}}"};
	struct patch *patch = patch_new(&names);
	size_t bytes = (size_t)1 << 20;
	char *big = malloc(bytes + 1);
	char why[128];

	memset(big, '\x01', bytes);
	big[bytes] = '\0';
	(void)setenv("BIG", big, 1);
	for (size_t i = 0; i < COUNT(lines); i++) {
		ck_assert_int_eq(
		    add_line(patch, lines[i], why, sizeof(why)), -1);
		ck_assert_str_eq(why, "too much to insert");
	}
	ck_assert(patch_is_empty(patch));
	(void)unsetenv("BIG");
	free(big);
	patch_free(patch);
}
END_TEST

/* More operations than the plain way takes go the other way. */
START_TEST(test_many_operations)
{
	struct patch *patch = patch_new(&names);
	struct buf buf;
	char line[32], why[128], wanted[8192] = "{\"k7\":7";
	char *end = wanted + strlen(wanted);

	buf_init(&buf, FRAME_MAX_BYTES);
	for (int i = 0; i < 400; i++) {
		(void)snprintf(line, sizeof(line), "uk%d=%d", i, i);
		ck_assert_int_eq(add_line(patch, line, why, sizeof(why)), 0);
		if (i != 7)
			end += sprintf(end, ",\"k%d\":%d", i, i);
		if (i % 100 != 55)
			continue;
		(void)strcpy(end, "}");
		buf_drop(&buf, buf_bytes(&buf));
		ck_assert_int_eq(
		    apply(patch, "{\"k7\":0}", &buf, why, sizeof(why)), 0);
		if (i > 7)
			ck_assert_mem_eq(
			    buf_front(&buf), wanted, strlen(wanted));
		ck_assert_uint_eq(buf_bytes(&buf), strlen(wanted));
	}
	buf_fini(&buf);
	patch_free(patch);
}
END_TEST

static uint64_t random_state;

static size_t
below(size_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (size_t)(random_state >> 16) % n;
}

static char *
put_space(char *out, bool is_loose)
{
	static const char *const spaces[] = {"", "", "", " ", "\n\t", "  \r"};

	return stpcpy(out, is_loose ? spaces[below(COUNT(spaces))] : "");
}

/* Keys that are often the same, written in several ways. */
static const char *const keys[] = {"a", "b", "c", "\\u0061", "\\u0062", "ab",
    "", "\xc3\xa9", "\\u00e9", "a\\/b", "a/b", "\\n", "\\\\", "A"};

static char *put_value(char *out, size_t depth, bool is_loose, bool is_set);

/* An object of a few members; `is_set`: no key twice. */
static char *
put_object(char *out, size_t depth, bool is_loose, bool is_set)
{
	size_t count = below(5), step = below(4);
	bool is_first = true;

	out = put_space(stpcpy(out, "{"), is_loose);
	for (size_t i = 0; i < count; i++) {
		size_t key = below(COUNT(keys));

		/* Of each kind one, and those are not written in two ways. */
		if (is_set)
			key = (size_t[]){0, 1, 2, 5, 13, 6, 7}[i + step % 3];
		if (!is_first)
			out = put_space(stpcpy(out, ","), is_loose);
		is_first = false;
		out += sprintf(out, "\"%s\"", keys[key]);
		out = put_space(out, is_loose);
		out = put_space(stpcpy(out, ":"), is_loose);
		out = put_value(out, depth, is_loose, is_set);
		out = put_space(out, is_loose);
	}
	return stpcpy(out, "}");
}

static char *
put_value(char *out, size_t depth, bool is_loose, bool is_set)
{
	static const char *const scalars[] = {"null", "null", "true", "0",
	    "-1.50e+3", "12345678901234567890", "\"\"", "\"\\u0061,\"",
	    "\"}\\\"{\"", "[]", "[ null , {\"a\" : null} ]"};

	if (depth > 0 && below(3) > 0)
		return put_object(out, depth - 1, is_loose, is_set);
	return stpcpy(out, scalars[below(COUNT(scalars))]);
}

/* Adds an operation by chance. */
static void
add_random(struct patch_same *same)
{
	static const char *const plain[] = {
	    "a", "b", "c", "ab", "\xc3\xa9", "a/b", "\n", "\\", "A"};
	char text[8192], *end = text;
	enum patch_how how = (enum patch_how)below(PATCH_MERGE_EVENT + 1);

	if (how != PATCH_MERGE_EVENT)
		end = stpcpy(end, plain[below(COUNT(plain))]);
	if (how != PATCH_MERGE_EVENT && how != PATCH_ERASE)
		end = stpcpy(end, "=");
	if (how == PATCH_MERGE || how == PATCH_MERGE_EVENT)
		end = put_object(end, 3, below(2) == 0, true);
	else if (how != PATCH_ERASE)
		end = below(4) == 0 ? stpcpy(end, "te\"xt")
				    : put_value(end, 2, below(2) == 0, false);
	patch_same_add(same, how, text, (size_t)(end - text));
}

/* Whatever is done to an event, in whatever order, all ways come to the same;
 * see patch_same.h. */
START_TEST(test_by_chance)
{
	const char *rounds = getenv("PATCH_ROUNDS");
	const char *seed = getenv("PATCH_SEED");
	long n = rounds == NULL ? ROUNDS : strtol(rounds, NULL, 10);
	size_t tried = 0;

	random_state =
	    UINT64_C(0x9e3779b97f4a7c15) *
	    (seed == NULL ? (uint64_t)_i + 1 : strtoull(seed, NULL, 10));
	for (long i = 0; i < n; i++) {
		struct patch_same same = {.count = 0};
		char event[8192], *end;
		size_t count = 1 + below(below(4) == 0 ? 12 : 4);

		end = put_object(
		    put_space(event, true), below(4), below(3) > 0, false);
		end = put_space(end, true);
		for (size_t j = 0; j < count; j++)
			add_random(&same);
		same.event = (const uint8_t *)event;
		same.bytes = (size_t)(end - event);
		tried += same.count;
		if (same.count > 0)
			patch_same_try(&same);
		patch_same_fini(&same);
	}
	ck_assert_uint_ge(tried, (size_t)n);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("patch_steps");
	TCase *tcase = tcase_create("patch_steps");

	(void)setenv("ONE", "1", 1);
	tcase_add_loop_test(tcase, test_steps, 0, (int)COUNT(cases));
	tcase_add_loop_test(
	    tcase, test_refused_at_the_start, 0, (int)COUNT(bad));
	tcase_add_test(tcase, test_depth);
	tcase_add_test(tcase, test_a_result_over_the_cap_is_refused);
	tcase_add_test(tcase, test_too_much_text);
	tcase_add_test(tcase, test_many_operations);
	tcase_add_loop_test(
	    tcase, test_by_chance, 0, getenv("PATCH_SEED") == NULL ? SEEDS : 1);
	tcase_set_timeout(tcase, 0);
	suite_add_tcase(suite, tcase);
	return suite_run(suite);
}
