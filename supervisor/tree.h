/*
 * A YAML file as a tree of scalars, lists and maps, each with its place. The
 * only file that includes yaml.h. It knows YAML and no key of ours.
 *
 * It refuses what a configuration has no need of and a reader would stumble
 * over: several documents, anchors, aliases, tags, keys that are not scalars,
 * a key given twice, NUL bytes, deep nesting.
 */
#ifndef SUPERVISOR_TREE_H
#define SUPERVISOR_TREE_H

#include "supervisor/faults.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Lists and maps within each other, at most. */
#define TREE_MAX_DEPTH 32
/* Entries of one list or map, at most. */
#define TREE_MAX_ENTRIES 1000

enum tree_kind {
	TREE_SCALAR,
	TREE_LIST,
	TREE_MAP,
};

struct tree_node {
	enum tree_kind kind;
	struct place place;
	char *text;		 /* owned; scalar: UTF-8 without NUL */
	bool is_quoted;		 /* scalar: not plain, so always a string */
	struct tree_node *items; /* owned; entries of a list or a map */
	size_t count;		 /* items in use */
	char *key;		 /* owned; the key it stands under in a map */
	struct place key_place;	 /* where that key stands */
};

/*
 * Reads the text of one file. `name` stands in places (borrowed for as long as
 * the tree and the faults live). Returns the root, which the caller gives to
 * tree_free, or NULL; then at least one fault was added. A root may come with
 * faults too: keys given twice do not end the reading.
 */
struct tree_node *tree_parse(const char *name, const uint8_t *in,
    size_t in_bytes, struct faults *faults);

/* Frees what a node owns; it is an empty scalar then. */
void tree_fini(struct tree_node *node);

/* Frees a tree; NULL is allowed. */
void tree_free(struct tree_node *root);

/*
 * Adds an empty scalar to a list or a map and returns it, to be filled by the
 * caller. It moves when another is added to the same parent.
 */
struct tree_node *tree_add(struct tree_node *parent);

/* Returns the entry of `map` under `key`, or NULL. */
const struct tree_node *tree_find(const struct tree_node *map, const char *key);

/* Says whether the scalar stands for nothing: plain, and null, ~ or empty. */
bool tree_is_null(const struct tree_node *node);

/*
 * Says whether the scalar is plain and true or false as YAML 1.2 has them;
 * *value is set to which.
 */
bool tree_is_bool(const struct tree_node *node, bool *value);

/* Says whether the scalar is plain and a number as JSON has them. */
bool tree_is_number(const struct tree_node *node);

/*
 * Writes what a node is for the reader of a fault ("the string \"x\"", "a
 * list") into `out`, NUL terminated and cut. Returns `out`.
 */
#define TREE_DESCRIBE_BYTES 96
const char *tree_describe(
    const struct tree_node *node, char out[TREE_DESCRIBE_BYTES]);

#endif
