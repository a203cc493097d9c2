#include "stage/json.h"

#include "stage/utf8.h"

#include <stdio.h>
#include <string.h>

/* Returns the value of the four hex digits at `p`. */
static uint32_t
hex4(const uint8_t *p)
{
	uint32_t v = 0;

	for (int i = 0; i < 4; i++) {
		uint8_t c = p[i];

		v = v << 4 |
		    (uint32_t)(c <= '9' ? c - '0' : (c | 0x20) - 'a' + 10);
	}
	return v;
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
			*out_bytes = utf8_put(out, c);
			return 12;
		}
	}
	*out_bytes = utf8_put(out, c);
	return 6;
}

bool
json_key_equals(
    const uint8_t *key, size_t key_bytes, const void *name, size_t name_bytes)
{
	const uint8_t *left = name, *end = left + name_bytes;
	size_t i = 0;

	while (i < key_bytes) {
		uint8_t piece[4] = {key[i]};
		size_t n = 1, took = 1;

		if (key[i] == '\\')
			took =
			    resolve_escape(key + i, key_bytes - i, piece, &n);
		if ((size_t)(end - left) < n || memcmp(left, piece, n) != 0)
			return false;
		left += n;
		i += took;
	}
	return left == end;
}

bool
json_key_is(const uint8_t *key, size_t key_bytes, const char *name)
{
	return json_key_equals(key, key_bytes, name, strlen(name));
}

size_t
json_resolve(uint8_t *out, const uint8_t *key, size_t key_bytes)
{
	uint8_t *to = out;
	size_t i = 0;

	while (i < key_bytes) {
		uint8_t piece[4] = {key[i]};
		size_t n = 1, took = 1;

		if (key[i] == '\\')
			took =
			    resolve_escape(key + i, key_bytes - i, piece, &n);
		memcpy(to, piece, n);
		to += n;
		i += took;
	}
	return (size_t)(to - out);
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
