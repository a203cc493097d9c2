#include "supervisor/patch_list.h"

#include "stage/json.h"
#include "stage/mem.h"

#include <cjson/cJSON.h>

#include <stdlib.h>
#include <string.h>

static const char *const names[] = {
    [PATCH_LIST_INSERT] = "insert",
    [PATCH_LIST_UPSERT] = "upsert",
    [PATCH_LIST_UPDATE] = "update",
    [PATCH_LIST_ERASE] = "erase",
    [PATCH_LIST_MERGE] = "merge",
    [PATCH_LIST_MERGE_EVENT] = "merge_event",
};
_Static_assert(sizeof(names) / sizeof(names[0]) == PATCH_LIST_HOWS,
    "an operation is missing");

/* Says whether the inside of "${...}" is a placeholder that walproc knows. */
static bool
is_known(const char *name, size_t bytes)
{
	static const char *const known[] = {
	    "hostname", "instance", "seq", "log_id", "ingest_ns"};
	static const char env[] = "env:";
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789_";
	size_t env_bytes = strlen(env);

	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (bytes == strlen(known[i]) &&
		    memcmp(name, known[i], bytes) == 0)
			return true;
	return bytes > env_bytes && bytes <= PATCH_LIST_NAME_BYTES &&
	       memcmp(name, env, env_bytes) == 0 &&
	       strspn(name + env_bytes, allowed) == bytes - env_bytes;
}

const char *
patch_list_find_unknown(const char *text, size_t *bytes)
{
	const char *at = text;

	while ((at = strstr(at, "${")) != NULL) {
		const char *end = strchr(at, '}');

		*bytes = end == NULL ? strlen(at) : (size_t)(end + 1 - at);
		if (end == NULL || !is_known(at + 2, (size_t)(end - at - 2)))
			return at;
		at = end;
	}
	return NULL;
}

/* Adds a fault if `text`, which stands at `place`, has an unknown
 * placeholder. */
static void
check_text(const char *text, const struct place *place, struct faults *faults)
{
	size_t bytes;
	const char *unknown = patch_list_find_unknown(text, &bytes);

	if (unknown == NULL)
		return;
	faults_add(faults, place,
	    "the placeholder \"%.*s\" is unknown; known: ${hostname}, "
	    "${instance}, ${seq}, ${log_id}, ${ingest_ns}, ${env:NAME}",
	    (int)(bytes < 64 ? bytes : 64), unknown);
}

/* Checks every string within a value, the keys of its maps too: walproc
 * expands the JSON text as a whole. */
static void
check_placeholders(const struct tree_node *node, struct faults *faults)
{
	if (node->kind == TREE_SCALAR)
		check_text(node->text, &node->place, faults);
	for (size_t i = 0; i < node->count; i++) {
		if (node->kind == TREE_MAP)
			check_text(node->items[i].key,
			    &node->items[i].key_place, faults);
		check_placeholders(&node->items[i], faults);
	}
}

/* Refuses placeholders in the keys of a record that is merged: it is the same
 * record for all events, and no two of its keys may become one. */
static void
check_record_keys(const struct tree_node *node, struct faults *faults)
{
	for (size_t i = 0; node->kind == TREE_MAP && i < node->count; i++) {
		if (strstr(node->items[i].key, "${") != NULL)
			faults_add(faults, &node->items[i].key_place,
			    "the key \"%.64s\" of a record that is merged "
			    "cannot hold a placeholder",
			    node->items[i].key);
		check_record_keys(&node->items[i], faults);
	}
}

/* Returns the value as a cJSON tree; numbers keep their bytes. */
static cJSON *
json_of(const struct tree_node *node)
{
	cJSON *json;
	bool truth;

	if (node->kind == TREE_SCALAR) {
		if (tree_is_null(node))
			return cJSON_CreateNull();
		if (tree_is_bool(node, &truth))
			return cJSON_CreateBool(truth);
		if (tree_is_number(node))
			return cJSON_CreateRaw(node->text);
		return cJSON_CreateString(node->text);
	}
	if (node->kind == TREE_LIST)
		json = cJSON_CreateArray();
	else
		json = cJSON_CreateObject();
	for (size_t i = 0; i < node->count; i++) {
		cJSON *item = json_of(&node->items[i]);

		if (node->kind == TREE_LIST)
			(void)cJSON_AddItemToArray(json, item);
		else
			(void)cJSON_AddItemToObject(
			    json, node->items[i].key, item);
	}
	return json;
}

/* Says whether the value is a string that no reader takes for JSON. */
static bool
is_bare_string(const struct tree_node *node)
{
	const char *why;
	bool truth;
	size_t at;

	return node->kind == TREE_SCALAR && !tree_is_null(node) &&
	       !tree_is_bool(node, &truth) &&
	       !json_check(
		   (const uint8_t *)node->text, strlen(node->text), &why, &at);
}

/* Returns VALUE for a node; the caller frees it. */
static char *
value_text(const struct tree_node *node)
{
	char *text;
	cJSON *json;

	if (is_bare_string(node))
		return mem_strdup(node->text);
	json = json_of(node);
	text = cJSON_PrintUnformatted(json);
	cJSON_Delete(json);
	return text;
}

void
patch_list_add(struct patch_list *list, enum patch_list_how how,
    const char *key, char *value)
{
	list->fields =
	    mem_realloc(list->fields, list->count + 1, sizeof(*list->fields));
	list->fields[list->count++] = (struct patch_list_field){
	    .how = how,
	    .key = key == NULL ? NULL : mem_strdup(key),
	    .value = value,
	};
}

/* Says whether the value is of the kind that the operation takes; if not, a
 * fault was added. */
static bool
is_taken(enum patch_list_how how, const struct tree_node *node,
    struct faults *faults)
{
	char got[TREE_DESCRIBE_BYTES];

	if ((how != PATCH_LIST_MERGE && how != PATCH_LIST_MERGE_EVENT) ||
	    node->kind == TREE_MAP)
		return true;
	faults_add(faults, &node->place,
	    "%s: a record is expected here, not %s", names[how],
	    tree_describe(node, got));
	return false;
}

/* Appends the operation with the value at `node`, under `key` or none. */
static void
add_value(struct patch_list *list, enum patch_list_how how, const char *key,
    const struct tree_node *node, struct faults *faults)
{
	char *value;

	if (!is_taken(how, node, faults))
		return;
	check_placeholders(node, faults);
	if (how == PATCH_LIST_MERGE || how == PATCH_LIST_MERGE_EVENT)
		check_record_keys(node, faults);
	value = value_text(node);
	if ((key == NULL ? 0 : strlen(key)) + strlen(value) >=
	    PATCH_LIST_MAX_BYTES)
		faults_add(faults, &node->place,
		    "the value is longer than %zu bytes", PATCH_LIST_MAX_BYTES);
	patch_list_add(list, how, key, value);
}

void
patch_list_read(struct patch_list *list, enum patch_list_how how,
    const struct tree_node *map, struct faults *faults)
{
	if (map->count > PATCH_LIST_MAX_FIELDS)
		faults_add(faults, &map->place, "more than %d keys",
		    PATCH_LIST_MAX_FIELDS);
	for (size_t i = 0; i < map->count; i++) {
		const struct tree_node *node = &map->items[i];

		if (node->key[0] == '\0' || strchr(node->key, '=') != NULL)
			faults_add(faults, &node->key_place,
			    "the key \"%.64s\" cannot be used here: it is "
			    "empty or holds \"=\"",
			    node->key);
		else
			add_value(list, how, node->key, node, faults);
	}
}

/* Appends the erasing of one key. */
static void
add_erase(struct patch_list *list, const struct tree_node *node,
    struct faults *faults)
{
	char got[TREE_DESCRIBE_BYTES];

	if (node->kind != TREE_SCALAR || tree_is_null(node)) {
		faults_add(faults, &node->place,
		    "erase: a key is expected here, not %s",
		    tree_describe(node, got));
		return;
	}
	if (node->text[0] == '\0')
		faults_add(faults, &node->place, "erase: the key is empty");
	if (strlen(node->text) >= PATCH_LIST_MAX_BYTES)
		faults_add(faults, &node->place,
		    "erase: the key is longer than %zu bytes",
		    PATCH_LIST_MAX_BYTES);
	patch_list_add(list, PATCH_LIST_ERASE, node->text, NULL);
}

/* Appends what one entry of `patch` says, which names the operation `how`. */
static void
read_step(struct patch_list *list, enum patch_list_how how,
    const struct tree_node *node, struct faults *faults)
{
	char got[TREE_DESCRIBE_BYTES];

	if (how == PATCH_LIST_MERGE_EVENT) {
		add_value(list, how, NULL, node, faults);
	} else if (how == PATCH_LIST_ERASE && node->kind != TREE_LIST) {
		add_erase(list, node, faults);
	} else if (how == PATCH_LIST_ERASE) {
		for (size_t i = 0; i < node->count; i++)
			add_erase(list, &node->items[i], faults);
	} else if (node->kind == TREE_MAP) {
		patch_list_read(list, how, node, faults);
	} else {
		faults_add(faults, &node->place,
		    "%s: a map of keys is expected here, not %s", names[how],
		    tree_describe(node, got));
	}
}

/* Returns the operation that a key of an entry of `patch` names, or
 * PATCH_LIST_HOWS. */
static enum patch_list_how
how_of(const char *name)
{
	int how = 0;

	while (how < PATCH_LIST_HOWS && strcmp(name, names[how]) != 0)
		how++;
	return (enum patch_list_how)how;
}

/* Reads one entry of `patch`. */
static void
read_entry(struct patch_list *list, const struct tree_node *entry,
    struct faults *faults)
{
	enum patch_list_how how;
	char got[TREE_DESCRIBE_BYTES];

	if (entry->kind != TREE_MAP || entry->count == 0) {
		faults_add(faults, &entry->place,
		    "patch: a map with one operation is expected here, not %s",
		    entry->kind == TREE_MAP ? "an empty map"
					    : tree_describe(entry, got));
		return;
	}
	if (entry->count > 1) {
		faults_add(faults, &entry->items[1].key_place,
		    "patch: the operation \"%.64s\" needs an entry of its own: "
		    "a map has no order",
		    entry->items[1].key);
		return;
	}
	how = how_of(entry->items[0].key);
	if (how == PATCH_LIST_HOWS)
		faults_add(faults, &entry->items[0].key_place,
		    "patch: the operation \"%.64s\" is unknown; known: insert, "
		    "upsert, update, erase, merge, merge_event",
		    entry->items[0].key);
	else
		read_step(list, how, &entry->items[0], faults);
}

void
patch_list_read_steps(struct patch_list *list, const struct tree_node *steps,
    struct faults *faults)
{
	for (size_t i = 0; i < steps->count; i++)
		read_entry(list, &steps->items[i], faults);
	if (list->count > PATCH_LIST_MAX_OPERATIONS)
		faults_add(faults, &steps->place,
		    "more than %d operations, with those of insert and upsert",
		    PATCH_LIST_MAX_OPERATIONS);
}

void
patch_list_fini(struct patch_list *list)
{
	for (size_t i = 0; i < list->count; i++) {
		free(list->fields[i].key);
		free(list->fields[i].value);
	}
	free(list->fields);
	*list = (struct patch_list){0};
}
