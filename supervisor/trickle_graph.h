/*
 * What the statements of a query come to: nodes and what leads from one to the
 * next. They must be one chain from "in" to "out" with one log on it. It comes
 * out as the tree that a YAML file with the same pipeline has, so that all that
 * follows is done once for both. Pure.
 */
#ifndef SUPERVISOR_TRICKLE_GRAPH_H
#define SUPERVISOR_TRICKLE_GRAPH_H

#include "supervisor/faults.h"
#include "supervisor/tree.h"

#include <stdbool.h>
#include <stddef.h>

/* The definition of a log. */
struct trickle_definition {
	char *name; /* owned */
	struct place place;
	struct tree_node wal; /* owned; the map of its limits */
};

/* What is created: a log, or a stream, which passes events on. */
struct trickle_node {
	char *name; /* owned */
	struct place place;
	char *definition; /* owned; NULL: a stream */
	struct place definition_place;
	bool is_reached; /* from "in"; set when compiled */
};

/* What leads from one node to the next. */
struct trickle_select {
	char *from, *into; /* owned */
	struct place from_place, into_place;
	struct tree_node operations; /* owned; a list, as `patch` has it */
};

/* All of them; each array is owned. */
struct trickle_graph {
	struct trickle_definition *definitions;
	size_t definition_count;
	struct trickle_node *nodes;
	size_t node_count;
	struct trickle_select *selects;
	size_t select_count;
};

/* Frees what the graph owns; the graph is empty again. */
void trickle_graph_fini(struct trickle_graph *graph);

/*
 * Returns the tree of a file with the pipeline `id` that does what the graph
 * says, to be given to tree_free; or NULL: then at least one fault was added.
 * The graph is used up, and to be given to trickle_graph_fini in any case.
 * `start` is the start of the query's file.
 */
struct tree_node *trickle_graph_compile(struct trickle_graph *graph,
    const char *id, const struct place *start, struct faults *faults);

#endif
