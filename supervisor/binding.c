#include "supervisor/binding.h"

#include "stage/mem.h"
#include "supervisor/adopt.h"
#include "supervisor/links.h"
#include "supervisor/route.h"

#include <stdbool.h>
#include <string.h>

/* What resolving carries along. */
struct resolver {
	struct config *config;
	struct faults *faults;
};

/* Returns the id of the first thing that is one too many for leaving binding
 * and mapping out, or NULL. */
static const struct value *
find_surplus(const struct config *config)
{
	if (config->onramp_count > 1)
		return &config->onramps[1]->id;
	if (config->pipeline_count > 1)
		return &config->pipelines[1]->id;
	if (config->offramp_count > 1)
		return &config->offramps[1]->id;
	if (config->binding_count > 1)
		return &config->bindings[1]->id;
	return NULL;
}

static void
add_default_binding(struct resolver *r)
{
	struct config *config = r->config;
	const struct value *surplus = find_surplus(config);
	struct config_binding *binding;

	if (surplus != NULL) {
		faults_add(r->faults, &surplus->place,
		    "\"%s\" is one more than one: say with a binding which "
		    "feeds which",
		    surplus->text);
		return;
	}
	binding = mem_calloc(1, sizeof(*binding));
	binding->id.text = mem_strdup(BINDING_DEFAULT_ID);
	binding->onramps = mem_calloc(1, sizeof(*binding->onramps));
	binding->onramps[binding->onramp_count++] = config->onramps[0];
	binding->pipeline = config->pipelines[0];
	binding->offramps = mem_calloc(1, sizeof(*binding->offramps));
	binding->offramps[binding->offramp_count++] = config->offramps[0];
	config->bindings =
	    mem_realloc(config->bindings, 1, sizeof(*config->bindings));
	config->bindings[config->binding_count++] = binding;
}

static void
add_default_instance(struct resolver *r)
{
	struct config *config = r->config;
	const struct value *surplus = find_surplus(config);
	struct config_instance *instance;

	if (surplus != NULL) {
		faults_add(r->faults, &surplus->place,
		    "\"%s\" is one more than one: say with a mapping which "
		    "binding runs as which instance",
		    surplus->text);
		return;
	}
	instance = mem_calloc(1, sizeof(*instance));
	instance->instance.text = mem_strdup(BINDING_DEFAULT_INSTANCE);
	instance->binding = config->bindings[0];
	config->instances =
	    mem_realloc(config->instances, 1, sizeof(*config->instances));
	config->instances[config->instance_count++] = instance;
}

/* Finds the binding that the key of a mapping, /binding/ID/NAME, names. */
static void
resolve_instance(struct resolver *r, struct config_instance *instance)
{
	const struct tree_node *entry = instance->entry;
	const char *path = entry->key, *part;
	char id[KEYS_NAME_BYTES + 1], name[KEYS_NAME_BYTES + 1];
	size_t bytes = route_next(&path, &part);
	bool is_good = route_is(part, bytes, "binding");

	bytes = route_next(&path, &part);
	is_good = is_good && route_name(id, part, bytes);
	bytes = route_next(&path, &part);
	is_good = is_good && route_name(name, part, bytes) && *path == '\0';
	if (!is_good) {
		faults_add(r->faults, &entry->key_place,
		    "\"%.100s\" has not the form /binding/ID/NAME", entry->key);
		return;
	}
	for (size_t i = 0; i < r->config->binding_count; i++)
		if (strcmp(r->config->bindings[i]->id.text, id) == 0)
			instance->binding = r->config->bindings[i];
	if (instance->binding == NULL)
		faults_add(r->faults, &entry->key_place,
		    "there is no binding \"%s\"", id);
}

/* Says whether the supervisor has a file of that name beside the instances. */
static bool
is_taken(const char *name)
{
	return strcmp(name, "LOCK") == 0 || strcmp(name, "SOCKET") == 0;
}

/* Refuses what would write into a directory that is in use. */
static void
check_directory(struct resolver *r, size_t index)
{
	const struct config_instance *instance = r->config->instances[index];
	const struct value *value = &instance->instance;

	if (is_taken(value->text))
		faults_add(r->faults, &value->place,
		    "an instance cannot be named %s: the state directory "
		    "has a file of that name",
		    value->text);
	for (size_t i = 0; i < index; i++) {
		const struct config_instance *other = r->config->instances[i];

		if (strcmp(other->instance.text, value->text) != 0 ||
		    other->binding->pipeline != instance->binding->pipeline)
			continue;
		faults_add(r->faults, &value->place,
		    "instance \"%s\" of pipeline \"%s\" is mapped twice, "
		    "first at %s:%zu:%zu: they would share one log",
		    value->text, instance->binding->pipeline->id.text,
		    other->instance.place.file, other->instance.place.line,
		    other->instance.place.column);
		return;
	}
}

/* Returns how many onramps of an instance read standard input. */
static size_t
count_stdin(const struct config_instance *instance)
{
	const struct config_binding *binding = instance->binding;
	size_t count = 0;

	for (size_t i = 0; i < binding->onramp_count; i++)
		if (config_source_of(binding->onramps[i]) == CONFIG_STDIN)
			count++;
	return count;
}

/* Refuses a second reader of standard input: each would get a part of it. */
static void
check_stdin(struct resolver *r)
{
	const struct config *config = r->config;
	const struct config_instance *first = NULL;

	for (size_t i = 0; i < config->instance_count; i++) {
		const struct config_instance *instance = config->instances[i];
		size_t count = count_stdin(instance);

		if (count == 0)
			continue;
		if (first == NULL) {
			first = instance;
			if (count == 1)
				continue;
		}
		faults_add(r->faults, &instance->instance.place,
		    "standard input has one reader; it feeds instance \"%s\" "
		    "of pipeline \"%s\" already",
		    first->instance.text, first->binding->pipeline->id.text);
	}
}

/* Notes one thing that is defined and never runs. */
static void
note_unused(struct faults *notes, const char *what, const struct value *id)
{
	faults_add(notes, &id->place, "%s \"%s\" is used by no instance", what,
	    id->text);
}

/* Says whether an array of pointers has one to this. */
static bool
has(const void *list, size_t count, const void *part)
{
	const void *const *array = list;

	for (size_t i = 0; i < count; i++)
		if (array[i] == part)
			return true;
	return false;
}

/* Says whether an instance has this binding, onramp, pipeline or offramp. */
static bool
is_running(const struct config *config, const void *part)
{
	for (size_t i = 0; i < config->instance_count; i++) {
		const struct config_binding *binding =
		    config->instances[i]->binding;

		if (binding == part || binding->pipeline == part ||
		    has(binding->onramps, binding->onramp_count, part) ||
		    has(binding->offramps, binding->offramp_count, part))
			return true;
	}
	return false;
}

static void
note_all_unused(const struct config *config, struct faults *notes)
{
	for (size_t i = 0; i < config->onramp_count; i++)
		if (!is_running(config, config->onramps[i]))
			note_unused(notes, "onramp", &config->onramps[i]->id);
	for (size_t i = 0; i < config->pipeline_count; i++)
		if (!is_running(config, config->pipelines[i]))
			note_unused(
			    notes, "pipeline", &config->pipelines[i]->id);
	for (size_t i = 0; i < config->offramp_count; i++)
		if (!is_running(config, config->offramps[i]))
			note_unused(notes, "offramp", &config->offramps[i]->id);
	for (size_t i = 0; i < config->binding_count; i++)
		if (!is_running(config, config->bindings[i]))
			note_unused(notes, "binding", &config->bindings[i]->id);
}

void
binding_resolve(
    struct config *config, struct faults *faults, struct faults *notes)
{
	struct resolver r = {.config = config, .faults = faults};

	adopt_pipeline(config, notes);
	if (config->binding_count == 0)
		add_default_binding(&r);
	else
		for (size_t i = 0; i < config->binding_count; i++)
			links_resolve(config, config->bindings[i], faults);
	if (faults->count > 0)
		return;
	if (config->instance_count == 0)
		add_default_instance(&r);
	else
		for (size_t i = 0; i < config->instance_count; i++)
			resolve_instance(&r, config->instances[i]);
	if (faults->count > 0)
		return;
	for (size_t i = 0; i < config->instance_count; i++)
		check_directory(&r, i);
	check_stdin(&r);
	note_all_unused(config, notes);
}
