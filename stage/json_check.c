/*
 * The check of each event, where speed counts. A function here takes the
 * offset where something is to be and returns the offset behind it, or NOT_JSON
 * if it is not there; what is wrong then is found out by json_plain_check.
 */
#include "stage/json.h"

#include "stage/json_plain.h"
#include "stage/run.h"
#include "stage/utf8.h"

#include <assert.h>
#include <string.h>

#define NOT_JSON UTF8_NONE

#define INLINE static inline __attribute__((always_inline))

/* The bytes that are checked. */
struct text {
	const uint8_t *in;
	size_t bytes;
};

/* Says whether the byte at `at` is `c`, which is not 0. */
INLINE bool
is_at(const struct text *t, size_t at, uint8_t c)
{
	return at < t->bytes && t->in[at] == c;
}

INLINE bool
digit_at(const struct text *t, size_t at)
{
	return at < t->bytes && run_has(RUN_DIGITS, t->in[at]);
}

/* White space, where there is some or a control character. */
static __attribute__((noinline)) size_t
some_space(const struct text *t, size_t at)
{
	if (!run_has(RUN_SPACE, t->in[at]))
		return at;
	at++;
	/* Mostly it is one. */
	if (at == t->bytes || t->in[at] > ' ')
		return at;
	return run_end(RUN_SPACE, t->in, t->bytes, at);
}

/* White space, of which there is mostly none. */
INLINE size_t
skip_space(const struct text *t, size_t at)
{
	if (at >= t->bytes || t->in[at] > ' ')
		return at;
	if (t->in[at] == ' ' && at + 1 < t->bytes && t->in[at + 1] > ' ')
		return at + 1;
	return some_space(t, at);
}

/* What a byte is in an escape. */
enum {
	LETTER = 1, /* may stand behind the backslash */
	HEX = 2,
};

static const uint8_t in_escape[256] = {
    ['"'] = LETTER,
    ['/'] = LETTER,
    ['0'] = HEX,
    ['1'] = HEX,
    ['2'] = HEX,
    ['3'] = HEX,
    ['4'] = HEX,
    ['5'] = HEX,
    ['6'] = HEX,
    ['7'] = HEX,
    ['8'] = HEX,
    ['9'] = HEX,
    ['A'] = HEX,
    ['B'] = HEX,
    ['C'] = HEX,
    ['D'] = HEX,
    ['E'] = HEX,
    ['F'] = HEX,
    ['\\'] = LETTER,
    ['a'] = HEX,
    ['b'] = HEX | LETTER,
    ['c'] = HEX,
    ['d'] = HEX,
    ['e'] = HEX,
    ['f'] = HEX | LETTER,
    ['n'] = LETTER,
    ['r'] = LETTER,
    ['t'] = LETTER,
};

/* Escapes, at least one, from a backslash on. */
static size_t
escapes(const struct text *t, size_t at)
{
	while (is_at(t, at, '\\')) {
		const uint8_t *p = t->in + at;

		if (t->bytes - at < 2)
			return NOT_JSON;
		at += 2;
		if ((in_escape[p[1]] & LETTER) != 0)
			continue;
		if (p[1] != 'u' || t->bytes - at < 4)
			return NOT_JSON;
		/* At once: which of the digits they are is hard to foresee. */
		if ((in_escape[p[2]] & in_escape[p[3]] & in_escape[p[4]] &
			in_escape[p[5]] & HEX) == 0)
			return NOT_JSON;
		at += 4;
	}
	return at;
}

/* What is left of a string from the first byte on that is odd. */
static __attribute__((noinline)) size_t
odd_string(const struct text *t, size_t at)
{
	while (at < t->bytes) {
		if (t->in[at] == '"')
			return at + 1;
		if (t->in[at] == '\\')
			at = escapes(t, at);
		else if (t->in[at] > 0x7f)
			at = utf8_skip(t->in, t->bytes, at);
		else
			return NOT_JSON;
		if (at == NOT_JSON)
			return NOT_JSON;
		at = run_end(RUN_STRING, t->in, t->bytes, at);
	}
	return NOT_JSON;
}

/* A string, from behind its opening quote on. */
INLINE size_t
string(const struct text *t, size_t at)
{
	at = run_end(RUN_STRING, t->in, t->bytes, at);
	return is_at(t, at, '"') ? at + 1 : odd_string(t, at);
}

/* Digits, at least one. */
INLINE size_t
digits(const struct text *t, size_t at)
{
	if (!digit_at(t, at))
		return NOT_JSON;
	return run_end(RUN_DIGITS, t->in, t->bytes, at + 1);
}

/* What follows the whole part of a number. */
INLINE size_t
fraction(const struct text *t, size_t at)
{
	if (is_at(t, at, '.')) {
		at = digits(t, at + 1);
		if (at == NOT_JSON)
			return NOT_JSON;
	}
	if (is_at(t, at, 'e') || is_at(t, at, 'E')) {
		at++;
		if (is_at(t, at, '+') || is_at(t, at, '-'))
			at++;
		return digits(t, at);
	}
	return at;
}

INLINE size_t
number(const struct text *t, size_t at)
{
	if (t->in[at] == '-')
		at++;
	/* A digit behind a zero is found out as what no value ends with. */
	at = is_at(t, at, '0') ? at + 1 : digits(t, at);
	return at == NOT_JSON ? NOT_JSON : fraction(t, at);
}

INLINE size_t
word(const struct text *t, size_t at, const char *word, size_t n)
{
	if (t->bytes - at < n || memcmp(t->in + at, word, n) != 0)
		return NOT_JSON;
	return at + n;
}

/* A value that holds no other. */
INLINE size_t
scalar(const struct text *t, size_t at)
{
	if (at == t->bytes)
		return NOT_JSON;
	switch (t->in[at]) {
	case '"':
		return string(t, at + 1);
	case 't':
		return word(t, at, "true", 4);
	case 'f':
		return word(t, at + 1, "alse", 4);
	case 'n':
		return word(t, at, "null", 4);
	default:
		return number(t, at);
	}
}

/* The colon with white space around it. */
INLINE size_t
colon(const struct text *t, size_t at)
{
	at = skip_space(t, at);
	return is_at(t, at, ':') ? skip_space(t, at + 1) : NOT_JSON;
}

/* `"key" :` and the white space behind it. */
INLINE size_t
key(const struct text *t, size_t at)
{
	if (!is_at(t, at, '"'))
		return NOT_JSON;
	at = string(t, at + 1);
	return at == NOT_JSON ? NOT_JSON : colon(t, at);
}

/* The arrays and objects within each other, and what each ends with. */
struct nest {
	size_t outer; /* those around the value */
	size_t depth;
	uint8_t close[JSON_MAX_DEPTH]; /* set from `outer` up to `depth` */
};

/* Says whether the byte is '[' or '{', which are 2 below what closes them. */
INLINE bool
opens(uint8_t c)
{
	return c == '[' || c == '{';
}

/* '[' or '{', and the key if a value follows; if not, what closes it. */
INLINE size_t
open(const struct text *t, struct nest *nest, size_t at, bool *is_value)
{
	uint8_t close = (uint8_t)(t->in[at] + 2);

	if (nest->depth == JSON_MAX_DEPTH)
		return NOT_JSON;
	at = skip_space(t, at + 1);
	*is_value = !is_at(t, at, close);
	if (!*is_value)
		return at + 1;
	nest->close[nest->depth++] = close;
	return close == '}' ? key(t, at) : at;
}

/* What follows a value: closing brackets, and a comma with, in an object, the
 * next key. *is_value is then true if a value is to come. */
INLINE size_t
after(const struct text *t, struct nest *nest, size_t at, bool *is_value)
{
	*is_value = false;
	while (nest->depth > nest->outer) {
		uint8_t close = nest->close[nest->depth - 1];

		at = skip_space(t, at);
		if (is_at(t, at, ',')) {
			*is_value = true;
			at = skip_space(t, at + 1);
			return close == '}' ? key(t, at) : at;
		}
		if (!is_at(t, at, close))
			return NOT_JSON;
		at++;
		nest->depth--;
	}
	return at;
}

/* An array or object, within `outer` others. */
static size_t
container(const struct text *t, size_t at, size_t outer)
{
	struct nest nest;
	bool is_value = true;

	nest.outer = nest.depth = outer;
	while (is_value) {
		if (at < t->bytes && opens(t->in[at])) {
			at = open(t, &nest, at, &is_value);
		} else {
			at = scalar(t, at);
			is_value = false;
		}
		if (!is_value && at != NOT_JSON)
			at = after(t, &nest, at, &is_value);
		if (at == NOT_JSON)
			return NOT_JSON;
	}
	return at;
}

INLINE size_t
value(const struct text *t, size_t at, size_t outer)
{
	if (at < t->bytes && opens(t->in[at]))
		return container(t, at, outer);
	return scalar(t, at);
}

/* One member of the outermost object. */
INLINE size_t
member(const struct text *t, size_t at, struct json_member *m)
{
	if (!is_at(t, at, '"'))
		return NOT_JSON;
	m->key = at + 1;
	at = string(t, at + 1);
	if (at == NOT_JSON)
		return NOT_JSON;
	m->key_bytes = at - 1 - m->key;
	at = colon(t, at);
	if (at == NOT_JSON)
		return NOT_JSON;
	m->value = at;
	at = value(t, at, 1);
	m->value_bytes = at - m->value;
	return at;
}

/* The outermost object, from behind its '{' on. */
INLINE size_t
object(const struct text *t, size_t at, struct json_outline *outline)
{
	struct json_member unlisted;

	outline->is_whole = true;
	at = skip_space(t, at);
	if (is_at(t, at, '}')) {
		outline->close = at;
		return at + 1;
	}
	for (;;) {
		struct json_member *m = &unlisted;

		if (outline->count < JSON_OUTLINE_MEMBERS)
			m = &outline->members[outline->count++];
		else
			outline->is_whole = false;
		at = member(t, at, m);
		if (at == NOT_JSON)
			return NOT_JSON;
		at = skip_space(t, at);
		if (!is_at(t, at, ','))
			break;
		at = skip_space(t, at + 1);
	}
	outline->close = at;
	return is_at(t, at, '}') ? at + 1 : NOT_JSON;
}

bool
json_outline(const uint8_t *in, size_t in_bytes, struct json_outline *outline,
    const char **why, size_t *at)
{
	const struct text t = {.in = in, .bytes = in_bytes};
	size_t end = skip_space(&t, 0);

	outline->count = 0;
	outline->is_whole = false;
	outline->is_object = is_at(&t, end, '{');
	if (outline->is_object)
		end = object(&t, end + 1, outline);
	else
		end = value(&t, end, 0);
	if (end != NOT_JSON && skip_space(&t, end) == in_bytes)
		return true;
	/* Were it to find nothing wrong, the event would only be slow. */
	outline->count = 0;
	outline->is_whole = false;
	return json_plain_check(in, in_bytes, why, at);
}

bool
json_check(const uint8_t *in, size_t in_bytes, const char **why, size_t *at)
{
	struct json_outline outline;

	return json_outline(in, in_bytes, &outline, why, at);
}

bool
json_is_object(const uint8_t *in, size_t in_bytes)
{
	const struct text t = {.in = in, .bytes = in_bytes};

	return is_at(&t, skip_space(&t, 0), '{');
}

bool
json_next_member(
    const uint8_t *in, size_t in_bytes, size_t *at, struct json_member *out)
{
	const struct text t = {.in = in, .bytes = in_bytes};
	size_t next = skip_space(&t, *at);

	if (*at == 0) {
		assert(is_at(&t, next, '{'));
		next = skip_space(&t, next + 1);
	} else if (is_at(&t, next, ',')) {
		next = skip_space(&t, next + 1);
	}
	if (is_at(&t, next, '}')) {
		*at = next;
		return false;
	}
	next = member(&t, next, out);
	assert(next != NOT_JSON);
	*at = next;
	return true;
}
