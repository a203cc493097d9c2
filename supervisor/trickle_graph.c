#include "supervisor/trickle_graph.h"

#include "stage/mem.h"
#include "supervisor/patch_list.h"

#include <stdlib.h>
#include <string.h>

void
trickle_graph_fini(struct trickle_graph *graph)
{
	for (size_t i = 0; i < graph->definition_count; i++) {
		free(graph->definitions[i].name);
		tree_fini(&graph->definitions[i].wal);
	}
	for (size_t i = 0; i < graph->node_count; i++) {
		free(graph->nodes[i].name);
		free(graph->nodes[i].definition);
	}
	for (size_t i = 0; i < graph->select_count; i++) {
		free(graph->selects[i].from);
		free(graph->selects[i].into);
		tree_fini(&graph->selects[i].operations);
	}
	free(graph->definitions);
	free(graph->nodes);
	free(graph->selects);
	*graph = (struct trickle_graph){0};
}

static struct trickle_definition *
find_definition(const struct trickle_graph *graph, const char *name)
{
	for (size_t i = 0; i < graph->definition_count; i++)
		if (strcmp(graph->definitions[i].name, name) == 0)
			return &graph->definitions[i];
	return NULL;
}

static struct trickle_node *
find_node(const struct trickle_graph *graph, const char *name)
{
	for (size_t i = 0; i < graph->node_count; i++)
		if (strcmp(graph->nodes[i].name, name) == 0)
			return &graph->nodes[i];
	return NULL;
}

static struct trickle_select *
find_select(const struct trickle_graph *graph, const char *from)
{
	for (size_t i = 0; i < graph->select_count; i++)
		if (strcmp(graph->selects[i].from, from) == 0)
			return &graph->selects[i];
	return NULL;
}

static struct trickle_select *
find_select_into(const struct trickle_graph *graph, const char *into)
{
	for (size_t i = 0; i < graph->select_count; i++)
		if (strcmp(graph->selects[i].into, into) == 0)
			return &graph->selects[i];
	return NULL;
}

static void
check_definitions(const struct trickle_graph *graph, struct faults *faults)
{
	for (size_t i = 0; i < graph->definition_count; i++) {
		const struct trickle_definition *one = &graph->definitions[i];
		const struct trickle_definition *first =
		    find_definition(graph, one->name);

		if (first != one)
			faults_add(faults, &one->place,
			    "operator \"%.64s\" is defined twice, first at "
			    "%zu:%zu",
			    one->name, first->place.line, first->place.column);
	}
}

/* The nodes that are there without being created. */
static bool
is_reserved(const char *name)
{
	return strcmp(name, "in") == 0 || strcmp(name, "out") == 0 ||
	       strcmp(name, "err") == 0;
}

static void
check_nodes(const struct trickle_graph *graph, struct faults *faults)
{
	for (size_t i = 0; i < graph->node_count; i++) {
		const struct trickle_node *one = &graph->nodes[i];
		const struct trickle_node *first = find_node(graph, one->name);

		if (is_reserved(one->name))
			faults_add(faults, &one->place,
			    "\"%s\" is there without being created", one->name);
		else if (first != one)
			faults_add(faults, &one->place,
			    "\"%.64s\" is created twice, first at %zu:%zu",
			    one->name, first->place.line, first->place.column);
		if (one->definition != NULL &&
		    find_definition(graph, one->definition) == NULL)
			faults_add(faults, &one->definition_place,
			    "no operator \"%.64s\" is defined",
			    one->definition);
	}
}

/* Checks one end of a select: a node, or `end`, which is there by itself. */
static void
check_end(const struct trickle_graph *graph, const char *name,
    const struct place *place, const char *end, struct faults *faults)
{
	if (strcmp(name, end) == 0 || find_node(graph, name) != NULL)
		return;
	if (strcmp(name, "err") == 0)
		faults_add(faults, place, "\"err\" is not supported");
	else if (is_reserved(name))
		faults_add(faults, place,
		    "events come from \"in\" and go into \"out\", not the "
		    "other way round");
	else
		faults_add(faults, place, "nothing \"%.64s\" is created", name);
}

static void
check_selects(const struct trickle_graph *graph, struct faults *faults)
{
	for (size_t i = 0; i < graph->select_count; i++) {
		const struct trickle_select *one = &graph->selects[i];
		const struct trickle_select *first;

		check_end(graph, one->from, &one->from_place, "in", faults);
		check_end(graph, one->into, &one->into_place, "out", faults);
		first = find_select(graph, one->from);
		if (first != one)
			faults_add(faults, &one->from_place,
			    "a second \"select\" from \"%.64s\" (fan-out) is "
			    "not supported; the first is at %zu:%zu",
			    one->from, first->from_place.line,
			    first->from_place.column);
		first = find_select_into(graph, one->into);
		if (first != one)
			faults_add(faults, &one->into_place,
			    "a second \"select\" into \"%.64s\" (fan-in) is "
			    "not supported; the first is at %zu:%zu",
			    one->into, first->into_place.line,
			    first->into_place.column);
	}
}

/* What a walk along the chain has found. */
struct walk {
	struct trickle_graph *graph;
	const struct trickle_node *log; /* the only one, or NULL */
	struct tree_node operations;	/* a list of them, in order */
	struct faults *faults;
};

/* Moves the operations of a select to those before it. */
static void
take_operations(struct walk *walk, struct trickle_select *select)
{
	struct tree_node *list = &select->operations;

	for (size_t i = 0; i < list->count; i++) {
		*tree_add(&walk->operations) = list->items[i];
		list->items[i] = (struct tree_node){0};
	}
}

/* Takes over a node that the chain has come to. */
static void
take_node(struct walk *walk, struct trickle_node *node)
{
	node->is_reached = true;
	if (node->definition == NULL)
		return;
	if (walk->log != NULL)
		faults_add(walk->faults, &node->place,
		    "\"%.64s\" is a second log between \"in\" and \"out\", "
		    "which is not supported; the first is at %zu:%zu",
		    node->name, walk->log->place.line, walk->log->place.column);
	else
		walk->log = node;
}

/*
 * Goes from "in" to "out". No node has two ways in, so none is met twice.
 */
static void
go_along(struct walk *walk, const struct place *start)
{
	const struct place *place = start;
	const char *name = "in";

	while (strcmp(name, "out") != 0) {
		struct trickle_select *select = find_select(walk->graph, name);
		struct trickle_node *node;

		if (select == NULL) {
			faults_add(walk->faults, place,
			    "no \"select\" takes the events from \"%.64s\"",
			    name);
			return;
		}
		take_operations(walk, select);
		name = select->into;
		node = find_node(walk->graph, name);
		if (node == NULL)
			break;
		take_node(walk, node);
		place = &node->place;
	}
	if (walk->log == NULL)
		faults_add(walk->faults, start,
		    "no operator qos::wal is between \"in\" and \"out\"");
}

/* Refuses what is not on the way: nothing is ever ignored. */
static void
refuse_unused(const struct trickle_graph *graph, struct faults *faults)
{
	for (size_t i = 0; i < graph->node_count; i++)
		if (!graph->nodes[i].is_reached)
			faults_add(faults, &graph->nodes[i].place,
			    "\"%.64s\" is not between \"in\" and \"out\"",
			    graph->nodes[i].name);
	for (size_t i = 0; i < graph->definition_count; i++) {
		bool is_used = false;

		for (size_t j = 0; j < graph->node_count; j++)
			if (graph->nodes[j].definition != NULL &&
			    strcmp(graph->nodes[j].definition,
				graph->definitions[i].name) == 0)
				is_used = true;
		if (!is_used)
			faults_add(faults, &graph->definitions[i].place,
			    "operator \"%.64s\" is defined and not created",
			    graph->definitions[i].name);
	}
}

/* Adds an entry to a map. */
static struct tree_node *
add_entry(struct tree_node *map, const char *key, enum tree_kind kind,
    const struct place *place)
{
	struct tree_node *node = tree_add(map);

	node->kind = kind;
	node->place = node->key_place = *place;
	node->key = mem_strdup(key);
	return node;
}

/*
 * Says whether the maps `insert` and `upsert` of a pipeline say the same as the
 * operations: first the one, then the other, each key once, and no more than
 * these maps may hold.
 */
static bool
is_simple(const struct tree_node *operations)
{
	struct tree_node keys = {.kind = TREE_MAP};
	bool is_good = operations->count <= PATCH_LIST_MAX_FIELDS;
	bool has_upsert = false;

	for (size_t i = 0; i < operations->count && is_good; i++) {
		const struct tree_node *one = &operations->items[i].items[0];
		bool is_upsert = strcmp(one->key, "upsert") == 0;

		is_good = (is_upsert || strcmp(one->key, "insert") == 0) &&
			  (is_upsert || !has_upsert) &&
			  tree_find(&keys, one->items[0].key) == NULL;
		has_upsert = is_upsert;
		if (is_good)
			(void)add_entry(
			    &keys, one->items[0].key, TREE_SCALAR, &one->place);
	}
	tree_fini(&keys);
	return is_good;
}

/* Moves the keys of the operations of one kind into one map of `entry`. */
static void
join_operations(
    struct tree_node *entry, const char *kind, struct tree_node *operations)
{
	struct tree_node *map = NULL;

	for (size_t i = 0; i < operations->count; i++) {
		struct tree_node *one = &operations->items[i].items[0];

		if (strcmp(one->key, kind) != 0)
			continue;
		if (map == NULL)
			map = add_entry(entry, kind, TREE_MAP, &one->key_place);
		*tree_add(map) = one->items[0];
		one->items[0] = (struct tree_node){0};
	}
}

/* Adds what is done with each event to the pipeline `entry`. */
static void
add_operations(struct tree_node *entry, struct tree_node *operations)
{
	struct tree_node *list;

	if (operations->count == 0)
		return;
	if (is_simple(operations)) {
		join_operations(entry, "insert", operations);
		join_operations(entry, "upsert", operations);
		return;
	}
	list =
	    add_entry(entry, "patch", TREE_LIST, &operations->items[0].place);
	list->items = operations->items;
	list->count = operations->count;
	*operations = (struct tree_node){.kind = TREE_LIST};
}

/* Returns the tree of a file with one pipeline. */
static struct tree_node *
build(struct walk *walk, const char *id, const struct place *start)
{
	struct tree_node *root = mem_calloc(1, sizeof(*root));
	struct tree_node *list, *entry, *node;
	struct trickle_definition *definition =
	    find_definition(walk->graph, walk->log->definition);

	root->kind = TREE_MAP;
	root->place = *start;
	list = add_entry(root, "pipeline", TREE_LIST, start);
	entry = tree_add(list);
	entry->kind = TREE_MAP;
	entry->place = *start;
	node = add_entry(entry, "id", TREE_SCALAR, start);
	node->is_quoted = true;
	node->text = mem_strdup(id);
	add_operations(entry, &walk->operations);
	node = add_entry(entry, "wal", TREE_MAP, &definition->place);
	node->items = definition->wal.items;
	node->count = definition->wal.count;
	definition->wal = (struct tree_node){.kind = TREE_MAP};
	return root;
}

struct tree_node *
trickle_graph_compile(struct trickle_graph *graph, const char *id,
    const struct place *start, struct faults *faults)
{
	struct walk walk = {
	    .graph = graph,
	    .operations = {.kind = TREE_LIST},
	    .faults = faults,
	};
	size_t before = faults->count + faults->more;
	struct tree_node *root = NULL;

	check_definitions(graph, faults);
	check_nodes(graph, faults);
	check_selects(graph, faults);
	if (faults->count + faults->more == before) {
		go_along(&walk, start);
		refuse_unused(graph, faults);
	}
	if (faults->count + faults->more == before)
		root = build(&walk, id, start);
	tree_fini(&walk.operations);
	return root;
}
