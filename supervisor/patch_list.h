/*
 * What `insert`, `upsert` and `patch` of a pipeline say, as one list of what
 * is done to each event, in its order; each becomes an option of walproc. There
 * VALUE is JSON if it parses as JSON, else a string; so a string that would
 * parse is put into quotes here, and a list or a map becomes JSON text.
 * Placeholders (${hostname}) pass on as they are, but an unknown one is a
 * fault.
 */
#ifndef SUPERVISOR_PATCH_LIST_H
#define SUPERVISOR_PATCH_LIST_H

#include "supervisor/tree.h"

#include <stdbool.h>
#include <stddef.h>

/* The longest KEY=VALUE: Linux takes no argument over 128 KiB. */
#define PATCH_LIST_MAX_BYTES ((size_t)64 << 10)
/* Keys in one map. */
#define PATCH_LIST_MAX_FIELDS 128
/* Operations of one pipeline. */
#define PATCH_LIST_MAX_OPERATIONS 256
/* The longest name of a placeholder. */
#define PATCH_LIST_NAME_BYTES 128

/* The operations, as walproc(1) describes them. */
enum patch_list_how {
	PATCH_LIST_INSERT,
	PATCH_LIST_UPSERT,
	PATCH_LIST_UPDATE,
	PATCH_LIST_ERASE,
	PATCH_LIST_MERGE,
	PATCH_LIST_MERGE_EVENT,
	PATCH_LIST_HOWS,
};

/* One operation. */
struct patch_list_field {
	enum patch_list_how how;
	char *key;   /* owned; not empty, and without "=" unless for ERASE;
		      * MERGE_EVENT: NULL */
	char *value; /* owned; MERGE, MERGE_EVENT: a JSON object; ERASE: NULL */
};

struct patch_list {
	struct patch_list_field *fields; /* owned; in the order of the work */
	size_t count;
};

/*
 * Appends one operation; the three are as struct patch_list_field has them.
 * The key is copied, the value is the list's from here on. Nothing is checked.
 */
void patch_list_add(struct patch_list *list, enum patch_list_how how,
    const char *key, char *value);

/*
 * Appends an operation for each key of the map under `insert` or `upsert`.
 * What is wrong is added to `faults`.
 */
void patch_list_read(struct patch_list *list, enum patch_list_how how,
    const struct tree_node *map, struct faults *faults);

/* As patch_list_read, for the list under `patch`. */
void patch_list_read_steps(struct patch_list *list,
    const struct tree_node *steps, struct faults *faults);

/* Frees the fields. */
void patch_list_fini(struct patch_list *list);

/*
 * Looks for a placeholder in `text` that nobody expands. Returns where it
 * begins, with *bytes its length, or NULL if all are known.
 */
const char *patch_list_find_unknown(const char *text, size_t *bytes);

#endif
