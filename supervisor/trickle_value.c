#include "supervisor/trickle_value.h"

#include "stage/mem.h"
#include "stage/number.h"
#include "supervisor/trickle_use.h"

#include <stdlib.h>
#include <string.h>

/* How deep the value of an operation stands in the YAML that says the same: in
 * the file, its pipelines, one of them, its patch, an operation, its keys. */
#define OUTER_DEPTH 6

/* Makes `node` a scalar of the current token, and goes on. */
static int
take_scalar(struct trickle_parser *parser, struct tree_node *node)
{
	node->kind = TREE_SCALAR;
	node->place = parser->token.place;
	node->is_quoted = parser->token.kind == TRICKLE_STRING;
	node->text = mem_strdup(parser->token.text);
	return trickle_parse_next(parser);
}

/* Takes "-" and the number behind it. */
static int
take_negative(struct trickle_parser *parser, struct tree_node *node)
{
	struct place place = parser->token.place;
	const char *sign = "-";
	uint64_t ignored;

	if (trickle_parse_next(parser) == -1)
		return -1;
	if (parser->token.kind != TRICKLE_FLOAT &&
	    parser->token.kind != TRICKLE_INTEGER)
		return trickle_parse_refuse(parser, "a number");
	if (parser->token.kind == TRICKLE_INTEGER &&
	    number_parse(parser->token.text, 0, (uint64_t)INT64_MAX + 1,
		&ignored) == -1) {
		faults_add(parser->faults, &parser->token.place,
		    "the number has no digits or is too large");
		return -1;
	}
	node->kind = TREE_SCALAR;
	node->place = place;
	/* There is a negative zero among decimal numbers only. */
	if (parser->token.kind == TRICKLE_INTEGER &&
	    strcmp(parser->token.text, "0") == 0)
		sign = "";
	node->text = mem_printf("%s%s", sign, parser->token.text);
	return trickle_parse_next(parser);
}

int
trickle_value_key(
    struct trickle_parser *parser, char **key, struct place *place)
{
	if (parser->token.kind == TRICKLE_WORD) {
		faults_add(parser->faults, &parser->token.place,
		    "\"%s\" is a reserved word; as a key it stands in quotes",
		    parser->token.text);
		return -1;
	}
	if (parser->token.kind != TRICKLE_STRING &&
	    parser->token.kind != TRICKLE_NAME)
		return trickle_parse_refuse(parser, "a key");
	*key = mem_strdup(parser->token.text);
	*place = parser->token.place;
	if (trickle_parse_next(parser) == 0)
		return 0;
	free(*key);
	return -1;
}

struct tree_node *
trickle_value_entry(struct trickle_parser *parser, struct tree_node *map,
    char *key, const struct place *place)
{
	const struct tree_node *twin = tree_find(map, key);
	struct tree_node *node;

	if (twin != NULL)
		faults_add(parser->faults, place,
		    "the key \"%.64s\" is given twice, first at %zu:%zu", key,
		    twin->key_place.line, twin->key_place.column);
	else if (map->count == TREE_MAX_ENTRIES)
		faults_add(parser->faults, place, "more than %d entries",
		    TREE_MAX_ENTRIES);
	if (twin != NULL || map->count == TREE_MAX_ENTRIES) {
		free(key);
		return NULL;
	}
	node = tree_add(map);
	node->key = key;
	node->key_place = *place;
	return node;
}

static int take_value(
    struct trickle_parser *parser, unsigned int depth, struct tree_node *node);

/* Takes one entry of a record. */
static int
take_field(
    struct trickle_parser *parser, unsigned int depth, struct tree_node *map)
{
	struct tree_node *node;
	struct place place;
	char *key;

	if (trickle_value_key(parser, &key, &place) == -1)
		return -1;
	node = trickle_value_entry(parser, map, key, &place);
	if (node == NULL || trickle_parse_symbol(parser, ":") == -1)
		return -1;
	return take_value(parser, depth, node);
}

/* Takes one element of an array. */
static int
take_element(
    struct trickle_parser *parser, unsigned int depth, struct tree_node *list)
{
	if (list->count < TREE_MAX_ENTRIES)
		return take_value(parser, depth, tree_add(list));
	faults_add(parser->faults, &parser->token.place, "more than %d entries",
	    TREE_MAX_ENTRIES);
	return -1;
}

/* Takes a record or an array; a comma may stand at its end. */
static int
take_collection(
    struct trickle_parser *parser, unsigned int depth, struct tree_node *node)
{
	bool is_map = trickle_parse_is_symbol(parser, "{");
	const char *end = is_map ? "}" : "]";

	node->kind = is_map ? TREE_MAP : TREE_LIST;
	node->place = parser->token.place;
	if (depth == TREE_MAX_DEPTH) {
		faults_add(parser->faults, &node->place,
		    "records and arrays are nested more than %d deep",
		    TREE_MAX_DEPTH - OUTER_DEPTH);
		return -1;
	}
	if (trickle_parse_next(parser) == -1)
		return -1;
	while (!trickle_parse_is_symbol(parser, end)) {
		int result = is_map ? take_field(parser, depth + 1, node)
				    : take_element(parser, depth + 1, node);

		if (result == -1)
			return -1;
		if (trickle_parse_is_symbol(parser, end))
			break;
		if (!trickle_parse_is_symbol(parser, ","))
			return trickle_parse_refuse(parser,
			    is_map ? "\",\" or \"}\"" : "\",\" or \"]\"");
		if (trickle_parse_next(parser) == -1)
			return -1;
	}
	return trickle_parse_next(parser);
}

/* Says whether the current token is a literal of one token. */
static bool
is_scalar(const struct trickle_parser *parser)
{
	enum trickle_kind kind = parser->token.kind;

	return kind == TRICKLE_STRING || kind == TRICKLE_INTEGER ||
	       kind == TRICKLE_FLOAT || trickle_parse_is_word(parser, "true") ||
	       trickle_parse_is_word(parser, "false") ||
	       trickle_parse_is_word(parser, "null");
}

/* Takes a value that stands in `depth` others, but for what follows it. */
static int
take_alone(
    struct trickle_parser *parser, unsigned int depth, struct tree_node *node)
{
	if (is_scalar(parser))
		return take_scalar(parser, node);
	if (trickle_parse_is_symbol(parser, "-"))
		return take_negative(parser, node);
	if (trickle_parse_is_symbol(parser, "{") ||
	    trickle_parse_is_symbol(parser, "["))
		return take_collection(parser, depth, node);
	if (parser->token.kind == TRICKLE_NAME)
		return trickle_use_call(parser, depth == OUTER_DEPTH, node);
	if (trickle_parse_is_word(parser, "event"))
		return trickle_parse_unsupported(
		    parser, "\"event\" or a path in it as a value");
	if (trickle_parse_is_word(parser, "patch") ||
	    trickle_parse_is_word(parser, "merge"))
		return trickle_parse_unsupported(
		    parser, "\"patch\" or \"merge\" as a value");
	return trickle_parse_refuse(parser, "a value");
}

/* Takes a value that stands in `depth` others. */
static int
take_value(
    struct trickle_parser *parser, unsigned int depth, struct tree_node *node)
{
	if (take_alone(parser, depth, node) == -1)
		return -1;
	if (!trickle_parse_is_symbol(parser, "["))
		return 0;
	return trickle_parse_unsupported(
	    parser, "an index of a value (\"[...]\")");
}

int
trickle_value_take(struct trickle_parser *parser, struct tree_node *node)
{
	return take_value(parser, OUTER_DEPTH, node);
}

int
trickle_value_constant(struct trickle_parser *parser, struct tree_node *node)
{
	if (is_scalar(parser))
		return take_scalar(parser, node);
	if (trickle_parse_is_symbol(parser, "-"))
		return take_negative(parser, node);
	return trickle_parse_refuse(parser, "a literal");
}
