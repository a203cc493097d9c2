#include "supervisor/patch_list.h"

#include "stage/json.h"
#include "stage/mem.h"

#include <cjson/cJSON.h>

#include <stdlib.h>
#include <string.h>

/* Says whether the inside of "${...}" is a placeholder that walproc knows. */
static bool
is_known(const char *name, size_t bytes)
{
	static const char *const names[] = {
	    "hostname", "instance", "seq", "log_id", "ingest_ns"};
	static const char env[] = "env:";
	static const char allowed[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "abcdefghijklmnopqrstuvwxyz"
				      "0123456789_";
	size_t env_bytes = strlen(env);

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (bytes == strlen(names[i]) &&
		    memcmp(name, names[i], bytes) == 0)
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
patch_list_read(
    struct patch_list *list, const struct tree_node *map, struct faults *faults)
{
	if (map->count > PATCH_LIST_MAX_FIELDS)
		faults_add(faults, &map->place, "more than %d keys",
		    PATCH_LIST_MAX_FIELDS);
	list->fields = mem_calloc(map->count, sizeof(*list->fields));
	for (size_t i = 0; i < map->count; i++) {
		const struct tree_node *node = &map->items[i];
		struct patch_list_field *field;

		if (node->key[0] == '\0' || strchr(node->key, '=') != NULL) {
			faults_add(faults, &node->key_place,
			    "the key \"%.64s\" cannot be inserted: it is "
			    "empty or holds \"=\"",
			    node->key);
			continue;
		}
		check_placeholders(node, faults);
		field = &list->fields[list->count++];
		field->key = mem_strdup(node->key);
		field->value = value_text(node);
		if (strlen(field->key) + strlen(field->value) >=
		    PATCH_LIST_MAX_BYTES)
			faults_add(faults, &node->place,
			    "the value is longer than %zu bytes",
			    PATCH_LIST_MAX_BYTES);
	}
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
