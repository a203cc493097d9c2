#include "supervisor/binding.h"

#include "stage/mem.h"
#include "supervisor/adopt.h"

#include <stdbool.h>
#include <string.h>

enum end_kind {
	END_ONRAMP,
	END_PIPELINE,
	END_OFFRAMP,
	END_KINDS,
};

/* How the ends of links are written, by kind. */
static const char *const end_forms[] = {
    [END_ONRAMP] = "/onramp/ID/{instance}/out",
    [END_PIPELINE] = "/pipeline/ID/{instance}/in or /out",
    [END_OFFRAMP] = "/offramp/ID/{instance}/in",
};
_Static_assert(
    sizeof(end_forms) / sizeof(end_forms[0]) == END_KINDS, "a form is missing");

static const char *const end_names[] = {
    [END_ONRAMP] = "onramp",
    [END_PIPELINE] = "pipeline",
    [END_OFFRAMP] = "offramp",
};
_Static_assert(
    sizeof(end_names) / sizeof(end_names[0]) == END_KINDS, "a name is missing");

/* One end of a link. */
struct end {
	enum end_kind kind;
	char id[KEYS_NAME_BYTES + 1];
	bool is_out; /* else in */
	struct place place;
};

/* What resolving carries along. */
struct resolver {
	struct config *config;
	struct faults *faults;
};

/* Takes the next part of a path, up to the next "/", and moves on behind it;
 * the part is empty when none is left. */
static size_t
next_part(const char **path, const char **part)
{
	size_t bytes;

	*part = *path;
	if (**path != '/')
		return 0;
	(*path)++;
	bytes = strcspn(*path, "/");
	*part = *path;
	*path += bytes;
	return bytes;
}

static bool
part_is(const char *part, size_t bytes, const char *word)
{
	return strlen(word) == bytes && memcmp(part, word, bytes) == 0;
}

/* Copies a part that is a name; false if it is none. */
static bool
copy_name(char name[KEYS_NAME_BYTES + 1], const char *part, size_t bytes)
{
	if (!keys_is_name(part, bytes))
		return false;
	memcpy(name, part, bytes);
	name[bytes] = '\0';
	return true;
}

/* Reads the path of one end; false if it has not the form of its kind. */
static bool
parse_end(const char *path, struct end *end)
{
	const char *part;
	size_t bytes = next_part(&path, &part);
	int kind;

	end->kind = END_KINDS;
	for (kind = 0; kind < END_KINDS; kind++)
		if (part_is(part, bytes, end_names[kind]))
			end->kind = (enum end_kind)kind;
	bytes = next_part(&path, &part);
	if (end->kind == END_KINDS || !copy_name(end->id, part, bytes))
		return false;
	bytes = next_part(&path, &part);
	if (!part_is(part, bytes, "{instance}"))
		return false;
	bytes = next_part(&path, &part);
	end->is_out = part_is(part, bytes, "out");
	if (*path != '\0' || (!end->is_out && !part_is(part, bytes, "in")))
		return false;
	return end->kind == END_PIPELINE ||
	       end->is_out == (end->kind == END_ONRAMP);
}

/* Reads one end, which must be a way out or a way in. */
static int
read_end(struct resolver *r, const char *path, const struct place *place,
    bool is_out, struct end *end)
{
	end->place = *place;
	if (!parse_end(path, end)) {
		if (end->kind != END_KINDS)
			faults_add(r->faults, place,
			    "\"%.100s\" has not the form %s", path,
			    end_forms[end->kind]);
		else
			faults_add(r->faults, place,
			    "\"%.100s\" is no end of a link: %s, %s or %s is",
			    path, end_forms[END_ONRAMP],
			    end_forms[END_PIPELINE], end_forms[END_OFFRAMP]);
		return -1;
	}
	if (end->is_out != is_out) {
		faults_add(r->faults, place,
		    "a link goes from an \"out\" to an \"in\"; \"%.100s\" is "
		    "the wrong way round",
		    path);
		return -1;
	}
	return 0;
}

static struct config_onramp *
find_onramp(const struct config *config, const char *id)
{
	for (size_t i = 0; i < config->onramp_count; i++)
		if (strcmp(config->onramps[i]->id.text, id) == 0)
			return config->onramps[i];
	return NULL;
}

static struct config_pipeline *
find_pipeline(const struct config *config, const char *id)
{
	for (size_t i = 0; i < config->pipeline_count; i++)
		if (strcmp(config->pipelines[i]->id.text, id) == 0)
			return config->pipelines[i];
	return NULL;
}

static struct config_offramp *
find_offramp(const struct config *config, const char *id)
{
	for (size_t i = 0; i < config->offramp_count; i++)
		if (strcmp(config->offramps[i]->id.text, id) == 0)
			return config->offramps[i];
	return NULL;
}

/* Says that an end names what is not defined. Returns -1. */
static int
refuse_unknown(struct resolver *r, const struct end *end)
{
	faults_add(r->faults, &end->place, "there is no %s \"%s\"",
	    end_names[end->kind], end->id);
	return -1;
}

/*
 * Appends what an end names to the onramps or offramps of a binding, an array
 * of pointers, unless it is there. Returns the array; `*count` stays as it was
 * where there is no room.
 */
static void *
append(struct resolver *r, void *list, size_t *count, void *found,
    const struct end *end)
{
	void **array = list;

	for (size_t i = 0; i < *count; i++)
		if (array[i] == found)
			return array;
	if (*count == CONFIG_MAX_LINKED) {
		faults_add(r->faults, &end->place,
		    "%s \"%s\" is one too many: a binding links %d at most",
		    end_names[end->kind], end->id, CONFIG_MAX_LINKED);
		return array;
	}
	array = mem_realloc(array, *count + 1, sizeof(*array));
	array[(*count)++] = found;
	return array;
}

/* Makes the pipeline that an end names that of the binding. */
static int
join_pipeline(
    struct resolver *r, struct config_binding *binding, const struct end *end)
{
	struct config_pipeline *found = find_pipeline(r->config, end->id);

	if (found == NULL)
		return refuse_unknown(r, end);
	if (binding->pipeline != NULL && binding->pipeline != found) {
		faults_add(r->faults, &end->place,
		    "a second pipeline in one binding is not built yet; give "
		    "\"%s\" a binding of its own",
		    end->id);
		return -1;
	}
	binding->pipeline = found;
	return 0;
}

/* Puts what an end names into its place in the binding. */
static int
join_end(
    struct resolver *r, struct config_binding *binding, const struct end *end)
{
	void *found;

	if (end->kind == END_PIPELINE)
		return join_pipeline(r, binding, end);
	if (end->kind == END_ONRAMP)
		found = find_onramp(r->config, end->id);
	else
		found = find_offramp(r->config, end->id);
	if (found == NULL)
		return refuse_unknown(r, end);
	if (end->kind == END_ONRAMP)
		binding->onramps = append(
		    r, binding->onramps, &binding->onramp_count, found, end);
	else
		binding->offramps = append(
		    r, binding->offramps, &binding->offramp_count, found, end);
	return 0;
}

/* Joins both ends of a link from `from` to the path `to` in a list. */
static int
join_link(struct resolver *r, struct config_binding *binding,
    const struct end *from, const struct tree_node *to)
{
	struct end into;

	if (to->kind != TREE_SCALAR) {
		faults_add(r->faults, &to->place,
		    "the path of a pipeline or an offramp is expected here");
		return -1;
	}
	if (read_end(r, to->text, &to->place, false, &into) == -1)
		return -1;
	if (from->kind == END_PIPELINE && into.kind == END_PIPELINE) {
		faults_add(r->faults, &to->place,
		    "a pipeline behind a pipeline is not built yet");
		return -1;
	}
	if (from->kind == END_ONRAMP && into.kind == END_OFFRAMP) {
		faults_add(r->faults, &to->place,
		    "an onramp feeds a pipeline; straight into an offramp is "
		    "not built yet");
		return -1;
	}
	if (join_end(r, binding, from) == -1)
		return -1;
	return join_end(r, binding, &into);
}

/* Refuses the path at `index` of a list if it stands there before. */
static int
refuse_repeated(struct resolver *r, const struct tree_node *link, size_t index)
{
	const struct tree_node *path = &link->items[index];

	if (path->kind != TREE_SCALAR)
		return 0;
	for (size_t i = 0; i < index; i++) {
		if (link->items[i].kind != TREE_SCALAR ||
		    strcmp(link->items[i].text, path->text) != 0)
			continue;
		faults_add(r->faults, &path->place,
		    "\"%.100s\" is linked twice, first at %zu:%zu", path->text,
		    link->items[i].place.line, link->items[i].place.column);
		return -1;
	}
	return 0;
}

static int
resolve_link(struct resolver *r, struct config_binding *binding,
    const struct tree_node *link)
{
	struct end from;
	char got[TREE_DESCRIBE_BYTES];
	int result = 0;

	if (read_end(r, link->key, &link->key_place, true, &from) == -1)
		return -1;
	if (link->kind != TREE_LIST) {
		faults_add(r->faults, &link->place,
		    "a list of paths is expected here, not %s",
		    tree_describe(link, got));
		return -1;
	}
	if (link->count == 0) {
		faults_add(r->faults, &link->place, "the link leads nowhere");
		return -1;
	}
	for (size_t i = 0; i < link->count; i++) {
		if (refuse_repeated(r, link, i) == -1 ||
		    join_link(r, binding, &from, &link->items[i]) == -1)
			result = -1;
	}
	return result;
}

static void
resolve_binding(struct resolver *r, struct config_binding *binding)
{
	bool is_good = true;

	for (size_t i = 0; i < binding->links->count; i++)
		if (resolve_link(r, binding, &binding->links->items[i]) == -1)
			is_good = false;
	if (is_good && binding->onramp_count == 0)
		faults_add(r->faults, &binding->links->place,
		    "binding \"%s\" links no onramp to a pipeline",
		    binding->id.text);
	if (is_good && binding->offramp_count == 0)
		faults_add(r->faults, &binding->links->place,
		    "binding \"%s\" links no pipeline to an offramp",
		    binding->id.text);
}

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
	size_t bytes = next_part(&path, &part);
	bool is_good = part_is(part, bytes, "binding");

	bytes = next_part(&path, &part);
	is_good = is_good && copy_name(id, part, bytes);
	bytes = next_part(&path, &part);
	is_good = is_good && copy_name(name, part, bytes) && *path == '\0';
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
			resolve_binding(&r, config->bindings[i]);
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
