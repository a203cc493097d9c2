/*
 * What the operations of a patch do, said again with cJSON's trees, which keep
 * the order of members but no bytes.
 */
#ifndef T_PATCH_REFERENCE_H
#define T_PATCH_REFERENCE_H

#include "walproc/patch.h"

#include <cjson/cJSON.h>

#include <stdbool.h>

/*
 * Returns what the operation of `text`, which patch_add takes and which has no
 * placeholders, makes of `event`, an object; or NULL where it is an error of
 * the event. `event` is freed, what is returned is the caller's.
 */
cJSON *patch_reference(cJSON *event, enum patch_how how, const char *text);

/* Says whether cJSON may refuse or misread checked JSON: it knows no single
 * surrogates and no long numbers, and U+0000 ends its strings. */
bool patch_reference_cannot(const uint8_t *in, size_t bytes);

#endif
