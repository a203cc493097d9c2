/*
 * JSON that is written for others to read: what cJSON would write as it is,
 * and must not.
 */
#ifndef STAGE_JSONOUT_H
#define STAGE_JSONOUT_H

#include <cjson/cJSON.h>

/*
 * Adds the member `name` (a constant) with a text from outside: as it is if it
 * is UTF-8, else escaped as log_printable does, and then cut at 4 KiB; null if
 * `text` is NULL.
 */
void jsonout_text(cJSON *object, const char *name, const char *text);

#endif
