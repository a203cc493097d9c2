/*
 * A status as text for people: JSON in, text of lines out. Pure.
 *
 * Nothing of the JSON is relied on: what is missing or of another type than
 * status.h writes is shown as "-", and what is not printable is escaped. Lines
 * hold 80 columns where names are not long.
 */
#ifndef SUPERVISOR_TABLE_H
#define SUPERVISOR_TABLE_H

#include <cjson/cJSON.h>

#include <stdint.h>

/*
 * Returns the text, whose last line has its newline; the caller frees it.
 * `now_ns` is CLOCK_REALTIME, to tell how long ago something was.
 */
char *table_put(const cJSON *status, int64_t now_ns);

#endif
