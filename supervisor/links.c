#include "supervisor/links.h"

#include "stage/mem.h"
#include "supervisor/route.h"

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

/* Reads the path of one end; false if it has not the form of its kind. */
static bool
parse_end(const char *path, struct end *end)
{
	const char *part;
	size_t bytes = route_next(&path, &part);
	int kind;

	end->kind = END_KINDS;
	for (kind = 0; kind < END_KINDS; kind++)
		if (route_is(part, bytes, end_names[kind]))
			end->kind = (enum end_kind)kind;
	bytes = route_next(&path, &part);
	if (end->kind == END_KINDS || !route_name(end->id, part, bytes))
		return false;
	bytes = route_next(&path, &part);
	if (!route_is(part, bytes, "{instance}"))
		return false;
	bytes = route_next(&path, &part);
	end->is_out = route_is(part, bytes, "out");
	if (*path != '\0' || (!end->is_out && !route_is(part, bytes, "in")))
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

/* Reads the path `to` in the list of what `from` leads to into *into. */
static int
read_target(struct resolver *r, const struct end *from,
    const struct tree_node *to, struct end *into)
{
	if (to->kind != TREE_SCALAR) {
		faults_add(r->faults, &to->place,
		    "the path of a pipeline or an offramp is expected here");
		return -1;
	}
	if (read_end(r, to->text, &to->place, false, into) == -1)
		return -1;
	if (from->kind == END_PIPELINE && into->kind == END_PIPELINE) {
		faults_add(r->faults, &to->place,
		    "a pipeline behind a pipeline is not built yet");
		return -1;
	}
	if (from->kind == END_ONRAMP && into->kind == END_OFFRAMP) {
		faults_add(r->faults, &to->place,
		    "an onramp feeds a pipeline; straight into an offramp is "
		    "not built yet");
		return -1;
	}
	return 0;
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
	struct end from, into;
	char got[TREE_DESCRIBE_BYTES];
	bool is_joined = false;
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
		    read_target(r, &from, &link->items[i], &into) == -1) {
			result = -1;
			continue;
		}
		/* What is wrong with it is told once for the whole list. */
		if (!is_joined && join_end(r, binding, &from) == -1)
			result = -1;
		is_joined = true;
		if (join_end(r, binding, &into) == -1)
			result = -1;
	}
	return result;
}

void
links_resolve(struct config *config, struct config_binding *binding,
    struct faults *faults)
{
	struct resolver r = {.config = config, .faults = faults};
	bool is_good = true;

	for (size_t i = 0; i < binding->links->count; i++)
		if (resolve_link(&r, binding, &binding->links->items[i]) == -1)
			is_good = false;
	if (is_good && binding->onramp_count == 0)
		faults_add(faults, &binding->links->place,
		    "binding \"%s\" links no onramp to a pipeline",
		    binding->id.text);
	if (is_good && binding->offramp_count == 0)
		faults_add(faults, &binding->links->place,
		    "binding \"%s\" links no pipeline to an offramp",
		    binding->id.text);
}
