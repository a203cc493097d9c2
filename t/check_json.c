#include "stage/json.h"
#include "t/suite.h"

#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct text {
	const char *bytes;
	size_t n;
};

#define TEXT(literal) \
	{ \
		literal, sizeof(literal) - 1 \
	}
#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

/* Checks a copy of exactly that size, so that a read beyond it is seen. */
static bool
check(const char *bytes, size_t n, const char **why, size_t *at)
{
	uint8_t *in = malloc(n == 0 ? 1 : n);
	bool good;

	ck_assert_ptr_nonnull(in);
	if (n > 0)
		memcpy(in, bytes, n);
	good = json_check(in, n, why, at);
	free(in);
	return good;
}

static void
assert_good(const char *bytes, size_t n)
{
	const char *why = "untouched";
	size_t at = 77;

	ck_assert_msg(check(bytes, n, &why, &at), "%.*s: %s at %zu", (int)n,
	    bytes, why, at);
	ck_assert_str_eq(why, "untouched");
	ck_assert_uint_eq(at, 77);
}

static void
assert_bad(const char *bytes, size_t n)
{
	const char *why = NULL;
	size_t at = SIZE_MAX;

	ck_assert_msg(
	    !check(bytes, n, &why, &at), "accepted: %.*s", (int)n, bytes);
	ck_assert_ptr_nonnull(why);
	ck_assert_uint_le(at, n);
}

static const struct text good[] = {
    /* Any value may stand alone (RFC 8259, section 2). */
    TEXT("null"),
    TEXT("true"),
    TEXT("false"),
    TEXT("0"),
    TEXT("\"\""),
    TEXT("[]"),
    TEXT("{}"),
    /* White space is these four, around any token. */
    TEXT(" \t\r\n1\n\r\t "),
    TEXT("[ \t\r\n]"),
    TEXT("{ \t\r\n}"),
    TEXT(" [ 1 , 2 ] "),
    TEXT("{ \"a\" : 1 , \"b\" : 2 }"),
    /* Numbers. */
    TEXT("-0"),
    TEXT("10"),
    TEXT("-1"),
    TEXT("0.0"),
    TEXT("-0.0"),
    TEXT("1.25"),
    TEXT("0e0"),
    TEXT("0E0"),
    TEXT("1e+1"),
    TEXT("1e-1"),
    TEXT("1E01"),
    TEXT("1.5e300"),
    TEXT("1e999"),
    TEXT("-1e-999"),
    TEXT("123456789012345678901234567890"),
    TEXT("0.1e00"),
    TEXT("1.000000000000000000000000000000000000000000000001"),
    /* Strings. */
    TEXT("\"a\""),
    TEXT("\" \""),
    TEXT("\"\\\"\\\\\\/\\b\\f\\n\\r\\t\""),
    TEXT("\"\\u0000\""),
    TEXT("\"\\u00e9\""),
    TEXT("\"\\uABCD\""),
    TEXT("\"\\uabCd\""),
    TEXT("\"\\ud83d\\ude00\""),
    TEXT("\"\x7f\""),
    TEXT("\"\\\\u12\""),
    TEXT("\"'\""),
    TEXT("\"/\""),
    /* The grammar lets a surrogate stand alone in an escape (section 8.2). */
    TEXT("\"\\ud800\""),
    TEXT("\"\\udc00\\ud800\""),
    /* Arrays and objects. */
    TEXT("[1]"),
    TEXT("[[]]"),
    TEXT("[[],[]]"),
    TEXT("[1,\"a\",null,{}]"),
    TEXT("{\"\":0}"),
    TEXT("{\"a\":{\"b\":[{}]}}"),
    TEXT("{\"a\":1,\"a\":2}"),
    TEXT("[{},[],{}]"),
    TEXT("{\"\\u0061\":1}"),
    TEXT("[[[[[[1]]]]]]"),
    TEXT("{\"a\":[],\"b\":{},\"c\":[{\"d\":[]}]}"),
};

static const struct text bad[] = {
    /* Nothing, or more than one value. */
    TEXT(""),
    TEXT(" "),
    TEXT("\n"),
    TEXT("1 2"),
    TEXT("{}{}"),
    TEXT("[][]"),
    TEXT("null,"),
    TEXT("\"a\" \"b\""),
    TEXT("{}\0"),
    TEXT("1\0"),
    TEXT("[1]]"),
    TEXT("{}}"),
    TEXT("1,2"),
    TEXT("\"\"1"),
    TEXT("null0"),
    /* White space is not these. */
    TEXT("\v1"),
    TEXT("\f1"),
    TEXT("\xc2\xa0"
	 "1"),
    TEXT("\xe2\x81\xa0[]"),
    TEXT("\0"),
    TEXT("[\0]"),
    /* No byte order mark, no comments. */
    TEXT("\xef\xbb\xbf{}"),
    TEXT("\xff\xfe{\0}\0"),
    TEXT("// a\n1"),
    TEXT("/**/1"),
    TEXT("[1]#a"),
    TEXT("[1/*a*/]"),
    /* Words. */
    TEXT("nul"),
    TEXT("nulll"),
    TEXT("tru"),
    TEXT("True"),
    TEXT("FALSE"),
    TEXT("undefined"),
    TEXT("NaN"),
    TEXT("nan"),
    TEXT("Infinity"),
    TEXT("-Infinity"),
    TEXT("a"),
    TEXT("nul\0"),
    TEXT("[fals]"),
    /* Numbers. */
    TEXT("-"),
    TEXT("+1"),
    TEXT("01"),
    TEXT("-01"),
    TEXT("00"),
    TEXT("-00"),
    TEXT("1."),
    TEXT(".1"),
    TEXT("-.1"),
    TEXT("1.e1"),
    TEXT("1e"),
    TEXT("1e+"),
    TEXT("1e-"),
    TEXT("1e1.5"),
    TEXT("0x1"),
    TEXT("1_0"),
    TEXT("1 0"),
    TEXT("--1"),
    TEXT("- 1"),
    TEXT("1e1e1"),
    TEXT("1.2.3"),
    TEXT("1-1"),
    TEXT("1+1"),
    TEXT("0e"),
    TEXT("1f"),
    TEXT("1L"),
    TEXT("[1.]"),
    TEXT("[-]"),
    TEXT("[01]"),
    TEXT("{\"a\":1.}"),
    TEXT("\xef\xbc\x91"),
    TEXT("1\xc2\xb2"),
    /* Strings. */
    TEXT("\""),
    TEXT("\"a"),
    TEXT("\"\\\""),
    TEXT("\"\\"),
    TEXT("'a'"),
    TEXT("\"\n\""),
    TEXT("\"\t\""),
    TEXT("\"\0\""),
    TEXT("\"\x1f\""),
    TEXT("\"\\a\""),
    TEXT("\"\\v\""),
    TEXT("\"\\0\""),
    TEXT("\"\\x41\""),
    TEXT("\"\\'\""),
    TEXT("\"\\ \""),
    TEXT("\"\\\n\""),
    TEXT("\"\\\0\""),
    TEXT("\"\\U0041\""),
    TEXT("\"\\\xc3\xa9\""),
    TEXT("\"\\u\""),
    TEXT("\"\\u1\""),
    TEXT("\"\\u12\""),
    TEXT("\"\\u123\""),
    TEXT("\"\\u123g\""),
    TEXT("\"\\ug123\""),
    TEXT("\"\\u 123\""),
    TEXT("\"\\u+123\""),
    TEXT("\"\\u123"),
    TEXT("\"\\u"),
    TEXT("\"\\u00\0000\""),
    TEXT("\"\\ud83d\\u\""),
    TEXT("\"\"\""),
    TEXT("a\""),
    TEXT("\\u0022a\\u0022"),
    TEXT("\"\\u12\xc3\xa9\""),
    /* Arrays. */
    TEXT("["),
    TEXT("]"),
    TEXT("[,]"),
    TEXT("[1,]"),
    TEXT("[,1]"),
    TEXT("[1,,2]"),
    TEXT("[1 2]"),
    TEXT("[1"),
    TEXT("[1,"),
    TEXT("[1}"),
    TEXT("[1:2]"),
    TEXT("[\"a\":1]"),
    TEXT("[[]"),
    TEXT("[}"),
    TEXT("(1)"),
    TEXT("[1;2]"),
    TEXT("[\"a"),
    TEXT("[[1,]]"),
    /* Objects. */
    TEXT("{"),
    TEXT("}"),
    TEXT("{]"),
    TEXT("{,}"),
    TEXT("{\"a\"}"),
    TEXT("{\"a\":}"),
    TEXT("{\"a\":1,}"),
    TEXT("{,\"a\":1}"),
    TEXT("{\"a\":1,,\"b\":2}"),
    TEXT("{\"a\":1 \"b\":2}"),
    TEXT("{a:1}"),
    TEXT("{'a':1}"),
    TEXT("{1:1}"),
    TEXT("{null:1}"),
    TEXT("{\"a\":1]"),
    TEXT("{\"a\" 1}"),
    TEXT("{\"a\"::1}"),
    TEXT("{\"a\":1:2}"),
    TEXT("{\"a\",1}"),
    TEXT("{\"a\":1"),
    TEXT("{\"a\":"),
    TEXT("{\"a\""),
    TEXT("{\"a"),
    TEXT("{:1}"),
    TEXT("{[]:1}"),
    TEXT("{\"a\"=1}"),
    TEXT("{\"a\":[}"),
    TEXT("{\"a\":1,\"b\"}"),
    TEXT("{{}}"),
    TEXT("{1}"),
    TEXT("{\"a\":1;}"),
    TEXT("{\"\n\":1}"),
    TEXT("{\"\xff\":1}"),
};

START_TEST(test_what_rfc_8259_allows)
{
	assert_good(good[_i].bytes, good[_i].n);
}
END_TEST

START_TEST(test_what_rfc_8259_forbids)
{
	assert_bad(bad[_i].bytes, bad[_i].n);
}
END_TEST

/* Every good text is bad once a bracket or quote of it is open, and no cut
 * reads beyond its end. */
START_TEST(test_text_cut_at_every_byte)
{
	static const char text[] = "{\"k\\u00e9\\n\xc3\xa9\xe2\x82\xac\xf0\x9f"
				   "\x98\x80\":[1.5e+3,true,null,\"\\\"\"]}";

	for (size_t cut = 0; cut < sizeof(text) - 1; cut++)
		assert_bad(text, cut);
	assert_good(text, sizeof(text) - 1);
}
END_TEST

/* Any byte may become any other: the answer may be either, but never a read
 * beyond the end, and with a yes the members can be walked. */
START_TEST(test_text_with_each_byte_replaced)
{
	static const char text[] = "{\"\\u00e9\":[-1.5e3,true],\"\xe2\x82\xac"
				   "\" : {\"\\\\\":null}}";
	char in[sizeof(text)];
	const char *why;
	size_t at;

	for (size_t i = 0; i < sizeof(text) - 1; i++) {
		memcpy(in, text, sizeof(text));
		for (int c = 0; c < 256; c++) {
			struct json_member member;
			const uint8_t *p = (const uint8_t *)in;
			size_t n = sizeof(text) - 1;

			in[i] = (char)c;
			if (!check(in, n, &why, &at) || !json_is_object(p, n))
				continue;
			at = 0;
			while (json_next_member(p, n, &at, &member))
				assert_good(
				    in + member.value, member.value_bytes);
		}
	}
}
END_TEST

START_TEST(test_refusal_says_where_and_why)
{
	static const struct {
		struct text text;
		size_t at;
		const char *why;
	} table[] = {
	    {TEXT(""), 0, "empty"},
	    {TEXT("  "), 2, "empty"},
	    {TEXT("[1,]"), 3, "value expected"},
	    {TEXT("1 2"), 2, "more than one value"},
	    {TEXT("01"), 1, "number with a leading zero"},
	    {TEXT("-x"), 1, "digit expected in a number"},
	    {TEXT("\"\xff\""), 1, "invalid UTF-8"},
	    {TEXT("\xff"), 0, "invalid UTF-8"},
	    {TEXT("\"\n\""), 1, "raw control character in a string"},
	    {TEXT("\"\\x\""), 2, "unknown escape in a string"},
	    {TEXT("\"\\u12g4\""), 5, "\\u without four hex digits"},
	    {TEXT("\"ab"), 3, "string not closed"},
	    {TEXT("{1"), 1, "key expected"},
	    {TEXT("{\"a\" 1}"), 5, "':' expected"},
	    {TEXT("{\"a\":1]"), 6, "',' or '}' expected"},
	    {TEXT("[1}"), 2, "',' or ']' expected"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		const char *why = NULL;
		size_t at = 77;

		ck_assert(
		    !check(table[i].text.bytes, table[i].text.n, &why, &at));
		ck_assert_str_eq(why, table[i].why);
		ck_assert_uint_eq(at, table[i].at);
	}
}
END_TEST

/* Writes `depth` brackets in and out, of one kind or in turn. */
static size_t
nested(char *out, size_t depth, const char *open, const char *close)
{
	size_t n = 0;

	for (size_t i = 0; i < depth; i++)
		n += (size_t)sprintf(out + n, "%s", open);
	n += (size_t)sprintf(out + n, "0");
	for (size_t i = 0; i < depth; i++)
		n += (size_t)sprintf(out + n, "%s", close);
	return n;
}

START_TEST(test_depth_limit_is_exact)
{
	static const char *const table[][2] = {
	    {"[", "]"},
	    {"{\"a\":", "}"},
	    {" [ 1 , ", " ] "},
	};
	static char text[8 * JSON_MAX_DEPTH * 2];

	for (size_t i = 0; i < COUNT(table); i++) {
		const char *why = NULL;
		size_t at, n;

		n = nested(text, JSON_MAX_DEPTH, table[i][0], table[i][1]);
		assert_good(text, n);
		n = nested(text, JSON_MAX_DEPTH + 1, table[i][0], table[i][1]);
		ck_assert(!check(text, n, &why, &at));
		ck_assert_str_eq(why, "nested too deep");
	}
}
END_TEST

/* Depth counts what is open, not what was; kinds of brackets do not mix up. */
START_TEST(test_depth_falls_when_a_bracket_closes)
{
	static char text[16 * JSON_MAX_DEPTH];
	size_t n = 0;

	text[n++] = '[';
	for (size_t i = 0; i < 3 * JSON_MAX_DEPTH; i++)
		n += (size_t)sprintf(text + n, i % 2 ? "{}," : "[],");
	n += (size_t)sprintf(text + n, "0]");
	assert_good(text, n);
}
END_TEST

START_TEST(test_wrong_bracket_at_any_depth)
{
	char text[64];

	for (size_t depth = 1; depth < 20; depth++) {
		size_t n = nested(text, depth, "[", "]");

		for (size_t i = n - depth; i < n; i++) {
			text[i] = '}';
			assert_bad(text, n);
			text[i] = ']';
		}
	}
}
END_TEST

/* UTF-8 as RFC 3629 has it. */
static const struct text utf8_good[] = {
    TEXT(""),
    TEXT("a"),
    TEXT("\0"),
    TEXT("\x7f"),
    TEXT("\xc2\x80"),
    TEXT("\xdf\xbf"),
    TEXT("\xe0\xa0\x80"),
    TEXT("\xec\xbf\xbf"),
    TEXT("\xed\x9f\xbf"),
    TEXT("\xee\x80\x80"),
    TEXT("\xef\xbf\xbd"),
    TEXT("\xef\xbf\xbf"),
    TEXT("\xf0\x90\x80\x80"),
    TEXT("\xf3\xbf\xbf\xbf"),
    TEXT("\xf4\x8f\xbf\xbf"),
    TEXT("a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80z"),
};

static const struct text utf8_bad[] = {
    /* Continuations alone, sequences cut. */
    TEXT("\x80"),
    TEXT("\xbf"),
    TEXT("a\x80"),
    TEXT("\xc2"),
    TEXT("\xe2\x82"),
    TEXT("\xe2"),
    TEXT("\xf0\x9f\x98"),
    TEXT("\xf0\x9f"),
    TEXT("\xf0"),
    TEXT("\xc2z"),
    TEXT("\xe2\x82z"),
    TEXT("\xf0\x9f\x98z"),
    TEXT("\xe2z\xac"),
    TEXT("\xf0z\x98\x80"),
    TEXT("\xf0\x9fz\x80"),
    TEXT("\xc3\xa9\xa9"),
    TEXT("\xc3\xc3\xa9"),
    /* Overlong forms. */
    TEXT("\xc0\x80"),
    TEXT("\xc0\xaf"),
    TEXT("\xc1\xbf"),
    TEXT("\xe0\x80\x80"),
    TEXT("\xe0\x80\xaf"),
    TEXT("\xe0\x9f\xbf"),
    TEXT("\xf0\x80\x80\x80"),
    TEXT("\xf0\x80\x80\xaf"),
    TEXT("\xf0\x8f\xbf\xbf"),
    /* Surrogates, alone and in pairs (CESU-8). */
    TEXT("\xed\xa0\x80"),
    TEXT("\xed\xaf\xbf"),
    TEXT("\xed\xb0\x80"),
    TEXT("\xed\xbf\xbf"),
    TEXT("\xed\xa0\xbd\xed\xb8\x80"),
    /* Above U+10FFFF, and bytes that never occur. */
    TEXT("\xf4\x90\x80\x80"),
    TEXT("\xf4\xbf\xbf\xbf"),
    TEXT("\xf5\x80\x80\x80"),
    TEXT("\xf7\xbf\xbf\xbf"),
    TEXT("\xf8\x88\x80\x80\x80"),
    TEXT("\xfc\x84\x80\x80\x80\x80"),
    TEXT("\xfe"),
    TEXT("\xff"),
};

/* Asserts what both entries say of some bytes, the second within a string. */
static void
assert_utf8(const char *bytes, size_t n, bool is_good)
{
	char text[16] = "\"";

	ck_assert_uint_lt(n, sizeof(text) - 2);
	ck_assert_int_eq(json_is_utf8(bytes, n), is_good);
	memcpy(text + 1, bytes, n);
	text[n + 1] = '"';
	if (n > 0 && (uint8_t)bytes[0] < 0x20)
		return;
	if (is_good)
		assert_good(text, n + 2);
	else
		assert_bad(text, n + 2);
}

START_TEST(test_utf8)
{
	for (size_t i = 0; i < COUNT(utf8_good); i++)
		assert_utf8(utf8_good[i].bytes, utf8_good[i].n, true);
	for (size_t i = 0; i < COUNT(utf8_bad); i++)
		assert_utf8(utf8_bad[i].bytes, utf8_bad[i].n, false);
}
END_TEST

/* Says whether `v`, read as UTF-8 of up to 4 bytes, is one character; by the
 * arithmetic of the definition, not by tables as the code has it. */
static bool
is_one_character(const uint8_t p[4], size_t n)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	uint32_t c = p[0];

	if (n == 1)
		return c < 0x80;
	if (c >> (7 - n) != (1u << (n + 1)) - 2)
		return false;
	c &= (1u << (7 - n)) - 1;
	for (size_t i = 1; i < n; i++) {
		if (p[i] >> 6 != 2)
			return false;
		c = c << 6 | (p[i] & 0x3f);
	}
	return c >= least[n] && c <= 0x10ffff && (c < 0xd800 || c > 0xdfff);
}

START_TEST(test_every_sequence_of_up_to_three_bytes)
{
	for (uint32_t v = 0; v < 1u << 24; v++) {
		uint8_t p[4] = {
		    (uint8_t)(v >> 16), (uint8_t)(v >> 8), (uint8_t)v};
		bool one = is_one_character(p, 3);

		/* With an ASCII byte in it, it is several characters. */
		if (p[0] < 0x80 || p[1] < 0x80 || p[2] < 0x80)
			continue;
		if (json_is_utf8(p, 3) != one)
			ck_abort_msg("%06x", v);
		if ((v & 0xff) == 0x80 &&
		    json_is_utf8(p, 2) != is_one_character(p, 2))
			ck_abort_msg("%04x", v >> 8);
	}
}
END_TEST

START_TEST(test_every_lead_of_four_bytes)
{
	for (uint32_t v = 0; v < 1u << 16; v++) {
		uint8_t p[4] = {(uint8_t)(v >> 8), (uint8_t)v, 0x80, 0xbf};

		if (p[0] >= 0xe0 &&
		    json_is_utf8(p, 4) != is_one_character(p, 4))
			ck_abort_msg("%04x", v);
	}
}
END_TEST

START_TEST(test_is_object)
{
	static const struct {
		const char *text;
		bool is_object;
	} table[] = {
	    {"{}", true},
	    {" \n{}", true},
	    {"[{}]", false},
	    {"\"{\"", false},
	    {"1", false},
	};

	for (size_t i = 0; i < COUNT(table); i++)
		ck_assert_int_eq(json_is_object((const uint8_t *)table[i].text,
				     strlen(table[i].text)),
		    table[i].is_object);
}
END_TEST

START_TEST(test_member_walk)
{
	static const char text[] =
	    " {\"a\":1 , \"\" : [ {\"x\":2}, \",\" ] ,\"q\\\"}\":\"{,}\","
	    "\"a\":\tnull\n} ";
	static const char *const members[][2] = {
	    {"a", "1"},
	    {"", "[ {\"x\":2}, \",\" ]"},
	    {"q\\\"}", "\"{,}\""},
	    {"a", "null"},
	};
	const uint8_t *in = (const uint8_t *)text;
	const size_t n = sizeof(text) - 1;
	struct json_member m;
	size_t at = 0;

	for (size_t i = 0; i < COUNT(members); i++) {
		ck_assert(json_next_member(in, n, &at, &m));
		ck_assert_uint_eq(m.key_bytes, strlen(members[i][0]));
		ck_assert_mem_eq(in + m.key, members[i][0], m.key_bytes);
		ck_assert_uint_eq(m.value_bytes, strlen(members[i][1]));
		ck_assert_mem_eq(in + m.value, members[i][1], m.value_bytes);
	}
	for (int again = 0; again < 2; again++) {
		ck_assert(!json_next_member(in, n, &at, &m));
		ck_assert_uint_eq(at, n - 2);
	}
}
END_TEST

START_TEST(test_walk_of_no_members_ends_at_the_brace)
{
	static const uint8_t text[] = " { } ";
	struct json_member m;
	size_t at = 0;

	ck_assert(!json_next_member(text, sizeof(text) - 1, &at, &m));
	ck_assert_uint_eq(at, 3);
}
END_TEST

START_TEST(test_value_at_the_depth_limit_is_walked)
{
	static char text[4 * JSON_MAX_DEPTH];
	size_t n = (size_t)sprintf(text, "{\"a\":"), at = 0;
	struct json_member m;

	n += nested(text + n, JSON_MAX_DEPTH - 1, "[", "]");
	n += (size_t)sprintf(text + n, "}");
	assert_good(text, n);
	ck_assert(json_next_member((const uint8_t *)text, n, &at, &m));
	ck_assert_uint_eq(m.value_bytes, 2 * JSON_MAX_DEPTH - 1);
}
END_TEST

/* What a key is when resolved is the name. */
static void
assert_resolved(const uint8_t *key, size_t n, const char *name)
{
	uint8_t *out = malloc(n == 0 ? 1 : n);
	size_t bytes = json_resolve(out, key, n);

	ck_assert(json_key_equals(key, n, out, bytes));
	ck_assert_uint_eq(bytes, strlen(name));
	ck_assert_mem_eq(out, name, bytes);
	free(out);
}

START_TEST(test_key_is)
{
	static const struct {
		const char *key;
		const char *name;
		bool is;
	} table[] = {
	    {"", "", true},
	    {"ack", "ack", true},
	    {"ack", "acks", false},
	    {"acks", "ack", false},
	    {"", "a", false},
	    {"a", "", false},
	    {"Ack", "ack", false},
	    {"\\u0061ck", "ack", true},
	    {"a\\u0063\\u006b", "ack", true},
	    {"a\\u0063\\u006B", "ack", true},
	    {"\\\"\\\\\\/\\b\\f\\n\\r\\t", "\"\\/\b\f\n\r\t", true},
	    {"\\n", "n", false},
	    {"\\\\n", "\n", false},
	    {"\\\\n", "\\n", true},
	    {"\\u00e9", "\xc3\xa9", true},
	    {"\xc3\xa9", "\xc3\xa9", true},
	    {"\\u20AC", "\xe2\x82\xac", true},
	    {"\\ud83d\\ude00", "\xf0\x9f\x98\x80", true},
	    {"\\uD83D\\uDE00x", "\xf0\x9f\x98\x80x", true},
	    {"\\udbff\\udfff", "\xf4\x8f\xbf\xbf", true},
	    {"\\ud800\\udc00", "\xf0\x90\x80\x80", true},
	    {"\\ud83d", "\xf0\x9f\x98\x80", false},
	    {"\\ud83d\\ude0", "\xf0\x9f\x98\x80", false},
	    {"\\ude00\\ud83d", "\xf0\x9f\x98\x80", false},
	    {"\\ud83d\\u0041", "\xf0\x9f\x98\x80", false},
	    {"\\ud83dxxxxxx", "\xf0\x9f\x98\x80", false},
	    {"\\u0000", "", false},
	    {"a\\u0000", "a", false},
	    {"a\\u0000b", "a", false},
	    {"\\u007f", "\x7f", true},
	    {"\\u0080", "\xc2\x80", true},
	    {"\\u07ff", "\xdf\xbf", true},
	    {"\\u0800", "\xe0\xa0\x80", true},
	    {"\\uffff", "\xef\xbf\xbf", true},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t n = strlen(table[i].key);
		uint8_t *key = malloc(n == 0 ? 1 : n);

		memcpy(key, table[i].key, n);
		ck_assert_msg(json_key_is(key, n, table[i].name) == table[i].is,
		    "%s", table[i].key);
		if (table[i].is)
			assert_resolved(key, n, table[i].name);
		free(key);
	}
}
END_TEST

/* A name may have any bytes in it. */
START_TEST(test_key_equals_bytes)
{
	static const uint8_t key[] = "a\\u0000\\ud800";
	uint8_t out[sizeof(key)];

	ck_assert_uint_eq(json_resolve(out, key, sizeof(key) - 1), 5);
	ck_assert_mem_eq(out, "a\0\xed\xa0\x80", 5);
	ck_assert(json_key_equals(key, sizeof(key) - 1, out, 5));
	ck_assert(!json_key_equals(key, sizeof(key) - 1, out, 4));
	ck_assert(!json_key_equals(key, sizeof(key) - 1, "a", 1));
	ck_assert(!json_key_equals(key, 1, out, 2));
	ck_assert(json_key_equals(key, 1, out, 1));
}
END_TEST

START_TEST(test_escape)
{
	static const struct {
		struct text in;
		const char *out;
	} table[] = {
	    {TEXT(""), ""},
	    {TEXT("plain / text"), "plain / text"},
	    {TEXT("\"\\"), "\\\"\\\\"},
	    {TEXT("\b\f\n\r\t"), "\\b\\f\\n\\r\\t"},
	    {TEXT("\0\x01\x1f\v"), "\\u0000\\u0001\\u001f\\u000b"},
	    {TEXT("\x7f"), "\x7f"},
	    {TEXT("\xc3\xa9\xf0\x9f\x98\x80"), "\xc3\xa9\xf0\x9f\x98\x80"},
	};
	uint8_t out[64];

	for (size_t i = 0; i < COUNT(table); i++) {
		size_t n = json_escape(out, table[i].in.bytes, table[i].in.n);

		ck_assert_uint_eq(n, strlen(table[i].out));
		ck_assert_mem_eq(out, table[i].out, n);
	}
}
END_TEST

/* What is escaped is a string, and resolves to what it was. */
START_TEST(test_escape_of_every_ascii_character)
{
	for (int c = 1; c < 128; c++) {
		char name[] = {(char)c, '\0'};
		char text[10] = "\"";
		size_t n = json_escape((uint8_t *)text + 1, name, 1);

		text[n + 1] = '"';
		assert_good(text, n + 2);
		ck_assert(json_key_is((const uint8_t *)text + 1, n, name));
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("json");
	TCase *tests = tcase_create("json");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 600);
	tcase_add_loop_test(
	    tests, test_what_rfc_8259_allows, 0, (int)COUNT(good));
	tcase_add_loop_test(
	    tests, test_what_rfc_8259_forbids, 0, (int)COUNT(bad));
	tcase_add_test(tests, test_text_cut_at_every_byte);
	tcase_add_test(tests, test_text_with_each_byte_replaced);
	tcase_add_test(tests, test_refusal_says_where_and_why);
	tcase_add_test(tests, test_depth_limit_is_exact);
	tcase_add_test(tests, test_depth_falls_when_a_bracket_closes);
	tcase_add_test(tests, test_wrong_bracket_at_any_depth);
	tcase_add_test(tests, test_utf8);
	tcase_add_test(tests, test_every_sequence_of_up_to_three_bytes);
	tcase_add_test(tests, test_every_lead_of_four_bytes);
	tcase_add_test(tests, test_is_object);
	tcase_add_test(tests, test_member_walk);
	tcase_add_test(tests, test_walk_of_no_members_ends_at_the_brace);
	tcase_add_test(tests, test_value_at_the_depth_limit_is_walked);
	tcase_add_test(tests, test_key_is);
	tcase_add_test(tests, test_key_equals_bytes);
	tcase_add_test(tests, test_escape);
	tcase_add_test(tests, test_escape_of_every_ascii_character);
	return suite_run(suite);
}
