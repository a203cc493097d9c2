/*
 * How far a run of bytes of one kind goes, sixteen bytes at a time where the
 * machine has SSE2, as every x86-64 does. Nothing outside `in` is read.
 */
#ifndef STAGE_RUN_H
#define STAGE_RUN_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum run_kind {
	RUN_STRING, /* ASCII that stands for itself in a JSON string */
	RUN_DIGITS,
	RUN_SPACE, /* JSON's white space */
};

#define RUN_BYTES ((size_t)16)

static inline bool
run_has(enum run_kind kind, uint8_t c)
{
	switch (kind) {
	case RUN_STRING:
		return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
	case RUN_DIGITS:
		return c >= '0' && c <= '9';
	case RUN_SPACE:
		return c == ' ' || c == '\t' || c == '\n' || c == '\r';
	}
	return false;
}

#ifdef __SSE2__

/* Returns one bit for each of the 16 bytes at `p`, the lowest for the first:
 * set if the byte is not of that kind. */
static inline unsigned
run_stops(enum run_kind kind, const uint8_t *p)
{
	__m128i v = _mm_loadu_si128((const __m128i *)(const void *)p);
	__m128i quote, slash, odd;

	switch (kind) {
	case RUN_STRING:
		quote = _mm_cmpeq_epi8(v, _mm_set1_epi8('"'));
		slash = _mm_cmpeq_epi8(v, _mm_set1_epi8('\\'));
		/* Signed: what is over 0x7f is below zero. */
		odd = _mm_cmplt_epi8(v, _mm_set1_epi8(0x20));
		odd = _mm_or_si128(odd, _mm_or_si128(quote, slash));
		return (unsigned)_mm_movemask_epi8(odd);
	case RUN_DIGITS:
		/* '0' to '9' become the ten lowest of the signed numbers. */
		v = _mm_add_epi8(v, _mm_set1_epi8(128 - '0'));
		odd = _mm_cmpgt_epi8(v, _mm_set1_epi8(-128 + 9));
		return (unsigned)_mm_movemask_epi8(odd);
	case RUN_SPACE:
		odd = _mm_or_si128(_mm_cmpeq_epi8(v, _mm_set1_epi8(' ')),
		    _mm_cmpeq_epi8(v, _mm_set1_epi8('\n')));
		odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('\r')));
		odd = _mm_or_si128(odd, _mm_cmpeq_epi8(v, _mm_set1_epi8('\t')));
		return (unsigned)_mm_movemask_epi8(odd) ^ 0xffff;
	}
	return 0xffff;
}

/* Returns where the run that starts at `at`, and may have no byte, ends: the
 * offset of the first byte of another kind, or `bytes`. */
static inline size_t
run_end(enum run_kind kind, const uint8_t *in, size_t bytes, size_t at)
{
	unsigned stops;

	for (; bytes - at >= RUN_BYTES; at += RUN_BYTES) {
		stops = run_stops(kind, in + at);
		if (stops != 0)
			return at + (size_t)__builtin_ctz(stops);
	}
	if (bytes >= RUN_BYTES) {
		/* The last 16, without those that are behind already. */
		stops = run_stops(kind, in + bytes - RUN_BYTES);
		stops >>= RUN_BYTES - (bytes - at);
		return stops == 0 ? bytes : at + (size_t)__builtin_ctz(stops);
	}
	while (at < bytes && run_has(kind, in[at]))
		at++;
	return at;
}

#else

/* Says whether all of the 8 bytes at `p` are of RUN_STRING. */
static inline bool
run_is_string(const uint8_t *p)
{
	const uint64_t ones = UINT64_C(0x0101010101010101);
	uint64_t v, quote, slash;

	memcpy(&v, p, sizeof(v));
	quote = v ^ ones * '"';
	slash = v ^ ones * '\\';
	/* A borrow comes only from a byte that is a stop itself. */
	return (((v - ones * 0x20) | (quote - ones) | (slash - ones) | v) &
		   ones * 0x80) == 0;
}

static inline size_t
run_end(enum run_kind kind, const uint8_t *in, size_t bytes, size_t at)
{
	if (kind == RUN_STRING)
		while (bytes - at >= sizeof(uint64_t) && run_is_string(in + at))
			at += sizeof(uint64_t);
	while (at < bytes && run_has(kind, in[at]))
		at++;
	return at;
}

#endif

#endif
