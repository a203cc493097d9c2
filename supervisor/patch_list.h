/*
 * What `insert` and `upsert` of a pipeline say, as KEY and VALUE of walproc's
 * options of the same names. There VALUE is JSON if it parses as JSON, else a
 * string; so a string that would parse is put into quotes here, and a list or
 * a map becomes JSON text. Placeholders (${hostname}) pass on as they are, but
 * an unknown one is a fault.
 */
#ifndef SUPERVISOR_PATCH_LIST_H
#define SUPERVISOR_PATCH_LIST_H

#include "supervisor/tree.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest KEY=VALUE: Linux takes no argument over 128 KiB. */
#define PATCH_LIST_MAX_BYTES ((size_t)64 << 10)
/* Keys in one map: walproc takes twice as many. */
#define PATCH_LIST_MAX_FIELDS 128
/* The longest name of a placeholder. */
#define PATCH_LIST_NAME_BYTES 128

struct patch_list_field {
	char *key;   /* owned; not empty, without "=" */
	char *value; /* owned */
};

struct patch_list {
	struct patch_list_field *fields; /* owned; in the order of the file */
	size_t count;
};

/*
 * Reads the map under `insert` or `upsert` into `list`, which is empty. What
 * is wrong is added to `faults`.
 */
void patch_list_read(struct patch_list *list, const struct tree_node *map,
    struct faults *faults);

/* Frees the fields. */
void patch_list_fini(struct patch_list *list);

/*
 * Looks for a placeholder in `text` that nobody expands. Returns where it
 * begins, with *bytes its length, or NULL if all are known.
 */
const char *patch_list_find_unknown(const char *text, size_t *bytes);

#endif
