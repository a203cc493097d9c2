#include "supervisor/fleet.h"

#include "stage/mem.h"
#include "supervisor/update.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void
fleet_init(struct fleet *fleet, const struct crew_shared *shared)
{
	*fleet = (struct fleet){.shared = shared};
}

void
fleet_fini(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++) {
		crew_fini(fleet->crews[i]);
		free(fleet->crews[i]);
	}
	free(fleet->crews);
}

/* Adds a sentence to the list of changes. */
static void
note(cJSON *changes, const struct crew *crew, const char *what)
{
	char *text =
	    mem_printf("%s/%s %s", crew->instance, crew->pipeline, what);

	(void)cJSON_AddItemToArray(changes, cJSON_CreateString(text));
	free(text);
}

/* Says whether a crew is that of an instance: both have the same log. */
static bool
is_crew_of(const struct crew *crew, const struct config_instance *instance)
{
	return strcmp(crew->instance, instance->instance.text) == 0 &&
	       strcmp(crew->pipeline, instance->binding->pipeline->id.text) ==
		   0;
}

static const struct config_instance *
find_instance(const struct config *config, const struct crew *crew)
{
	for (size_t i = 0; i < config->instance_count; i++)
		if (is_crew_of(crew, config->instances[i]))
			return config->instances[i];
	return NULL;
}

/* Returns the crew of an instance that is not on its way out, or NULL. */
static struct crew *
find_crew(const struct fleet *fleet, const struct config_instance *instance)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (!fleet->crews[i]->is_removed &&
		    is_crew_of(fleet->crews[i], instance))
			return fleet->crews[i];
	return NULL;
}

static struct crew *
add_crew(struct fleet *fleet, const struct config_instance *instance,
    const struct plan *plan, int64_t timeout_ns)
{
	struct crew *crew = mem_calloc(1, sizeof(*crew));

	crew_init(crew, instance, &plan->context, timeout_ns, fleet->shared);
	fleet->crews =
	    mem_realloc(fleet->crews, fleet->count + 1, sizeof(*fleet->crews));
	fleet->crews[fleet->count++] = crew;
	return crew;
}

static void
remove_crew(struct crew *crew)
{
	crew->is_removed = true;
	crew_stop(crew);
}

/* Adds what became of a crew that goes on. */
static void
note_change(
    cJSON *changes, const struct crew *crew, const struct update_change *change)
{
	const cJSON *part;
	char *text;

	cJSON_ArrayForEach(part, change->parts)
	    note(changes, crew, part->valuestring);
	if (change->anew == 0 && !change->is_other)
		return;
	if (crew->chain.goal == CHAIN_OVER)
		text = mem_strdup("has changed, and has come to its end");
	else if (change->anew == 0)
		text = mem_strdup("has changed: no stage starts anew");
	else
		text = mem_printf("has changed: %zu stage%s anew", change->anew,
		    change->anew == 1 ? " starts" : "s start");
	note(changes, crew, text);
	free(text);
}

/* Returns the crew that the one of an instance comes in the place of, or NULL.
 */
static const struct crew *
find_before(const struct fleet *fleet, const struct config_instance *instance)
{
	const struct crew *before = NULL;

	for (size_t i = 0; i < fleet->count; i++)
		if (is_crew_of(fleet->crews[i], instance))
			before = fleet->crews[i];
	return before;
}

/* Follows a crew into the new configuration. */
static void
follow(struct crew *crew, const struct plan *plan, int64_t timeout_ns,
    cJSON *changes)
{
	const struct config_instance *instance =
	    find_instance(&plan->config, crew);
	struct update_change change;
	enum chain_goal goal;

	if (crew->is_removed)
		return;
	if (instance == NULL) {
		note(changes, crew, "is removed: it stops");
		remove_crew(crew);
		return;
	}
	goal = crew->chain.goal;
	/* One that could not work is tried again, by whatever was mended. */
	if (crew->chain.has_failed) {
		remove_crew(crew);
		return;
	}
	change = update_crew(crew, instance, &plan->context, timeout_ns);
	/* The sources have come to their end; what is new has not. The same is
	 * not run a second time for what stands behind them. */
	if (goal != CHAIN_RUN && change.is_source_new) {
		remove_crew(crew);
		crew->is_replaced = true;
	} else
		note_change(changes, crew, &change);
	cJSON_Delete(change.parts);
}

cJSON *
fleet_update(struct fleet *fleet, const struct plan *plan)
{
	const struct config *config = &plan->config;
	int64_t timeout_ns =
	    (int64_t)config->shutdown_timeout.number * LOOP_NS_PER_MS;
	cJSON *changes = cJSON_CreateArray();
	const struct crew *before;
	bool is_first = fleet->count == 0;

	for (size_t i = 0; i < fleet->count; i++)
		follow(fleet->crews[i], plan, timeout_ns, changes);
	for (size_t i = 0; i < config->instance_count; i++) {
		const struct config_instance *instance = config->instances[i];
		struct crew *crew;

		if (find_crew(fleet, instance) != NULL)
			continue;
		before = find_before(fleet, instance);
		crew = add_crew(fleet, instance, plan, timeout_ns);
		if (before != NULL && before->is_replaced)
			crew_take_ends(crew, before);
		crew->is_trial = !is_first;
		note(changes, crew, "is new: it starts");
	}
	return changes;
}

/* Says whether a crew has the log. */
static bool
is_used(const char *instance, const char *pipeline, const void *context)
{
	const struct fleet *fleet = context;

	for (size_t i = 0; i < fleet->count; i++)
		if (strcmp(fleet->crews[i]->instance, instance) == 0 &&
		    strcmp(fleet->crews[i]->pipeline, pipeline) == 0)
			return true;
	return false;
}

void
fleet_find_orphans(
    const struct fleet *fleet, struct orphans *orphans, int dir_fd)
{
	orphans_find(orphans, dir_fd, fleet->shared->state_dir, is_used, fleet);
}

void
fleet_watch(struct fleet *fleet, struct loop *loop)
{
	for (size_t i = 0; i < fleet->count; i++)
		crew_watch(fleet->crews[i], loop);
}

void
fleet_read(struct fleet *fleet, const struct loop *loop)
{
	for (size_t i = 0; i < fleet->count; i++)
		crew_read(fleet->crews[i], loop);
}

void
fleet_reap(struct fleet *fleet)
{
	pid_t pid;

	while ((pid = child_next()) != 0) {
		bool is_ours = false;

		for (size_t i = 0; i < fleet->count && !is_ours; i++)
			is_ours = crew_reap(fleet->crews[i], pid);
		if (!is_ours)
			(void)child_reap(pid);
	}
}

/* Says whether the log of a crew is still in use by one from before it, which
 * had its turn before: nothing would wake us between its end and the next. */
static bool
is_held(const struct fleet *fleet, size_t index)
{
	const char *directory = fleet->crews[index]->directory;

	for (size_t i = 0; i < index; i++)
		if (fleet->crews[i]->chain.goal != CHAIN_OVER &&
		    strcmp(fleet->crews[i]->directory, directory) == 0)
			return true;
	return false;
}

/* Says whether a crew that has ended has one behind it on the same log. */
static bool
has_successor(const struct fleet *fleet, size_t index)
{
	for (size_t i = index + 1; i < fleet->count; i++)
		if (strcmp(fleet->crews[i]->directory,
			fleet->crews[index]->directory) == 0)
			return true;
	return false;
}

/* Frees the crews of removed instances that have come to their end. */
static void
drop_removed(struct fleet *fleet)
{
	size_t kept = 0;

	for (size_t i = 0; i < fleet->count; i++) {
		struct crew *crew = fleet->crews[i];

		if (!crew->is_removed || crew->chain.goal != CHAIN_OVER) {
			fleet->crews[kept++] = crew;
			continue;
		}
		if (!has_successor(fleet, i))
			crew_tell_left(crew);
		crew_fini(crew);
		free(crew);
	}
	fleet->count = kept;
}

void
fleet_turn(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++) {
		if (is_held(fleet, i))
			continue;
		crew_turn(fleet->crews[i]);
		crew_stop_trial(fleet->crews[i]);
	}
	drop_removed(fleet);
}

void
fleet_stop(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		crew_stop(fleet->crews[i]);
}

void
fleet_kill(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		crew_kill(fleet->crews[i]);
}

void
fleet_ask(struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		crew_ask(fleet->crews[i]);
}

bool
fleet_owes_report(const struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (crew_owes_report(fleet->crews[i]))
			return true;
	return false;
}

bool
fleet_is_up(const struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (!crew_is_up(fleet->crews[i]))
			return false;
	return true;
}

bool
fleet_has_failed(const struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (fleet->crews[i]->chain.has_failed)
			return true;
	return false;
}

bool
fleet_must_stop(const struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (fleet->crews[i]->chain.has_failed &&
		    !fleet->crews[i]->is_trial)
			return true;
	return false;
}

bool
fleet_is_over(const struct fleet *fleet)
{
	for (size_t i = 0; i < fleet->count; i++)
		if (fleet->crews[i]->chain.goal != CHAIN_OVER)
			return false;
	return true;
}
