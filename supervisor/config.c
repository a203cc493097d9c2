#include "supervisor/config.h"

#include "stage/mem.h"
#include "supervisor/binding.h"
#include "supervisor/trickle.h"

#include <stdlib.h>
#include <string.h>

static const char *const sources[] = {
    [CONFIG_METRONOME] = "metronome",
    [CONFIG_EXEC] = "exec",
    [CONFIG_STDIN] = "stdin",
};
_Static_assert(sizeof(sources) / sizeof(sources[0]) == CONFIG_SOURCES,
    "a type is missing");

static const enum key_set source_keys[] = {
    [CONFIG_METRONOME] = KEYS_METRONOME,
    [CONFIG_EXEC] = KEYS_EXEC,
    [CONFIG_STDIN] = KEYS_STDIN,
};
_Static_assert(sizeof(source_keys) / sizeof(source_keys[0]) == CONFIG_SOURCES,
    "a set is missing");

static const char *const restarts[] = {
    [CONFIG_ALWAYS] = "always",
    [CONFIG_ON_FAILURE] = "on-failure",
    [CONFIG_NEVER] = "never",
};
_Static_assert(sizeof(restarts) / sizeof(restarts[0]) == CONFIG_RESTARTS,
    "a word is missing");

enum config_source
config_source_of(const struct config_onramp *onramp)
{
	int source = CONFIG_SOURCES - 1;

	while (source > 0 && strcmp(onramp->type.text, sources[source]) != 0)
		source--;
	return (enum config_source)source;
}

enum config_restart
config_restart_of(const struct config_onramp *onramp)
{
	int restart = CONFIG_RESTARTS - 1;

	if (config_source_of(onramp) == CONFIG_STDIN)
		return CONFIG_ON_FAILURE;
	if (config_source_of(onramp) == CONFIG_METRONOME)
		return onramp->count.is_given ? CONFIG_ON_FAILURE
					      : CONFIG_ALWAYS;
	while (
	    restart > 0 && strcmp(onramp->restart.text, restarts[restart]) != 0)
		restart--;
	return (enum config_restart)restart;
}

const char *
config_restart_name(enum config_restart restart)
{
	return restarts[restart];
}

/* A map in which nothing is given: what a left out `config` stands for. */
static struct tree_node
empty_map(const struct tree_node *around)
{
	return (struct tree_node){.kind = TREE_MAP, .place = around->place};
}

/* Returns the entry of `map` under `key` if it is of `kind`, else NULL: then
 * it is left out, or keys_read has refused it. */
static const struct tree_node *
find_kind(const struct tree_node *map, const char *key, enum tree_kind kind)
{
	const struct tree_node *node = tree_find(map, key);

	return node != NULL && node->kind == kind ? node : NULL;
}

/* Returns the array `old` of `count` pointers with one more at its end. */
static void *
grow(void *old, size_t *count, void *element)
{
	void **array = mem_realloc(old, *count + 1, sizeof(*array));

	array[(*count)++] = element;
	return array;
}

/* Adds a fault if `id` was given before, at `first`. */
static void
refuse_twin(const struct value *id, const struct value *first, const char *what,
    struct faults *faults)
{
	if (id->text == NULL || first->text == NULL ||
	    strcmp(id->text, first->text) != 0)
		return;
	faults_add(faults, &id->place,
	    "%s \"%s\" is defined twice, first at %s:%zu:%zu", what, id->text,
	    first->place.file, first->place.line, first->place.column);
}

/* Reads the map `config` of an onramp, whose keys are those of its type. */
static void
read_source(struct config_onramp *onramp, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	enum config_source source = config_source_of(onramp);
	const struct tree_node *map = find_kind(node, "config", TREE_MAP);
	const struct tree_node *command;
	struct tree_node none = empty_map(node);

	if (source == CONFIG_EXEC && map == NULL) {
		if (tree_find(node, "config") == NULL)
			faults_add(faults, &node->place,
			    "the key \"config\" is missing: it says which "
			    "command");
		return;
	}
	if (map == NULL)
		map = &none;
	(void)keys_read(source_keys[source], map, base, onramp, faults);
	command =
	    source == CONFIG_EXEC ? find_kind(map, "command", TREE_LIST) : NULL;
	if (command != NULL)
		word_list_read(&onramp->command, command, base, faults);
}

static void
add_onramp(struct config *config, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	struct config_onramp *onramp = mem_calloc(1, sizeof(*onramp));

	(void)keys_read(KEYS_ONRAMP, node, base, onramp, faults);
	if (onramp->type.is_given)
		read_source(onramp, node, base, faults);
	for (size_t i = 0; i < config->onramp_count; i++)
		refuse_twin(
		    &onramp->id, &config->onramps[i]->id, "onramp", faults);
	config->onramps = grow(config->onramps, &config->onramp_count, onramp);
}

/* Refuses a key that is to be inserted and to be replaced. */
static void
refuse_both(const struct tree_node *insert, const struct tree_node *upsert,
    struct faults *faults)
{
	for (size_t i = 0; i < upsert->count; i++) {
		const struct tree_node *node = &upsert->items[i];
		const struct tree_node *twin = tree_find(insert, node->key);

		if (twin == NULL)
			continue;
		faults_add(faults, &node->key_place,
		    "the key \"%.64s\" stands in insert too, at %zu:%zu",
		    node->key, twin->key_place.line, twin->key_place.column);
	}
}

/* Reads what is done to each event, in the order in which it is done. */
static void
read_patch(struct patch_list *list, const struct tree_node *node,
    struct faults *faults)
{
	const struct tree_node *insert = find_kind(node, "insert", TREE_MAP);
	const struct tree_node *upsert = find_kind(node, "upsert", TREE_MAP);
	const struct tree_node *patch = find_kind(node, "patch", TREE_LIST);

	if (insert != NULL)
		patch_list_read(list, PATCH_LIST_INSERT, insert, faults);
	if (upsert != NULL)
		patch_list_read(list, PATCH_LIST_UPSERT, upsert, faults);
	if (insert != NULL && upsert != NULL)
		refuse_both(insert, upsert, faults);
	if (patch != NULL)
		patch_list_read_steps(list, patch, faults);
}

static void
add_pipeline(struct config *config, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	struct config_pipeline *pipeline = mem_calloc(1, sizeof(*pipeline));
	const struct tree_node *wal = find_kind(node, "wal", TREE_MAP);

	(void)keys_read(KEYS_PIPELINE, node, base, pipeline, faults);
	if (wal != NULL && keys_read(KEYS_WAL, wal, base, pipeline, faults) &&
	    !pipeline->max_elements.is_given && !pipeline->max_bytes.is_given)
		faults_add(faults, &wal->place,
		    "a log needs a limit: give max_elements or max_bytes, or "
		    "both");
	if (pipeline->segment_bytes.is_given && pipeline->max_bytes.is_given &&
	    pipeline->segment_bytes.number > pipeline->max_bytes.number)
		faults_add(faults, &pipeline->segment_bytes.place,
		    "segment_bytes: a segment is larger than max_bytes lets "
		    "the log be");
	read_patch(&pipeline->patch, node, faults);
	for (size_t i = 0; i < config->pipeline_count; i++)
		refuse_twin(&pipeline->id, &config->pipelines[i]->id,
		    "pipeline", faults);
	config->pipelines =
	    grow(config->pipelines, &config->pipeline_count, pipeline);
}

/* Refuses more than one way to say who we are to the server, or the proxy. */
static void
refuse_users(const struct config_offramp *offramp, struct faults *faults)
{
	const struct {
		const char *name;
		const struct value *value;
		bool is_proxy;
	} ways[] = {
	    {"basic_auth", &offramp->basic_auth, false},
	    {"basic_auth_file", &offramp->basic_auth_file, false},
	    {"bearer_auth", &offramp->bearer_auth, false},
	    {"bearer_auth_file", &offramp->bearer_auth_file, false},
	    {"proxy_auth", &offramp->proxy_auth, true},
	    {"proxy_auth_file", &offramp->proxy_auth_file, true},
	};
	const char *first[2] = {NULL, NULL};

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		const char **before = &first[ways[i].is_proxy];

		if (!ways[i].value->is_given)
			continue;
		if (*before != NULL)
			faults_add(faults, &ways[i].value->place,
			    "%s is one user too many beside %s", ways[i].name,
			    *before);
		*before = ways[i].name;
	}
}

/* Reads the map `config` of an offramp. */
static void
read_sink(struct config_offramp *offramp, const struct tree_node *map,
    const char *base, struct faults *faults)
{
	const struct tree_node *headers = find_kind(map, "headers", TREE_MAP);

	(void)keys_read(KEYS_WS, map, base, offramp, faults);
	if (headers != NULL)
		header_list_read(&offramp->headers, headers, faults);
	if (offramp->key.is_given && !offramp->cert.is_given)
		faults_add(faults, &offramp->key.place,
		    "key is of no use without cert");
	refuse_users(offramp, faults);
}

static void
add_offramp(struct config *config, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	struct config_offramp *offramp = mem_calloc(1, sizeof(*offramp));
	const struct tree_node *map = find_kind(node, "config", TREE_MAP);

	(void)keys_read(KEYS_OFFRAMP, node, base, offramp, faults);
	if (map != NULL && offramp->type.is_given)
		read_sink(offramp, map, base, faults);
	for (size_t i = 0; i < config->offramp_count; i++)
		refuse_twin(
		    &offramp->id, &config->offramps[i]->id, "offramp", faults);
	config->offramps =
	    grow(config->offramps, &config->offramp_count, offramp);
}

static void
add_binding(struct config *config, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	struct config_binding *binding = mem_calloc(1, sizeof(*binding));

	(void)keys_read(KEYS_BINDING, node, base, binding, faults);
	binding->links = find_kind(node, "links", TREE_MAP);
	for (size_t i = 0; i < config->binding_count; i++)
		refuse_twin(
		    &binding->id, &config->bindings[i]->id, "binding", faults);
	config->bindings =
	    grow(config->bindings, &config->binding_count, binding);
}

static void
add_instance(struct config *config, const struct tree_node *node,
    const char *base, struct faults *faults)
{
	struct config_instance *instance = mem_calloc(1, sizeof(*instance));
	const struct tree_node *first;

	instance->entry = node;
	if (node->kind != TREE_MAP)
		faults_add(faults, &node->place,
		    "a map with the key \"instance\" is expected here");
	else
		(void)keys_read(KEYS_MAPPING, node, base, instance, faults);
	for (size_t i = 0; i < config->instance_count; i++) {
		first = config->instances[i]->entry;
		if (strcmp(first->key, node->key) != 0 ||
		    first->key_place.file == node->key_place.file)
			continue;
		faults_add(faults, &node->key_place,
		    "the mapping \"%.64s\" is given twice, first at "
		    "%s:%zu:%zu",
		    node->key, first->key_place.file, first->key_place.line,
		    first->key_place.column);
	}
	config->instances =
	    grow(config->instances, &config->instance_count, instance);
}

typedef void add_fn(struct config *config, const struct tree_node *node,
    const char *base, struct faults *faults);

/* Gives each map in the list under `key` to `add`. */
static void
add_each(struct config *config, const struct tree_node *root, const char *key,
    add_fn *add, const char *base, struct faults *faults)
{
	const struct tree_node *list = find_kind(root, key, TREE_LIST);
	char got[TREE_DESCRIBE_BYTES];

	for (size_t i = 0; list != NULL && i < list->count; i++) {
		const struct tree_node *node = &list->items[i];

		if (node->kind == TREE_MAP)
			add(config, node, base, faults);
		else
			faults_add(faults, &node->place,
			    "%s: a map is expected here, not %s", key,
			    tree_describe(node, got));
	}
}

void
config_init(struct config *config)
{
	*config = (struct config){0};
}

/* Adds a file that is yet to be parsed. */
static struct config_file *
add_file(struct config *config, const char *name, const char *base)
{
	struct config_file *file = mem_calloc(1, sizeof(*file));

	config->files = grow(config->files, &config->file_count, file);
	file->name = mem_strdup(name);
	file->base = mem_strdup(base);
	return file;
}

/* Takes what the tree of a file says. */
static void
add_tree(struct config *config, const struct config_file *file,
    struct faults *faults)
{
	const struct tree_node *root = file->root, *mapping;
	const char *base = file->base;

	(void)keys_read(KEYS_ROOT, root, base, config, faults);
	add_each(config, root, "onramp", add_onramp, base, faults);
	add_each(config, root, "pipeline", add_pipeline, base, faults);
	add_each(config, root, "offramp", add_offramp, base, faults);
	add_each(config, root, "binding", add_binding, base, faults);
	mapping = find_kind(root, "mapping", TREE_MAP);
	for (size_t i = 0; mapping != NULL && i < mapping->count; i++)
		add_instance(config, &mapping->items[i], base, faults);
}

void
config_add(struct config *config, const char *name, const char *base,
    const uint8_t *in, size_t in_bytes, struct faults *faults)
{
	struct config_file *file = add_file(config, name, base);
	char got[TREE_DESCRIBE_BYTES];

	file->root = tree_parse(file->name, in, in_bytes, faults);
	if (file->root == NULL)
		return;
	if (file->root->kind == TREE_MAP)
		add_tree(config, file, faults);
	else
		faults_add(faults, &file->root->place,
		    "a map of sections (onramp, pipeline, ...) is expected "
		    "here, not %s",
		    tree_describe(file->root, got));
}

void
config_add_query(struct config *config, const char *name, const char *base,
    const char *id, const uint8_t *in, size_t in_bytes, struct faults *faults)
{
	struct config_file *file = add_file(config, name, base);

	file->root = trickle_parse(file->name, id, in, in_bytes, faults);
	if (file->root == NULL)
		return;
	add_tree(config, file, faults);
	config->pipelines[config->pipeline_count - 1]->is_query = true;
}

/* Says at the top of the first file that a list has no entry at all. */
static void
require(const struct config *config, size_t count, const char *what,
    struct faults *faults)
{
	struct place place = {.file = config->files[0]->name};

	place.line = place.column = 1;
	if (count == 0)
		faults_add(faults, &place, "no %s is defined%s", what,
		    config->file_count > 1 ? ", in this file and those with it"
					   : "");
}

void
config_finish(
    struct config *config, struct faults *faults, struct faults *notes)
{
	require(config, config->onramp_count, "onramp", faults);
	require(config, config->pipeline_count, "pipeline", faults);
	require(config, config->offramp_count, "offramp", faults);
	if (faults->count == 0)
		binding_resolve(config, faults, notes);
}

void
config_fini(struct config *config)
{
	for (size_t i = 0; i < config->onramp_count; i++) {
		keys_fini(KEYS_ONRAMP, config->onramps[i]);
		for (int j = 0; j < CONFIG_SOURCES; j++)
			keys_fini(source_keys[j], config->onramps[i]);
		word_list_fini(&config->onramps[i]->command);
		free(config->onramps[i]);
	}
	for (size_t i = 0; i < config->pipeline_count; i++) {
		keys_fini(KEYS_PIPELINE, config->pipelines[i]);
		keys_fini(KEYS_WAL, config->pipelines[i]);
		patch_list_fini(&config->pipelines[i]->patch);
		free(config->pipelines[i]);
	}
	for (size_t i = 0; i < config->offramp_count; i++) {
		keys_fini(KEYS_OFFRAMP, config->offramps[i]);
		keys_fini(KEYS_WS, config->offramps[i]);
		header_list_fini(&config->offramps[i]->headers);
		free(config->offramps[i]);
	}
	for (size_t i = 0; i < config->binding_count; i++) {
		keys_fini(KEYS_BINDING, config->bindings[i]);
		free(config->bindings[i]->onramps);
		free(config->bindings[i]->offramps);
		free(config->bindings[i]);
	}
	for (size_t i = 0; i < config->instance_count; i++) {
		keys_fini(KEYS_MAPPING, config->instances[i]);
		free(config->instances[i]);
	}
	for (size_t i = 0; i < config->file_count; i++) {
		tree_free(config->files[i]->root);
		free(config->files[i]->name);
		free(config->files[i]->base);
		free(config->files[i]);
	}
	keys_fini(KEYS_ROOT, config);
	free(config->onramps);
	free(config->pipelines);
	free(config->offramps);
	free(config->bindings);
	free(config->instances);
	free(config->files);
	config_init(config);
}
