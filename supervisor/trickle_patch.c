#include "supervisor/trickle_patch.h"

#include "stage/mem.h"
#include "supervisor/trickle_value.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Adds an operation to the list; its value is to be filled. */
static struct tree_node *
add_operation(struct trickle_parser *parser, struct tree_node *list,
    const char *kind, const struct place *place)
{
	struct tree_node *map;

	if (list->count == TREE_MAX_ENTRIES) {
		faults_add(parser->faults, place, "more than %d operations",
		    TREE_MAX_ENTRIES);
		return NULL;
	}
	map = tree_add(list);
	map->kind = TREE_MAP;
	map->place = *place;
	return trickle_value_entry(parser, map, mem_strdup(kind), place);
}

/* Goes on behind what stands between a key and its value. */
static int
take_arrow(struct trickle_parser *parser)
{
	if (!trickle_parse_is_symbol(parser, "=") &&
	    !trickle_parse_is_symbol(parser, "=>"))
		return trickle_parse_refuse(parser, "\"=\" or \"=>\"");
	return trickle_parse_next(parser);
}

/* Takes a value that is merged into something. */
static int
take_record(struct trickle_parser *parser, struct tree_node *node)
{
	if (trickle_parse_is_symbol(parser, "{"))
		return trickle_value_take(parser, node);
	return trickle_parse_refuse(parser, "a record");
}

/* Takes "KEY = VALUE" as an operation of that kind. */
static int
take_keyed(struct trickle_parser *parser, struct tree_node *list,
    const char *kind, const struct place *place)
{
	bool is_merge = strcmp(kind, "merge") == 0;
	struct tree_node *map, *node;
	struct place key_place;
	char *key;

	if (trickle_value_key(parser, &key, &key_place) == -1)
		return -1;
	map = add_operation(parser, list, kind, place);
	if (map == NULL) {
		free(key);
		return -1;
	}
	map->kind = TREE_MAP;
	map->place = key_place;
	node = trickle_value_entry(parser, map, key, &key_place);
	if (node == NULL || take_arrow(parser) == -1)
		return -1;
	return is_merge ? take_record(parser, node)
			: trickle_value_take(parser, node);
}

/* Takes "erase KEY". */
static int
take_erase(struct trickle_parser *parser, struct tree_node *list,
    const struct place *place)
{
	struct tree_node *node;
	struct place key_place;
	char *key;

	if (trickle_value_key(parser, &key, &key_place) == -1)
		return -1;
	node = add_operation(parser, list, "erase", place);
	if (node == NULL) {
		free(key);
		return -1;
	}
	node->place = key_place;
	node->is_quoted = true;
	node->text = key;
	return 0;
}

/* Takes a record that is merged into the event. */
static int
take_whole(struct trickle_parser *parser, struct tree_node *list,
    const struct place *place)
{
	struct tree_node *node =
	    add_operation(parser, list, "merge_event", place);

	return node == NULL ? -1 : take_record(parser, node);
}

/* Takes one operation of a patch. */
static int
take_operation(struct trickle_parser *parser, struct tree_node *list)
{
	static const char *const kinds[] = {
	    "insert", "upsert", "update", "erase", "merge"};
	struct place place = parser->token.place;
	const char *kind = NULL;

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		if (trickle_parse_is_word(parser, kinds[i]))
			kind = kinds[i];
	if (kind == NULL)
		return trickle_parse_refuse(parser,
		    "\"insert\", \"upsert\", \"update\", \"erase\" or "
		    "\"merge\"");
	if (trickle_parse_next(parser) == -1)
		return -1;
	if (strcmp(kind, "erase") == 0)
		return take_erase(parser, list, &place);
	if (strcmp(kind, "merge") != 0 ||
	    !(trickle_parse_is_symbol(parser, "=") ||
		trickle_parse_is_symbol(parser, "=>")))
		return take_keyed(parser, list, kind, &place);
	if (take_arrow(parser) == -1)
		return -1;
	return take_whole(parser, list, &place);
}

/* Takes the operations of a patch, with ";" between them, or "," as earlier
 * versions have it, and if they like one behind the last. */
static int
take_operations(struct trickle_parser *parser, struct tree_node *list)
{
	do {
		if (take_operation(parser, list) == -1)
			return -1;
		if (trickle_parse_is_word(parser, "end"))
			break;
		if (!trickle_parse_is_symbol(parser, ";") &&
		    !trickle_parse_is_symbol(parser, ","))
			return trickle_parse_refuse(parser, "\";\" or \"end\"");
		if (trickle_parse_next(parser) == -1)
			return -1;
	} while (!trickle_parse_is_word(parser, "end"));
	return trickle_parse_next(parser);
}

/* Refuses what stands in the place of the event; `wanted` is expected there. */
static int
refuse_event(struct trickle_parser *parser, const char *wanted)
{
	enum trickle_kind kind = parser->token.kind;

	if (kind == TRICKLE_STRING || kind == TRICKLE_INTEGER ||
	    kind == TRICKLE_FLOAT || trickle_parse_is_symbol(parser, "{") ||
	    trickle_parse_is_symbol(parser, "["))
		return trickle_parse_unsupported(
		    parser, "a value in the place of the event");
	if (trickle_parse_is_word(parser, "patch") ||
	    trickle_parse_is_word(parser, "merge"))
		return trickle_parse_unsupported(
		    parser, "\"patch\" or \"merge\" of anything but the event");
	return trickle_parse_refuse(parser, wanted);
}

/* Goes on behind "event", which must be all of it. */
static int
take_event(struct trickle_parser *parser)
{
	if (!trickle_parse_is_word(parser, "event"))
		return refuse_event(parser, "\"event\"");
	if (trickle_parse_next(parser) == -1)
		return -1;
	if (trickle_parse_is_symbol(parser, ".") ||
	    trickle_parse_is_symbol(parser, "["))
		return trickle_parse_unsupported(
		    parser, "a path in the event (\"event.x\")");
	return 0;
}

int
trickle_patch_take(struct trickle_parser *parser, struct tree_node *list)
{
	struct place place = parser->token.place;
	bool is_patch = trickle_parse_is_word(parser, "patch");

	list->kind = TREE_LIST;
	if (trickle_parse_is_word(parser, "event"))
		return take_event(parser);
	if (!is_patch && !trickle_parse_is_word(parser, "merge"))
		return refuse_event(parser,
		    "\"event\", \"patch event of\" or \"merge event of\"");
	if (trickle_parse_next(parser) == -1 || take_event(parser) == -1 ||
	    trickle_parse_word(parser, "of") == -1)
		return -1;
	if (is_patch)
		return take_operations(parser, list);
	if (take_whole(parser, list, &place) == -1)
		return -1;
	return trickle_parse_word(parser, "end");
}
