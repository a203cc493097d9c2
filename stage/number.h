/*
 * Whole numbers in decimal: as people write them in options and files, and as
 * events have them.
 */
#ifndef STAGE_NUMBER_H
#define STAGE_NUMBER_H

#include <stdint.h>

/*
 * Reads a decimal number of digits only (no sign, no space, no unit) from
 * `min` to `max`. Returns 0 with *value set, or -1 if `text` is anything else.
 */
int number_parse(const char *text, uint64_t min, uint64_t max, uint64_t *value);

/*
 * Reads seconds, a decimal number with at most 3 digits behind the point
 * ("5", "0.25"), from `min_ms` to `max_ms`. Returns 0 with *ms set, or -1.
 */
int number_parse_seconds(
    const char *text, uint64_t min_ms, uint64_t max_ms, uint64_t *ms);

/* Digits of the largest 64-bit number. */
#define NUMBER_MAX_BYTES 20

/* Writes `v` to `to`, which has room for NUMBER_MAX_BYTES. Returns the end of
 * what was written; no NUL is put there. */
uint8_t *number_put(uint8_t *to, uint64_t v);

#endif
