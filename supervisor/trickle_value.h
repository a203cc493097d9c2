/*
 * Values in a query, literals and calls, as nodes of the same tree that a YAML
 * file gives: what is behind it does not know where a value was written.
 */
#ifndef SUPERVISOR_TRICKLE_VALUE_H
#define SUPERVISOR_TRICKLE_VALUE_H

#include "supervisor/tree.h"
#include "supervisor/trickle_parse.h"

/* Takes a value into `node`, which is empty. Calls of functions are allowed. */
int trickle_value_take(struct trickle_parser *parser, struct tree_node *node);

/* The same without calls of functions, lists and maps. */
int trickle_value_constant(
    struct trickle_parser *parser, struct tree_node *node);

/*
 * Takes the key of a record or of an operation: a string, or a name, into
 * `key`, which the caller frees, and sets *place.
 */
int trickle_value_key(
    struct trickle_parser *parser, char **key, struct place *place);

/*
 * Adds an entry to the map `map`, which owns `key` from here on. The entry is
 * to be filled before another one is added. NULL: there is no room, or one of
 * that key is there already, which was added to `faults`.
 */
struct tree_node *trickle_value_entry(struct trickle_parser *parser,
    struct tree_node *map, char *key, const struct place *place);

#endif
