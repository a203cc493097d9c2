/*
 * Takes an input of a fuzzer apart: numbers and bytes, in order. Behind its
 * end all is zero.
 */
#ifndef T_FUZZ_INPUT_H
#define T_FUZZ_INPUT_H

#include "stage/bytes.h"

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fuzz_input {
	const uint8_t *data; /* borrowed: what is left */
	size_t bytes;
};

/* Copies the next `bytes`. */
static inline void
fuzz_take(struct fuzz_input *in, void *to, size_t bytes)
{
	size_t n = bytes < in->bytes ? bytes : in->bytes;

	memset(to, 0, bytes);
	if (n > 0)
		memcpy(to, in->data, n);
	in->data += n;
	in->bytes -= n;
}

static inline uint8_t
fuzz_byte(struct fuzz_input *in)
{
	uint8_t byte;

	fuzz_take(in, &byte, 1);
	return byte;
}

/* A number: below 240 in one byte; 240 and 16 bits; 241 and 64 bits. */
static inline uint64_t
fuzz_number(struct fuzz_input *in)
{
	uint8_t raw[8], first = fuzz_byte(in);

	if (first < 240)
		return first;
	if (first == 240) {
		fuzz_take(in, raw, 2);
		return get_be16(raw);
	}
	fuzz_take(in, raw, sizeof(raw));
	return get_be64(raw);
}

#endif
