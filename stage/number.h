/*
 * Whole numbers as people write them in options and files.
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

#endif
