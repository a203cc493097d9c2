#include "supervisor/tree.h"

#include "stage/json.h"
#include "stage/mem.h"
#include "supervisor/text.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <yaml.h>

/* What one reading of a file carries along. */
struct builder {
	yaml_parser_t parser;
	const char *name;
	const uint8_t *in;
	size_t in_bytes;
	struct faults *faults;
};

static struct place
place_of(const struct builder *b, const yaml_mark_t *mark)
{
	return (struct place){
	    .file = b->name,
	    .line = mark->line + 1,
	    .column = mark->column + 1,
	};
}

static void
report_problem(struct builder *b)
{
	const yaml_parser_t *p = &b->parser;
	const char *problem = p->problem == NULL ? "no YAML" : p->problem;
	struct place place = place_of(b, &p->problem_mark);

	if (p->error == YAML_READER_ERROR)
		place =
		    text_place(b->name, b->in, b->in_bytes, p->problem_offset);
	if (p->context != NULL)
		faults_add(
		    b->faults, &place, "YAML: %s, %s", p->context, problem);
	else
		faults_add(b->faults, &place, "YAML: %s", problem);
}

/* Gets the next event, which the caller deletes; -1: a fault was added. */
static int
next_event(struct builder *b, yaml_event_t *event)
{
	if (yaml_parser_parse(&b->parser, event))
		return 0;
	report_problem(b);
	return -1;
}

static int
refuse_extras(struct builder *b, const struct place *place,
    const yaml_char_t *anchor, const yaml_char_t *tag)
{
	if (anchor != NULL)
		faults_add(b->faults, place,
		    "anchors and aliases are not supported (&%.64s)",
		    (const char *)anchor);
	else if (tag != NULL)
		faults_add(b->faults, place, "tags are not supported (%.64s)",
		    (const char *)tag);
	else
		return 0;
	return -1;
}

static int
read_scalar(struct builder *b, const yaml_event_t *event,
    const struct place *place, char **text)
{
	const char *value = (const char *)event->data.scalar.value;
	size_t bytes = event->data.scalar.length;

	if (refuse_extras(b, place, event->data.scalar.anchor,
		event->data.scalar.tag) == -1)
		return -1;
	if (memchr(value, '\0', bytes) != NULL) {
		faults_add(b->faults, place, "the string holds a NUL");
		return -1;
	}
	*text = mem_strndup(value, bytes);
	return 0;
}

void
tree_fini(struct tree_node *node)
{
	for (size_t i = 0; i < node->count; i++)
		tree_fini(&node->items[i]);
	free(node->items);
	free(node->text);
	free(node->key);
	*node = (struct tree_node){0};
}

/*
 * Takes the key at `event` for `child`, and replaces the event by that of the
 * value behind it.
 */
static int
read_key(struct builder *b, const struct tree_node *map, yaml_event_t *event,
    struct tree_node *child)
{
	const struct tree_node *twin;

	child->key_place = place_of(b, &event->start_mark);
	if (event->type != YAML_SCALAR_EVENT) {
		faults_add(b->faults, &child->key_place,
		    "a key must be a plain word or a string");
		return -1;
	}
	if (read_scalar(b, event, &child->key_place, &child->key) == -1)
		return -1;
	twin = tree_find(map, child->key);
	if (twin != NULL)
		faults_add(b->faults, &child->key_place,
		    "the key \"%.64s\" is given twice, first at %zu:%zu",
		    child->key, twin->key_place.line, twin->key_place.column);
	yaml_event_delete(event);
	return next_event(b, event);
}

static int read_node(struct builder *b, const yaml_event_t *event,
    unsigned int depth, struct tree_node *node);

/* Reads the entries of a list or a map up to its end. */
static int
read_items(struct builder *b, unsigned int depth, struct tree_node *node)
{
	for (;;) {
		struct tree_node child = {0};
		yaml_event_t event;
		int result = 0;

		if (next_event(b, &event) == -1)
			return -1;
		if (event.type == YAML_SEQUENCE_END_EVENT ||
		    event.type == YAML_MAPPING_END_EVENT) {
			yaml_event_delete(&event);
			return 0;
		}
		if (node->kind == TREE_MAP)
			result = read_key(b, node, &event, &child);
		if (result == 0)
			result = read_node(b, &event, depth, &child);
		yaml_event_delete(&event);
		if (result == 0 && node->count == TREE_MAX_ENTRIES) {
			faults_add(b->faults, &child.place,
			    "more than %d entries", TREE_MAX_ENTRIES);
			result = -1;
		}
		if (result == -1) {
			tree_fini(&child);
			return -1;
		}
		*tree_add(node) = child;
	}
}

static int
read_node(struct builder *b, const yaml_event_t *event, unsigned int depth,
    struct tree_node *node)
{
	const yaml_char_t *anchor, *tag;

	node->place = place_of(b, &event->start_mark);
	if (event->type == YAML_ALIAS_EVENT) {
		faults_add(b->faults, &node->place,
		    "anchors and aliases are not supported (*%.64s)",
		    (const char *)event->data.alias.anchor);
		return -1;
	}
	if (event->type == YAML_SCALAR_EVENT) {
		node->kind = TREE_SCALAR;
		node->is_quoted =
		    event->data.scalar.style != YAML_PLAIN_SCALAR_STYLE;
		return read_scalar(b, event, &node->place, &node->text);
	}
	if (event->type == YAML_SEQUENCE_START_EVENT) {
		node->kind = TREE_LIST;
		anchor = event->data.sequence_start.anchor;
		tag = event->data.sequence_start.tag;
	} else {
		node->kind = TREE_MAP;
		anchor = event->data.mapping_start.anchor;
		tag = event->data.mapping_start.tag;
	}
	if (refuse_extras(b, &node->place, anchor, tag) == -1)
		return -1;
	if (depth == TREE_MAX_DEPTH) {
		faults_add(b->faults, &node->place,
		    "lists and maps are nested more than %d deep",
		    TREE_MAX_DEPTH);
		return -1;
	}
	return read_items(b, depth + 1, node);
}

/*
 * Takes the next event, which must be of `type`; returns it in *event, to be
 * deleted by the caller, or -1 with a fault that is `refusal` at its place.
 */
static int
expect_event(struct builder *b, yaml_event_type_t type, const char *refusal,
    yaml_event_t *event)
{
	struct place place;

	if (next_event(b, event) == -1)
		return -1;
	if (event->type == type)
		return 0;
	place = place_of(b, &event->start_mark);
	if (type == YAML_DOCUMENT_START_EVENT)
		place.line = place.column = 1;
	faults_add(b->faults, &place, "%s", refusal);
	yaml_event_delete(event);
	return -1;
}

/* Reads the only document of the stream. */
static int
read_document(struct builder *b, struct tree_node *root)
{
	yaml_event_t event;
	int result;

	if (expect_event(b, YAML_STREAM_START_EVENT, "no YAML", &event) == -1)
		return -1;
	yaml_event_delete(&event);
	if (expect_event(b, YAML_DOCUMENT_START_EVENT, "the file is empty",
		&event) == -1)
		return -1;
	yaml_event_delete(&event);
	if (next_event(b, &event) == -1)
		return -1;
	result = read_node(b, &event, 0, root);
	yaml_event_delete(&event);
	if (result == -1)
		return -1;
	if (expect_event(b, YAML_DOCUMENT_END_EVENT, "no YAML", &event) == -1)
		return -1;
	yaml_event_delete(&event);
	if (expect_event(b, YAML_STREAM_END_EVENT,
		"a second document begins here; a file holds one",
		&event) == -1)
		return -1;
	yaml_event_delete(&event);
	return 0;
}

struct tree_node *
tree_parse(
    const char *name, const uint8_t *in, size_t in_bytes, struct faults *faults)
{
	struct builder b = {.name = name, .faults = faults};
	struct tree_node *root;

	text_skip_mark(&in, &in_bytes);
	if (text_check(name, in, in_bytes, faults) == -1)
		return NULL;
	if (!yaml_parser_initialize(&b.parser)) {
		faults_add(faults, &(struct place){name, 1, 1},
		    "out of memory for the YAML reader");
		return NULL;
	}
	b.in = in;
	b.in_bytes = in_bytes;
	yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&b.parser, in, in_bytes);
	root = mem_calloc(1, sizeof(*root));
	if (read_document(&b, root) == -1) {
		tree_free(root);
		root = NULL;
	}
	yaml_parser_delete(&b.parser);
	return root;
}

void
tree_free(struct tree_node *root)
{
	if (root == NULL)
		return;
	tree_fini(root);
	free(root);
}

struct tree_node *
tree_add(struct tree_node *parent)
{
	struct tree_node *node;

	/* Room for 1, 2, 4, ...: it is full when the count is one of these. */
	if ((parent->count & (parent->count - 1)) == 0)
		parent->items = mem_realloc(parent->items,
		    parent->count == 0 ? 1 : 2 * parent->count,
		    sizeof(*parent->items));
	node = &parent->items[parent->count++];
	*node = (struct tree_node){0};
	return node;
}

const struct tree_node *
tree_find(const struct tree_node *map, const char *key)
{
	for (size_t i = 0; i < map->count; i++)
		if (map->items[i].key != NULL &&
		    strcmp(map->items[i].key, key) == 0)
			return &map->items[i];
	return NULL;
}

/* Says whether a plain scalar is one of `words`, which NULL ends. */
static bool
is_plain_word(const struct tree_node *node, const char *const *words)
{
	if (node->kind != TREE_SCALAR || node->is_quoted)
		return false;
	for (; *words != NULL; words++)
		if (strcmp(node->text, *words) == 0)
			return true;
	return false;
}

bool
tree_is_null(const struct tree_node *node)
{
	static const char *const nulls[] = {
	    "", "~", "null", "Null", "NULL", NULL};

	return is_plain_word(node, nulls);
}

bool
tree_is_bool(const struct tree_node *node, bool *value)
{
	static const char *const trues[] = {"true", "True", "TRUE", NULL};
	static const char *const falses[] = {"false", "False", "FALSE", NULL};

	*value = is_plain_word(node, trues);
	return *value || is_plain_word(node, falses);
}

bool
tree_is_number(const struct tree_node *node)
{
	const char *why;
	size_t at;

	return node->kind == TREE_SCALAR && !node->is_quoted &&
	       (node->text[0] == '-' ||
		   (node->text[0] >= '0' && node->text[0] <= '9')) &&
	       json_check(
		   (const uint8_t *)node->text, strlen(node->text), &why, &at);
}

const char *
tree_describe(const struct tree_node *node, char out[TREE_DESCRIBE_BYTES])
{
	bool value;

	if (node->kind == TREE_LIST)
		(void)snprintf(out, TREE_DESCRIBE_BYTES, "a list");
	else if (node->kind == TREE_MAP)
		(void)snprintf(out, TREE_DESCRIBE_BYTES, "a map");
	else if (tree_is_null(node))
		(void)snprintf(out, TREE_DESCRIBE_BYTES, "null");
	else if (tree_is_number(node) || tree_is_bool(node, &value))
		(void)snprintf(out, TREE_DESCRIBE_BYTES, "%.64s", node->text);
	else
		(void)snprintf(out, TREE_DESCRIBE_BYTES, "the string \"%.64s\"",
		    node->text);
	return out;
}
