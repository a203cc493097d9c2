/*
 * The paths that bindings and mappings are written in, /word/ID/..., part by
 * part. Pure.
 */
#ifndef SUPERVISOR_ROUTE_H
#define SUPERVISOR_ROUTE_H

#include "supervisor/keys.h"

#include <stdbool.h>
#include <stddef.h>

/*
 * Points *part to the next part of a path, up to the next "/", and moves *path
 * on behind it. Returns its length; 0 where none is left, or the path does not
 * go on with a "/".
 */
size_t route_next(const char **path, const char **part);

/* Says whether a part is that word. */
bool route_is(const char *part, size_t bytes, const char *word);

/* Copies a part that is a name (keys_is_name); false if it is none. */
bool route_name(char name[KEYS_NAME_BYTES + 1], const char *part, size_t bytes);

#endif
