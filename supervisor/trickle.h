/*
 * A query in tremor's language as a pipeline: bytes in, the tree of a YAML file
 * that says the same out, or faults. It takes the part of the language that a
 * pipeline can express, and refuses all else by name and place; trickle(5) says
 * what that is. Pure.
 */
#ifndef SUPERVISOR_TRICKLE_H
#define SUPERVISOR_TRICKLE_H

#include "supervisor/faults.h"
#include "supervisor/tree.h"

#include <stddef.h>
#include <stdint.h>

/* Statements of one kind in a query, at most. */
#define TRICKLE_MAX_STATEMENTS 1000

/*
 * Reads the text of one query. `name` is its file's, which stands in places and
 * is borrowed for as long as the tree and the faults live; `id` names the
 * pipeline. Returns the root, which the caller gives to tree_free, or NULL;
 * then at least one fault was added: what cannot be read ends the reading, what
 * makes no sense together is told at once.
 */
struct tree_node *trickle_parse(const char *name, const char *id,
    const uint8_t *in, size_t in_bytes, struct faults *faults);

#endif
