/*
 * The bytes of a configuration's file before anything is read in them: whether
 * they are text, and where in it something stands. Pure.
 */
#ifndef SUPERVISOR_TEXT_H
#define SUPERVISOR_TEXT_H

#include "supervisor/faults.h"

#include <stddef.h>
#include <stdint.h>

/* Skips a byte order mark, which some editors put in front. */
void text_skip_mark(const uint8_t **in, size_t *in_bytes);

/*
 * Refuses what is no text at all: bytes that are not UTF-8, and NUL. Returns
 * 0, or -1 with a fault at the place of the first such byte. `name` is the
 * file's, as in places.
 */
int text_check(const char *name, const uint8_t *in, size_t in_bytes,
    struct faults *faults);

/* Returns the place of the byte at `offset`, or of the first before it that is
 * no UTF-8. */
struct place text_place(
    const char *name, const uint8_t *in, size_t in_bytes, size_t offset);

#endif
