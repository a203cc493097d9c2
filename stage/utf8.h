/*
 * Characters of UTF-8 (RFC 3629): no overlong forms, no surrogates, at most
 * U+10FFFF.
 */
#ifndef STAGE_UTF8_H
#define STAGE_UTF8_H

#include <stddef.h>
#include <stdint.h>

/*
 * Returns the length of the sequence at `p`, which starts with a byte over
 * 0x7f and has `left` bytes up to the end, or 0 if it is none.
 */
static inline size_t
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

/* Writes the character `c`, up to U+10FFFF, and returns how many bytes that
 * took. */
size_t utf8_put(uint8_t out[4], uint32_t c);

#define UTF8_NONE SIZE_MAX

/*
 * Skips text within a JSON string, from the byte at `at` on, which is over
 * 0x7f and not the first of `in`. Returns the offset behind it: up to the
 * next quote, backslash or control character, or to some ASCII before that,
 * or `bytes`; UTF8_NONE if what it met is not UTF-8.
 */
size_t utf8_skip(const uint8_t *in, size_t bytes, size_t at);

#endif
