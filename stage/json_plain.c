#include "stage/json_plain.h"

#include "stage/json.h"
#include "stage/utf8.h"

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
json_plain_check(
    const uint8_t *in, size_t in_bytes, const char **why, size_t *at)
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
