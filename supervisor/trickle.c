#include "supervisor/trickle.h"

#include "stage/mem.h"
#include "supervisor/keys.h"
#include "supervisor/text.h"
#include "supervisor/trickle_graph.h"
#include "supervisor/trickle_parse.h"
#include "supervisor/trickle_patch.h"
#include "supervisor/trickle_use.h"
#include "supervisor/trickle_value.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Returns the array `old` of `*count` elements with a zeroed one more at its
 * end, or NULL: there are too many, which was added to `faults`. */
static void *
grow(struct trickle_parser *parser, void *old, size_t *count, size_t bytes)
{
	char *array;

	if (*count == TRICKLE_MAX_STATEMENTS) {
		faults_add(parser->faults, &parser->token.place,
		    "more than %d statements of one kind",
		    TRICKLE_MAX_STATEMENTS);
		return NULL;
	}
	array = mem_realloc(old, *count + 1, bytes);
	memset(array + *count * bytes, 0, bytes);
	(*count)++;
	return array;
}

/* Takes one "key = value" of a definition. */
static int
take_limit(struct trickle_parser *parser, struct tree_node *map)
{
	struct tree_node *node;
	struct place place;
	char *key;

	if (trickle_parse_name(parser, "the name of a setting", &key, &place) ==
	    -1)
		return -1;
	if (strcmp(key, "dir") == 0) {
		faults_add(parser->faults, &place,
		    "\"dir\" is not supported: the log is in the state "
		    "directory, under the names of instance and pipeline");
		free(key);
		return -1;
	}
	node = trickle_value_entry(parser, map, key, &place);
	if (node == NULL || trickle_parse_symbol(parser, "=") == -1)
		return -1;
	return trickle_value_constant(parser, node);
}

/* Takes "with ... end", if it is there; a comma may stand before "end". */
static int
take_limits(struct trickle_parser *parser, struct tree_node *map)
{
	if (!trickle_parse_is_word(parser, "with"))
		return 0;
	if (trickle_parse_next(parser) == -1)
		return -1;
	do {
		if (take_limit(parser, map) == -1)
			return -1;
		if (trickle_parse_is_word(parser, "end"))
			break;
		if (!trickle_parse_is_symbol(parser, ","))
			return trickle_parse_refuse(parser, "\",\" or \"end\"");
		if (trickle_parse_next(parser) == -1)
			return -1;
	} while (!trickle_parse_is_word(parser, "end"));
	return trickle_parse_next(parser);
}

/* Takes the kind of an operator, which must be that of a log. */
static int
take_kind(struct trickle_parser *parser)
{
	struct place place;
	char *path;
	int result = 0;

	if (trickle_use_path(parser, "the kind of an operator, as qos::wal,",
		&path, &place) == -1)
		return -1;
	if (strcmp(path, "qos::wal") != 0) {
		faults_add(parser->faults, &place,
		    "the operator %.100s is not supported; known: qos::wal",
		    path);
		result = -1;
	}
	free(path);
	return result;
}

/* Refuses what is defined or created and is no operator; `verb` is which. */
static int
refuse_thing(struct trickle_parser *parser, const char *verb)
{
	static const char *const things[] = {"script", "window", "tumbling",
	    "sliding", "pipeline", "connector", "flow"};
	char what[64];

	for (size_t i = 0; i < sizeof(things) / sizeof(things[0]); i++) {
		if (!trickle_parse_is_word(parser, things[i]) &&
		    !trickle_parse_is_name(parser, things[i]))
			continue;
		(void)snprintf(what, sizeof(what), "\"%s %s%s\"", verb,
		    things[i],
		    strstr("tumbling sliding", things[i]) == NULL ? ""
								  : " window");
		return trickle_parse_unsupported(parser, what);
	}
	return 0;
}

/* Takes what is behind "define": "qos::wal operator NAME", or, as later
 * versions have it, "operator NAME from qos::wal"; and the limits. */
static int
take_definition(
    struct trickle_parser *parser, struct trickle_definition *definition)
{
	bool is_late = trickle_parse_is_word(parser, "operator");

	definition->wal.kind = TREE_MAP;
	if (refuse_thing(parser, "define") == -1)
		return -1;
	if (!is_late && take_kind(parser) == -1)
		return -1;
	if (trickle_parse_word(parser, "operator") == -1 ||
	    trickle_parse_name(parser, "the name of an operator",
		&definition->name, &definition->place) == -1)
		return -1;
	if (is_late && (trickle_parse_word(parser, "from") == -1 ||
			   take_kind(parser) == -1))
		return -1;
	return take_limits(parser, &definition->wal);
}

/* Takes what is behind "create operator": a name, and which definition. */
static int
take_operator(struct trickle_parser *parser, struct trickle_node *node)
{
	if (trickle_parse_name(parser, "the name of an operator", &node->name,
		&node->place) == -1)
		return -1;
	if (trickle_parse_is_word(parser, "from")) {
		if (trickle_parse_next(parser) == -1 ||
		    trickle_use_path(parser, "the name of an operator",
			&node->definition, &node->definition_place) == -1)
			return -1;
	} else {
		node->definition = mem_strdup(node->name);
		node->definition_place = node->place;
	}
	if (!trickle_parse_is_word(parser, "with"))
		return 0;
	return trickle_parse_unsupported(
	    parser, "\"with\" where an operator is created");
}

static int
take_creation(struct trickle_parser *parser, struct trickle_node *node)
{
	if (refuse_thing(parser, "create") == -1)
		return -1;
	if (trickle_parse_is_word(parser, "operator"))
		return trickle_parse_next(parser) == -1
			   ? -1
			   : take_operator(parser, node);
	if (!trickle_parse_is_word(parser, "stream"))
		return trickle_parse_refuse(
		    parser, "\"operator\" or \"stream\"");
	if (trickle_parse_next(parser) == -1)
		return -1;
	return trickle_parse_name(
	    parser, "the name of a stream", &node->name, &node->place);
}

/* Takes a node and its port, of which there is one for each direction. */
static int
take_port(struct trickle_parser *parser, const char *only, char **name,
    struct place *place)
{
	char what[160];

	if (trickle_parse_name(parser, "the name of an operator or a stream",
		name, place) == -1)
		return -1;
	if (!trickle_parse_is_symbol(parser, "/"))
		return 0;
	if (trickle_parse_next(parser) == -1)
		return -1;
	if (trickle_parse_is_name(parser, only))
		return trickle_parse_next(parser);
	if (parser->token.kind != TRICKLE_NAME)
		return trickle_parse_refuse(parser, "the name of a port");
	(void)snprintf(
	    what, sizeof(what), "the port \"%.64s\"", parser->token.text);
	return trickle_parse_unsupported(parser, what);
}

/* Takes what is behind "select". */
static int
take_select(struct trickle_parser *parser, struct trickle_select *select)
{
	if (trickle_patch_take(parser, &select->operations) == -1 ||
	    trickle_parse_word(parser, "from") == -1 ||
	    take_port(parser, "out", &select->from, &select->from_place) == -1)
		return -1;
	if (trickle_parse_is_symbol(parser, "["))
		return trickle_parse_unsupported(
		    parser, "a window (\"[...]\")");
	if (trickle_parse_word(parser, "into") == -1)
		return -1;
	return take_port(parser, "in", &select->into, &select->into_place);
}

static int
add_definition(struct trickle_parser *parser, struct trickle_graph *graph)
{
	struct trickle_definition *array = grow(parser, graph->definitions,
	    &graph->definition_count, sizeof(*graph->definitions));

	if (array == NULL)
		return -1;
	graph->definitions = array;
	return take_definition(parser, &array[graph->definition_count - 1]);
}

static int
add_creation(struct trickle_parser *parser, struct trickle_graph *graph)
{
	struct trickle_node *array = grow(
	    parser, graph->nodes, &graph->node_count, sizeof(*graph->nodes));

	if (array == NULL)
		return -1;
	graph->nodes = array;
	return take_creation(parser, &array[graph->node_count - 1]);
}

static int
add_select(struct trickle_parser *parser, struct trickle_graph *graph)
{
	struct trickle_select *array = grow(parser, graph->selects,
	    &graph->select_count, sizeof(*graph->selects));

	if (array == NULL)
		return -1;
	graph->selects = array;
	return take_select(parser, &array[graph->select_count - 1]);
}

/* Takes a statement up to its end. */
static int
take_statement(struct trickle_parser *parser, struct trickle_graph *graph)
{
	static const struct {
		const char *word;
		int (*take)(
		    struct trickle_parser *parser, struct trickle_graph *graph);
	} statements[] = {
	    {"define", add_definition},
	    {"create", add_creation},
	    {"select", add_select},
	};

	if (trickle_parse_is_word(parser, "use"))
		return trickle_use_take(parser);
	for (size_t i = 0; i < sizeof(statements) / sizeof(statements[0]);
	     i++) {
		if (!trickle_parse_is_word(parser, statements[i].word))
			continue;
		if (trickle_parse_next(parser) == -1)
			return -1;
		return statements[i].take(parser, graph);
	}
	if (trickle_parse_is_name(parser, "deploy"))
		return trickle_parse_unsupported(parser, "\"deploy\"");
	return trickle_parse_refuse(
	    parser, "\"use\", \"define\", \"create\" or \"select\"");
}

/* Takes all statements, with ";" between them and, if they like, behind the
 * last. */
static int
take_query(struct trickle_parser *parser, struct trickle_graph *graph)
{
	while (parser->token.kind != TRICKLE_END) {
		if (take_statement(parser, graph) == -1)
			return -1;
		if (parser->token.kind == TRICKLE_END)
			break;
		if (trickle_parse_symbol(parser, ";") == -1)
			return -1;
	}
	return 0;
}

/* Refuses a file whose name names no pipeline. */
static int
check_id(const char *id, const struct place *start, struct faults *faults)
{
	if (keys_is_name(id, strlen(id)))
		return 0;
	faults_add(faults, start,
	    "the file's name is that of its pipeline, and a name has 1 to %d "
	    "letters, digits, \"_\", \".\" and \"-\", and no \".\" in front, "
	    "not \"%.80s\"",
	    KEYS_NAME_BYTES, id);
	return -1;
}

struct tree_node *
trickle_parse(const char *name, const char *id, const uint8_t *in,
    size_t in_bytes, struct faults *faults)
{
	struct place start = {.file = name, .line = 1, .column = 1};
	struct trickle_graph graph = {0};
	struct trickle_parser parser;
	struct tree_node *root = NULL;

	text_skip_mark(&in, &in_bytes);
	if (check_id(id, &start, faults) == -1 ||
	    text_check(name, in, in_bytes, faults) == -1)
		return NULL;
	if (trickle_parse_init(&parser, name, in, in_bytes, faults) == 0 &&
	    take_query(&parser, &graph) == 0)
		root = trickle_graph_compile(&graph, id, &start, faults);
	trickle_graph_fini(&graph);
	trickle_parse_fini(&parser);
	return root;
}
