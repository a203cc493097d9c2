#include "stage/json.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* The bytes under inspection and how far the inspection has come. */
struct scan {
	const uint8_t *in;
	size_t bytes;
	size_t at;
	const char *why; /* set by the first failure; `at` then says where */
};

static bool
fail(struct scan *s, const char *why)
{
	s->why = why;
	return false;
}

static bool
is_space(uint8_t c)
{
	return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool
is_digit(uint8_t c)
{
	return c >= '0' && c <= '9';
}

static void
skip_space(struct scan *s)
{
	while (s->at < s->bytes && is_space(s->in[s->at]))
		s->at++;
}

/* Returns the byte at the scan's place, or 0, which no JSON token has. */
static uint8_t
peek(const struct scan *s)
{
	return s->at < s->bytes ? s->in[s->at] : 0;
}

/*
 * Returns the length of the UTF-8 sequence at `p`, which starts with a byte
 * over 0x7f, or 0 if it is none (RFC 3629, section 4).
 */
static size_t
utf8_length(const uint8_t *p, size_t left)
{
	uint8_t low = 0x80, high = 0xbf;
	size_t n;

	if (p[0] >= 0xc2 && p[0] <= 0xdf)
		n = 2;
	else if ((p[0] & 0xf0) == 0xe0)
		n = 3;
	else if (p[0] >= 0xf0 && p[0] <= 0xf4)
		n = 4;
	else
		return 0;
	if (p[0] == 0xe0)
		low = 0xa0;
	if (p[0] == 0xed)
		high = 0x9f;
	if (p[0] == 0xf0)
		low = 0x90;
	if (p[0] == 0xf4)
		high = 0x8f;
	if (left < n || p[1] < low || p[1] > high)
		return 0;
	for (size_t i = 2; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

/* Reads the four digits of \uXXXX. */
static bool
scan_hex4(struct scan *s)
{
	for (int i = 0; i < 4; i++) {
		uint8_t c = peek(s);
		uint8_t lower = (uint8_t)(c | 0x20);

		if (!is_digit(c) && (lower < 'a' || lower > 'f'))
			return fail(s, "\\u without four hex digits");
		s->at++;
	}
	return true;
}

static bool
scan_escape(struct scan *s)
{
	uint8_t c;

	s->at++;
	c = peek(s);
	if (c == 'u') {
		s->at++;
		return scan_hex4(s);
	}
	if (c == 0 || strchr("\"\\/bfnrt", c) == NULL)
		return fail(s, "unknown escape in a string");
	s->at++;
	return true;
}

/* Reads a string from its opening quote on. */
static bool
scan_string(struct scan *s)
{
	s->at++;
	while (s->at < s->bytes) {
		uint8_t c = s->in[s->at];
		size_t n;

		if (c == '"') {
			s->at++;
			return true;
		}
		if (c == '\\') {
			if (!scan_escape(s))
				return false;
			continue;
		}
		if (c < 0x20)
			return fail(s, "raw control character in a string");
		n = 1;
		if (c > 0x7f)
			n = utf8_length(s->in + s->at, s->bytes - s->at);
		if (n == 0)
			return fail(s, "invalid UTF-8");
		s->at += n;
	}
	return fail(s, "string not closed");
}

static bool
scan_digits(struct scan *s)
{
	if (!is_digit(peek(s)))
		return fail(s, "digit expected in a number");
	while (is_digit(peek(s)))
		s->at++;
	return true;
}

static bool
scan_number(struct scan *s)
{
	if (peek(s) == '-')
		s->at++;
	if (peek(s) == '0') {
		s->at++;
		if (is_digit(peek(s)))
			return fail(s, "number with a leading zero");
	} else if (!scan_digits(s)) {
		return false;
	}
	if (peek(s) == '.') {
		s->at++;
		if (!scan_digits(s))
			return false;
	}
	if (peek(s) == 'e' || peek(s) == 'E') {
		s->at++;
		if (peek(s) == '+' || peek(s) == '-')
			s->at++;
		return scan_digits(s);
	}
	return true;
}

static bool
scan_word(struct scan *s, const char *word)
{
	size_t n = strlen(word);

	if (s->bytes - s->at < n || memcmp(s->in + s->at, word, n) != 0)
		return fail(s, "value expected");
	s->at += n;
	return true;
}

/* Reads a value that holds no other: string, number or word. */
static bool
scan_scalar(struct scan *s)
{
	uint8_t c = peek(s);

	switch (c) {
	case '"':
		return scan_string(s);
	case 't':
		return scan_word(s, "true");
	case 'f':
		return scan_word(s, "false");
	case 'n':
		return scan_word(s, "null");
	default:
		if (c == '-' || is_digit(c))
			return scan_number(s);
		if (c > 0x7f &&
		    utf8_length(s->in + s->at, s->bytes - s->at) == 0)
			return fail(s, "invalid UTF-8");
		return fail(s, "value expected");
	}
}

/* Reads `"key" :` and the space behind it. */
static bool
scan_key(struct scan *s)
{
	skip_space(s);
	if (peek(s) != '"')
		return fail(s, "key expected");
	if (!scan_string(s))
		return false;
	skip_space(s);
	if (peek(s) != ':')
		return fail(s, "':' expected");
	s->at++;
	skip_space(s);
	return true;
}

/* The open arrays and objects, one bit each: set for an object. */
struct nest {
	uint8_t object[JSON_MAX_DEPTH / 8];
	size_t depth;
};

static bool
nest_top_is_object(const struct nest *nest)
{
	size_t top = nest->depth - 1;

	return (nest->object[top / 8] >> top % 8 & 1) != 0;
}

/*
 * Reads '{' or '['. *value is then false if it was closed at once, and true
 * if a value is to come.
 */
static bool
scan_open(struct scan *s, struct nest *nest, bool *value)
{
	bool object = peek(s) == '{';
	size_t top = nest->depth;

	if (top == JSON_MAX_DEPTH)
		return fail(s, "nested too deep");
	if (object)
		nest->object[top / 8] |= (uint8_t)(1 << top % 8);
	else
		nest->object[top / 8] &= (uint8_t) ~(1 << top % 8);
	nest->depth++;
	s->at++;
	skip_space(s);
	*value = peek(s) != (object ? '}' : ']');
	if (*value)
		return !object || scan_key(s);
	s->at++;
	nest->depth--;
	return true;
}

/*
 * Reads what follows a value: closing brackets, and a comma with, in an
 * object, the next key. *value is then true if a value is to come, false if
 * the outermost one has ended.
 */
static bool
scan_after(struct scan *s, struct nest *nest, bool *value)
{
	*value = false;
	while (nest->depth > 0) {
		bool object = nest_top_is_object(nest);
		uint8_t c;

		skip_space(s);
		c = peek(s);
		if (c == ',') {
			s->at++;
			skip_space(s);
			*value = true;
			return !object || scan_key(s);
		}
		if (c != (object ? '}' : ']'))
			return fail(s, object ? "',' or '}' expected"
					      : "',' or ']' expected");
		s->at++;
		nest->depth--;
	}
	return true;
}

/* Reads one value, whatever is in it, without recursion. */
static bool
scan_value(struct scan *s)
{
	struct nest nest = {.depth = 0};
	bool value = true;

	while (value) {
		skip_space(s);
		if (peek(s) == '{' || peek(s) == '[') {
			if (!scan_open(s, &nest, &value))
				return false;
		} else {
			if (!scan_scalar(s))
				return false;
			value = false;
		}
		if (!value && !scan_after(s, &nest, &value))
			return false;
	}
	return true;
}

bool
json_check(const uint8_t *in, size_t in_bytes, const char **why, size_t *at)
{
	struct scan s = {.in = in, .bytes = in_bytes};
	bool good;

	skip_space(&s);
	if (s.at == s.bytes)
		good = fail(&s, "empty");
	else
		good = scan_value(&s);
	if (good) {
		skip_space(&s);
		if (s.at < s.bytes)
			good = fail(&s, "more than one value");
	}
	if (!good) {
		*why = s.why;
		*at = s.at;
	}
	return good;
}

bool
json_is_object(const uint8_t *in, size_t in_bytes)
{
	struct scan s = {.in = in, .bytes = in_bytes};

	skip_space(&s);
	return peek(&s) == '{';
}

bool
json_next_member(
    const uint8_t *in, size_t in_bytes, size_t *at, struct json_member *member)
{
	struct scan s = {.in = in, .bytes = in_bytes, .at = *at};
	bool good;

	skip_space(&s);
	if (*at == 0) {
		assert(peek(&s) == '{');
		s.at++;
		skip_space(&s);
	} else if (peek(&s) == ',') {
		s.at++;
		skip_space(&s);
	}
	if (peek(&s) == '}') {
		*at = s.at;
		return false;
	}
	member->key = s.at + 1;
	good = scan_string(&s);
	member->key_bytes = s.at - 1 - member->key;
	skip_space(&s);
	s.at++;
	skip_space(&s);
	member->value = s.at;
	good = good && scan_value(&s);
	assert(good);
	member->value_bytes = s.at - member->value;
	*at = s.at;
	return true;
}

/* Returns the value of the four hex digits at `p`. */
static uint32_t
hex4(const uint8_t *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i];

		v = v << 4 |
		    (uint32_t)(is_digit(c) ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
}

/* Writes a code point as UTF-8 and returns how many bytes that took. */
static size_t
put_utf8(uint8_t out[4], uint32_t c)
{
	if (c < 0x80) {
		out[0] = (uint8_t)c;
		return 1;
	}
	if (c < 0x800) {
		out[0] = (uint8_t)(0xc0 | c >> 6);
		out[1] = (uint8_t)(0x80 | (c & 0x3f));
		return 2;
	}
	if (c < 0x10000) {
		out[0] = (uint8_t)(0xe0 | c >> 12);
		out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (c & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | c >> 18);
	out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (c & 0x3f));
	return 4;
}

/*
 * Resolves the escape at `p` (a backslash) into `out`; returns how many bytes
 * of `p` it took and sets *out_bytes.
 */
static size_t
resolve_escape(const uint8_t *p, size_t left, uint8_t out[4], size_t *out_bytes)
{
	static const char letters[] = "bfnrt", bytes[] = "\b\f\n\r\t";
	const char *at;
	uint32_t c, low;

	if (p[1] != 'u') {
		at = strchr(letters, p[1]);
		out[0] = at == NULL ? p[1] : (uint8_t)bytes[at - letters];
		*out_bytes = 1;
		return 2;
	}
	c = hex4(p + 2);
	if (c >= 0xd800 && c < 0xdc00 && left >= 12 && p[6] == '\\' &&
	    p[7] == 'u') {
		low = hex4(p + 8);
		if (low >= 0xdc00 && low < 0xe000) {
			c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
			*out_bytes = put_utf8(out, c);
			return 12;
		}
	}
	*out_bytes = put_utf8(out, c);
	return 6;
}

bool
json_key_is(const uint8_t *key, size_t key_bytes, const char *name)
{
	size_t left = strlen(name), i = 0;

	while (i < key_bytes) {
		uint8_t piece[4] = {key[i]};
		size_t n = 1, took = 1;

		if (key[i] == '\\')
			took =
			    resolve_escape(key + i, key_bytes - i, piece, &n);
		if (left < n || memcmp(name, piece, n) != 0)
			return false;
		name += n;
		left -= n;
		i += took;
	}
	return left == 0;
}

size_t
json_escape(uint8_t *out, const void *in, size_t in_bytes)
{
	static const char plain[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	const uint8_t *p = in;
	size_t used = 0;

	for (size_t i = 0; i < in_bytes; i++) {
		const char *at = p[i] == 0 ? NULL : strchr(plain, p[i]);
		char code[7];

		if (at != NULL) {
			out[used++] = '\\';
			out[used++] = (uint8_t)letter[at - plain];
		} else if (p[i] < 0x20) {
			(void)snprintf(code, sizeof(code), "\\u%04x", p[i]);
			memcpy(out + used, code, 6);
			used += 6;
		} else {
			out[used++] = p[i];
		}
	}
	return used;
}

bool
json_is_utf8(const void *in, size_t in_bytes)
{
	const uint8_t *p = in;

	for (size_t i = 0; i < in_bytes;) {
		size_t n = p[i] < 0x80 ? 1 : utf8_length(p + i, in_bytes - i);

		if (n == 0)
			return false;
		i += n;
	}
	return true;
}
