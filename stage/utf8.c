#include "stage/utf8.h"

size_t
utf8_put(uint8_t out[4], uint32_t c)
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

#ifdef __SSE2__

#include <emmintrin.h>

#define BLOCK_BYTES 16

static inline __m128i
load(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)(const void *)p);
}

static inline __m128i
all(unsigned byte)
{
	return _mm_set1_epi8((char)byte);
}

/* Marks the bytes that are `byte`. */
static inline __m128i
is(__m128i v, unsigned byte)
{
	return _mm_cmpeq_epi8(v, all(byte));
}

/* Marks the bytes that are over `byte`, which is over 0x7e; to the signed
 * compare those of ASCII are over it too. */
static inline __m128i
over(__m128i v, unsigned byte)
{
	return _mm_cmpgt_epi8(v, all(byte));
}

/* Returns a bit for each marked byte, the lowest for the first. */
static inline unsigned
bits(__m128i marks)
{
	return (unsigned)_mm_movemask_epi8(marks);
}

/* Marks what ends the text. */
static inline __m128i
ends(__m128i v)
{
	__m128i control = _mm_cmpeq_epi8(_mm_min_epu8(v, all(0x1f)), v);

	return _mm_or_si128(control, _mm_or_si128(is(v, '"'), is(v, '\\')));
}

/* Marks the bytes that are never in UTF-8 and, of those that have their place
 * behind a lead, those that are not in the lead's range: see utf8_length. */
static inline __m128i
misfits(__m128i v, __m128i before)
{
	__m128i a0 = over(v, 0x9f), x90 = over(v, 0x8f);
	/* Over 0xff is ASCII. */
	__m128i bad = _mm_andnot_si128(over(v, 0xff), over(v, 0xf4));

	bad = _mm_or_si128(bad, is(_mm_and_si128(v, all(0xfe)), 0xc0));
	bad = _mm_or_si128(bad, _mm_andnot_si128(a0, is(before, 0xe0)));
	bad = _mm_or_si128(bad, _mm_and_si128(a0, is(before, 0xed)));
	bad = _mm_or_si128(bad, _mm_andnot_si128(x90, is(before, 0xf0)));
	return _mm_or_si128(bad, _mm_and_si128(x90, is(before, 0xf4)));
}

/* As utf8_skip, but stops where fewer than 16 bytes are left. */
static size_t
skip_blocks(const uint8_t *in, size_t bytes, size_t at)
{
	unsigned due = 0;

	while (bytes - at >= BLOCK_BYTES) {
		__m128i v = load(in + at);
		unsigned end = bits(ends(v)) | 1U << BLOCK_BYTES;
		unsigned high = bits(v);
		unsigned follows = bits(_mm_cmplt_epi8(v, all(0xc0)));
		unsigned wrong = bits(misfits(v, load(in + at - 1)));

		/* Where bytes that follow a lead are due, some of it from the
		 * block before; they must be there, and nowhere else. The
		 * first end counts: it may be where one is missing. */
		due |= (high & ~follows) << 1;
		due |= (high & bits(over(v, 0xdf))) << 2;
		due |= (high & bits(over(v, 0xef))) << 3;
		wrong |= (due ^ follows) & 0xffff;
		if ((wrong & (end ^ (end - 1))) != 0)
			return UTF8_NONE;
		if (end != 1U << BLOCK_BYTES)
			return at + (size_t)__builtin_ctz(end);
		due >>= BLOCK_BYTES;
		at += BLOCK_BYTES;
	}
	/* Back to the lead of what is not whole yet. */
	if (due != 0)
		do
			at--;
		while (in[at] < 0xc0);
	return at;
}

#else

static size_t
skip_blocks(const uint8_t *in, size_t bytes, size_t at)
{
	(void)in;
	(void)bytes;
	return at;
}

#endif

size_t
utf8_skip(const uint8_t *in, size_t bytes, size_t at)
{
	at = skip_blocks(in, bytes, at);
	while (at < bytes && in[at] > 0x7f) {
		size_t n = utf8_length(in + at, bytes - at);

		if (n == 0)
			return UTF8_NONE;
		at += n;
	}
	return at;
}
