/*
 * The fast check of JSON and the plain one: on any bytes they say the same, to
 * the text and the place of a refusal, and the members that the outline lists
 * are those that a walk finds. JSON_SEED runs one seed, JSON_ROUNDS that many
 * rounds of it.
 */
#include "stage/json.h"
#include "stage/json_plain.h"
#include "t/must.h"
#include "t/suite.h"

#include <check.h>
#include <dirent.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define SEEDS 4
#define ROUNDS 40000
#define DOC_BYTES 8192

/* What a test is made of, and where its bytes are from. */
struct doc {
	uint8_t bytes[DOC_BYTES];
	size_t n;
	uint64_t seed; /* 0 if none */
};

static uint64_t random_state;

static size_t
below(size_t n)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return (size_t)(random_state >> 16) % n;
}

/* Ends the test, naming the bytes that caused it. */
static void
differ(const struct doc *doc, const char *what)
{
	static char hex[2 * DOC_BYTES + 1];

	for (size_t i = 0; i < doc->n; i++)
		(void)sprintf(hex + 2 * i, "%02x", doc->bytes[i]);
	ck_abort_msg("JSON_SEED=%" PRIu64 ": %s: hex %s", doc->seed, what, hex);
}

/* Compares what the outline says with a walk through the members. */
static void
same_members(const struct doc *doc, const uint8_t *in,
    const struct json_outline *outline)
{
	struct json_member m;
	size_t at = 0, count = 0, place;
	const char *why;

	while (json_next_member(in, doc->n, &at, &m)) {
		const struct json_member *listed = &outline->members[count];

		if (!json_plain_check(
			in + m.key - 1, m.key_bytes + 2, &why, &place) ||
		    !json_plain_check(
			in + m.value, m.value_bytes, &why, &place))
			differ(doc, "a member that is none");
		if (count < outline->count &&
		    (listed->key != m.key || listed->value != m.value ||
			listed->key_bytes != m.key_bytes ||
			listed->value_bytes != m.value_bytes))
			differ(doc, "another member");
		count++;
	}
	if (outline->is_whole != (count <= JSON_OUTLINE_MEMBERS) ||
	    outline->count !=
		(outline->is_whole ? count : JSON_OUTLINE_MEMBERS))
		differ(doc, "another count of members");
	if (in[at] != '}' || (outline->is_whole && outline->close != at))
		differ(doc, "another closing brace");
}

/* Compares the answers about `in`, a copy of the document. Returns whether it
 * is JSON. */
static bool
same_at(const struct doc *doc, const uint8_t *in)
{
	static struct json_outline outline;
	const char *why[3] = {"", "", ""};
	size_t at[3] = {0, 0, 0};
	bool good[3];

	good[0] = json_plain_check(in, doc->n, &why[0], &at[0]);
	good[1] = json_check(in, doc->n, &why[1], &at[1]);
	memset(&outline, 0x55, sizeof(outline));
	good[2] = json_outline(in, doc->n, &outline, &why[2], &at[2]);
	for (int i = 1; i < 3; i++)
		if (good[i] != good[0] || strcmp(why[i], why[0]) != 0 ||
		    at[i] != at[0])
			differ(doc, "another answer");
	if (!good[0])
		return false;
	if (outline.is_object != json_is_object(in, doc->n))
		differ(doc, "another kind");
	if (outline.is_object)
		same_members(doc, in, &outline);
	else if (outline.is_whole || outline.count > 0)
		differ(doc, "members of what is no object");
	return true;
}

/* Compares them about a copy that ends with its memory, `skew` bytes in. */
static bool
same(const struct doc *doc, size_t skew)
{
	uint8_t *memory = malloc(skew + doc->n + (skew + doc->n == 0));
	bool good;

	MUST(memory != NULL, "no memory");
	memset(memory, '"', skew);
	memcpy(memory + skew, doc->bytes, doc->n);
	good = same_at(doc, memory + skew);
	free(memory);
	return good;
}

static void
put(struct doc *doc, const char *text)
{
	size_t n = strlen(text);

	if (n <= sizeof(doc->bytes) - doc->n) {
		memcpy(doc->bytes + doc->n, text, n);
		doc->n += n;
	}
}

#define PUT_ONE_OF(doc, table) \
	put(doc, (table)[below(sizeof(table) / sizeof((table)[0]))])

static void
put_space(struct doc *doc)
{
	static const char *const spaces[] = {" ", "\n", "\t", "\r\n", "  ",
	    "\n    ", "\n                ", "\n\t\t\t\t\t\t\t\t\t\t\t\t\t\t\t"};

	if (below(4) == 0)
		PUT_ONE_OF(doc, spaces);
}

static void
put_string(struct doc *doc)
{
	static const char *const pieces[] = {"a", "key", "some text", " ", "0",
	    "{", "]", ",", "\\n", "\\\"", "\\\\", "\\/", "\\u0000", "\\u00e9",
	    "\\uD83d\\uDe00", "\\ud800", "\x7f", "\xc2\x80", "\xdf\xbf",
	    "\xc3\xa9", "\xe0\xa0\x80", "\xe2\x82\xac", "\xed\x9f\xbf",
	    "\xee\x80\x80", "\xef\xbf\xbf", "\xf0\x90\x80\x80",
	    "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf",
	    "\xe6\x97\xa5\xe5\xbf\x97\xe7\xb3\xbb\xe7\xbb\x9f",
	    "sixteen bytes is", "thirty-two bytes are twice that.."};
	size_t n = below(3) == 0 ? below(12) : below(3);

	put(doc, "\"");
	while (n-- > 0)
		PUT_ONE_OF(doc, pieces);
	put(doc, "\"");
}

static void
put_number(struct doc *doc)
{
	static const char *const wholes[] = {"0", "-0", "1", "-7", "10", "255",
	    "1234567", "-123456789012345", "1234567890123456",
	    "12345678901234567", "18446744073709551615",
	    "100000000000000000000000000000000000"};
	static const char *const fractions[] = {"", "", ".0", ".5", ".25",
	    ".000000000000001", ".0000000000000001", ".12345678901234567890"};
	static const char *const exponents[] = {
	    "", "", "", "e0", "E7", "e+10", "E-05", "e1234567890123456789"};

	PUT_ONE_OF(doc, wholes);
	PUT_ONE_OF(doc, fractions);
	PUT_ONE_OF(doc, exponents);
}

static void put_value(struct doc *doc, int depth);

static void
put_container(struct doc *doc, bool is_object, size_t count, int depth)
{
	put(doc, is_object ? "{" : "[");
	put_space(doc);
	for (size_t i = 0; i < count; i++) {
		if (i > 0) {
			put(doc, ",");
			put_space(doc);
		}
		if (is_object) {
			put_string(doc);
			put_space(doc);
			put(doc, ":");
			put_space(doc);
		}
		put_value(doc, depth - 1);
		put_space(doc);
	}
	put(doc, is_object ? "}" : "]");
}

static void
put_value(struct doc *doc, int depth)
{
	static const char *const words[] = {"true", "false", "null"};
	size_t kind = below(depth > 0 ? 8 : 5);

	if (kind < 2)
		put_string(doc);
	else if (kind < 4)
		put_number(doc);
	else if (kind == 4)
		PUT_ONE_OF(doc, words);
	else
		put_container(doc, kind != 5, below(5), depth);
}

/* Makes JSON by chance: mostly an object, now and then one of more members
 * than an outline holds. It is cut where the room ends. */
static void
make(struct doc *doc)
{
	doc->n = 0;
	put_space(doc);
	if (below(16) == 0)
		put_container(doc, true, below(2 * JSON_OUTLINE_MEMBERS), 0);
	else if (below(8) == 0)
		put_value(doc, 6);
	else
		put_container(doc, true, below(7), 3);
	put_space(doc);
}

static uint8_t
odd_byte(void)
{
	static const uint8_t odd[] =
	    "\"\"\\\\{}[]:,,0019-+.eE tfnu/\n\r\t\x0b\x0c\0\x01\x1f\x7f\x80"
	    "\x8f\x90\x9f\xa0\xbf\xc0\xc1\xc2\xdf\xe0\xe1\xed\xee\xef\xf0"
	    "\xf1\xf4\xf5\xfe\xff";

	return odd[below(sizeof(odd) - 1)];
}

/* Changes the document in one place. */
static void
mutate(struct doc *doc)
{
	size_t at = below(doc->n + 1), n;
	uint8_t *p = doc->bytes + at;

	switch (below(6)) {
	case 0:
		if (at < doc->n)
			*p ^= (uint8_t)(1 << below(8));
		break;
	case 1:
		if (at < doc->n)
			*p = odd_byte();
		break;
	case 2:
		if (doc->n == sizeof(doc->bytes))
			break;
		memmove(p + 1, p, doc->n - at);
		*p = odd_byte();
		doc->n++;
		break;
	case 3:
		n = below(20) % (doc->n - at + 1);
		memmove(p, p + n, doc->n - at - n);
		doc->n -= n;
		break;
	case 4:
		/* Some of it again elsewhere. */
		n = below(20) % (doc->n - at + 1);
		memmove(doc->bytes + below(doc->n - n + 1), p, n);
		break;
	case 5:
		if (below(8) == 0)
			doc->n = at;
		break;
	}
}

static void
seed(struct doc *doc, int loop)
{
	const char *given = getenv("JSON_SEED");

	doc->seed = given != NULL ? strtoull(given, NULL, 10) : loop + 1U;
	random_state = doc->seed * UINT64_C(0x9e3779b97f4a7c15) + 1;
}

START_TEST(test_made_and_mutated)
{
	static struct doc doc;
	const char *given = getenv("JSON_ROUNDS");
	long rounds = given != NULL ? strtol(given, NULL, 10) : ROUNDS;
	long good = 0;

	seed(&doc, _i);
	for (long i = 0; i < rounds; i++) {
		make(&doc);
		if (!same(&doc, below(32)) && doc.n < DOC_BYTES / 2)
			differ(&doc, "made, but not JSON");
		for (size_t n = 1 + below(3); n > 0; n--) {
			mutate(&doc);
			good += same(&doc, below(32));
		}
	}
	/* Both answers must have come often. */
	MUST(good > rounds / 10 && good < rounds, "%ld JSON still", good);
}
END_TEST

START_TEST(test_cut_at_every_byte_at_every_skew)
{
	static struct doc doc;

	seed(&doc, _i);
	for (int i = 0; i < 20; i++) {
		size_t whole;

		do
			make(&doc);
		while (doc.n > 400);
		whole = doc.n;
		for (size_t skew = 0; skew < 17; skew++)
			for (doc.n = 0; doc.n <= whole; doc.n++)
				(void)same(&doc, skew);
	}
}
END_TEST

/* Puts `n` bytes, of characters of two bytes if not of ASCII. */
static void
put_filling(struct doc *doc, size_t n, bool is_ascii)
{
	for (; n > 0 && (is_ascii || n % 2 == 1); n--)
		put(doc, "a");
	for (; n > 0; n -= 2)
		put(doc, "\xc3\xa9");
}

/* Compares what is said of four bytes, of which the first two are given, at
 * any place among others. */
static void
same_character(struct doc *doc, uint8_t first, uint8_t second)
{
	static const uint8_t tails[][2] = {{'"', '"'}, {0x7f, 0x80},
	    {0x80, 0x7f}, {0x80, '"'}, {0x80, 0x80}, {0xbf, 0xbf}, {0xbf, 0xc0},
	    {0xc3, 0x80}, {0xe2, 0x82}, {'\\', 'n'}, {0x1f, 0x80}};
	const unsigned count = sizeof(tails) / sizeof(tails[0]);

	for (unsigned i = 0; i < count * 2 * 20; i++) {
		const uint8_t *tail = tails[i % count];
		const uint8_t middle[] = {first, second, tail[0], tail[1]};
		bool is_ascii = i / count % 2 == 0;

		doc->n = 0;
		put(doc, "\"");
		put_filling(doc, i / count / 2, is_ascii);
		memcpy(doc->bytes + doc->n, middle, sizeof(middle));
		doc->n += sizeof(middle);
		put_filling(doc, 20, is_ascii);
		put(doc, "\"");
		(void)same_at(doc, doc->bytes);
	}
}

START_TEST(test_characters_at_every_place)
{
	static const uint8_t seconds[] = {0x1f, '"', '\\', 0x7f, 0x80, 0x81,
	    0x8e, 0x8f, 0x90, 0x91, 0x9e, 0x9f, 0xa0, 0xa1, 0xbe, 0xbf, 0xc0,
	    0xc2, 0xe1, 0xff};
	static struct doc doc;

	for (unsigned first = 0x80; first < 0x100; first++)
		for (size_t i = 0; i < sizeof(seconds); i++)
			same_character(&doc, (uint8_t)first, seconds[i]);
}
END_TEST

/* Brackets of all kinds up to the limit and over it, at the outside or where
 * a member's value is. */
START_TEST(test_depth)
{
	static const char *const opens[] = {
	    "[", "{\"a\":", "[1,", " { \"\" : "};
	static const char *const closes[] = {"]", "}", ",2]", "\n} "};
	static struct doc doc;
	size_t kinds[JSON_MAX_DEPTH + 2];

	seed(&doc, _i);
	for (size_t depth = 1; depth <= JSON_MAX_DEPTH + 2; depth++) {
		if (depth > 4 && depth < JSON_MAX_DEPTH - 2)
			continue;
		for (size_t round = 0; round < 20; round++) {
			doc.n = 0;
			for (size_t i = 0; i < depth; i++) {
				kinds[i] = round < 4 ? round : below(4);
				put(&doc, opens[kinds[i]]);
			}
			put_value(&doc, 0);
			for (size_t i = depth; i-- > 0;)
				put(&doc, closes[kinds[i]]);
			MUST(doc.n < DOC_BYTES - 64, "no room");
			MUST(same(&doc, 0) == (depth <= JSON_MAX_DEPTH),
			    "depth %zu", depth);
			mutate(&doc);
			(void)same(&doc, 0);
		}
	}
}
END_TEST

/* Compares all the files of a corpus, cut at each of their bytes. Returns how
 * many there were. */
static int
same_corpus(const char *directory)
{
	static struct doc doc;
	DIR *dir = opendir(directory);
	struct dirent *entry;
	int files = 0;

	MUST(dir != NULL, "%s cannot be opened", directory);
	while ((entry = readdir(dir)) != NULL) {
		char path[512];
		FILE *file;
		size_t whole;

		if (entry->d_name[0] == '.')
			continue;
		(void)snprintf(
		    path, sizeof(path), "%s/%s", directory, entry->d_name);
		file = fopen(path, "rb");
		MUST(file != NULL, "%s cannot be opened", path);
		whole = fread(doc.bytes, 1, sizeof(doc.bytes), file);
		(void)fclose(file);
		for (doc.n = 0; doc.n <= whole; doc.n++)
			(void)same(&doc, doc.n % 16);
		files++;
	}
	(void)closedir(dir);
	return files;
}

START_TEST(test_corpus)
{
	static const char *const directories[] = {"t/corpus/json",
	    "t/corpus/msg", "t/corpus/ctlmsg", "t/corpus/request",
	    "t/corpus/dead", "t/corpus/table"};

	for (size_t i = 0; i < sizeof(directories) / sizeof(directories[0]);
	     i++)
		ck_assert_int_gt(same_corpus(directories[i]), 0);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("json_same");
	TCase *tests = tcase_create("json_same");
	int seeds = getenv("JSON_SEED") != NULL ? 1 : SEEDS;

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 0);
	tcase_add_loop_test(tests, test_made_and_mutated, 0, seeds);
	tcase_add_loop_test(
	    tests, test_cut_at_every_byte_at_every_skew, 0, seeds);
	tcase_add_test(tests, test_characters_at_every_place);
	tcase_add_loop_test(tests, test_depth, 0, seeds);
	tcase_add_test(tests, test_corpus);
	return suite_run(suite);
}
