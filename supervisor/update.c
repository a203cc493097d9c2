#include "supervisor/update.h"

#include "stage/mem.h"
#include "supervisor/roster.h"

#include <stdlib.h>
#include <string.h>

/* What the functions here carry along. */
struct update {
	struct crew *crew;
	const struct config_instance *instance;
	const struct command_context *context;
	struct update_change change;
};

/* Keeps the command of a stage that is given another, to go back to; unless
 * that is another program, or there is one already. */
static void
keep_command(struct crew_stage *stage, const struct command *other)
{
	bool is_same_program =
	    stage->command.count > 0 && other->count > 0 &&
	    strcmp(stage->command.argv[0], other->argv[0]) == 0;

	if (is_same_program && stage->before.count == 0)
		stage->before = stage->command;
	else
		command_fini(&stage->command);
	if (!is_same_program)
		command_fini(&stage->before);
}

/* Says whether two commands are the same, word for word. */
static bool
is_same_command(const struct command *one, const struct command *other)
{
	if (one->count != other->count)
		return false;
	for (size_t i = 0; i < one->count; i++)
		if (strcmp(one->argv[i], other->argv[i]) != 0)
			return false;
	return true;
}

/* Gives the stage at `at` its command by the new configuration, where it is
 * that of a kind at `index`. Returns whether it had another. */
static bool
change_command(struct update *u, size_t at, size_t index)
{
	struct crew_stage *stage = u->crew->stage[at];
	struct command command;

	command_init(&command, chain_kind(&u->crew->chain, at), index,
	    u->instance, u->context);
	if (is_same_command(&command, &stage->command)) {
		command_fini(&command);
		return false;
	}
	keep_command(stage, &command);
	crew_set_command(stage, &command);
	return true;
}

/* Writes that a stage has changed, unless it is the command of a source that
 * has none any more. */
static void
tell_changed(struct update *u, size_t at)
{
	const struct crew_stage *stage = u->crew->stage[at];

	if (stage->command.count > 0)
		journal_say_about(u->crew->shared->journal, LOG_INFO,
		    &stage->name, "has changed");
}

/* Writes what has become of an onramp or offramp, and notes it as a sentence.
 */
static void
tell_part(struct update *u, size_t at, const char *what)
{
	const struct crew_stage *stage = u->crew->stage[at];
	bool is_sink = chain_kind(&u->crew->chain, at) == STAGE_SINK;
	char *text = mem_printf(
	    "%s %s: %s", is_sink ? "offramp" : "onramp", stage->id, what);

	journal_say_about(
	    u->crew->shared->journal, LOG_INFO, &stage->name, "%s", what);
	(void)cJSON_AddItemToArray(u->change.parts, cJSON_CreateString(text));
	free(text);
}

/* Says whether the new configuration has an onramp or offramp of that id. */
static bool
is_wanted(const struct update *u, enum stage_kind kind, const char *id)
{
	size_t count = command_stages(kind, u->instance);

	for (size_t i = 0; i < count; i++)
		if (strcmp(command_stage_id(kind, i, u->instance), id) == 0)
			return true;
	return false;
}

/* Removes the stages of a kind that the new configuration does not have. */
static void
remove_unwanted(struct update *u, enum stage_kind kind)
{
	struct chain *chain = &u->crew->chain;

	for (size_t i = 0; i < chain_count(chain, kind); i++) {
		size_t at = chain_at(chain, kind, i);

		if (chain->stage[at].is_removed ||
		    is_wanted(u, kind, u->crew->stage[at]->id))
			continue;
		tell_part(u, at, "removed");
		chain_remove(chain, at, loop_now_ns());
		crew_obey(u->crew);
	}
	/* Those that did not run make room at once. */
	crew_drop_gone(u->crew);
}

/* Finds the stage of a kind that has an id. Returns whether there is one. */
static bool
find_stage(
    const struct crew *crew, enum stage_kind kind, const char *id, size_t *at)
{
	for (size_t i = 0; i < chain_count(&crew->chain, kind); i++) {
		*at = chain_at(&crew->chain, kind, i);
		if (strcmp(crew->stage[*at]->id, id) == 0)
			return true;
	}
	return false;
}

/* Starts a stage anew, since its command has changed or it is back. */
static void
renew(struct update *u, size_t at, const struct chain_rules *rules)
{
	chain_renew(&u->crew->chain, at, rules, loop_now_ns());
	crew_obey(u->crew);
}

/* Follows the source at `at` into the new configuration, where it is the
 * onramp at `index`. */
static void
change_source(struct update *u, size_t at, size_t index)
{
	const struct config_onramp *onramp =
	    u->instance->binding->onramps[index];
	struct chain *chain = &u->crew->chain;
	struct chain_rules rules = crew_rules_of(onramp);
	struct chain_rules *old = &chain->source[chain_index(chain, at)].rules;
	bool is_back = chain->stage[at].is_removed;
	bool has_other_command = change_command(u, at - 1, index);
	bool has_other_source = change_command(u, at, index);

	u->crew->stage[at]->has_stdin =
	    config_source_of(onramp) == CONFIG_STDIN;
	if (old->restart != rules.restart)
		u->change.is_other = true;
	old->restart = rules.restart;
	if (!is_back && !has_other_command && !has_other_source)
		return;
	u->change.is_source_new = true;
	u->crew->stage[at]->is_other = true;
	if (is_back) {
		tell_part(u, at, "added");
	} else {
		if (has_other_command)
			tell_changed(u, at - 1);
		if (has_other_source)
			tell_changed(u, at);
		/* Whichever of the two has, both are started anew. */
		u->change.anew += rules.has_command ? 2 : 1;
	}
	renew(u, at, &rules);
}

/* Follows the sink at `at`, or the WAL, into the new configuration. */
static void
change_other(struct update *u, size_t at, size_t index)
{
	bool is_back = u->crew->chain.stage[at].is_removed;
	bool has_other = change_command(u, at, index);

	if (!is_back && !has_other)
		return;
	if (is_back) {
		tell_part(u, at, "added");
	} else {
		tell_changed(u, at);
		u->change.anew++;
	}
	renew(u, at, NULL);
}

/* Adds what the new configuration has at `index` of a kind, or follows it. */
static void
take_over(struct update *u, enum stage_kind kind, size_t index)
{
	const char *id = command_stage_id(kind, index, u->instance);
	size_t at;

	if (!find_stage(u->crew, kind, id, &at)) {
		at = crew_add(u->crew, kind, index, u->instance, u->context);
		tell_part(u, at, "added");
		u->crew->stage[at]->is_other = true;
		if (kind == STAGE_SOURCE)
			u->change.is_source_new = true;
	} else if (kind == STAGE_SOURCE) {
		change_source(u, at, index);
	} else {
		change_other(u, at, index);
	}
}

/* Takes over what is of the whole. */
static void
change_rest(struct update *u, int64_t shutdown_timeout_ns)
{
	struct crew *crew = u->crew;
	const char *binding = u->instance->binding->id.text;

	if (strcmp(crew->binding, binding) != 0) {
		free(crew->binding);
		crew->binding = mem_strdup(binding);
		u->change.is_other = true;
	}
	if (crew->chain.shutdown_timeout_ns != shutdown_timeout_ns)
		u->change.is_other = true;
	crew->chain.shutdown_timeout_ns = shutdown_timeout_ns;
}

struct update_change
update_crew(struct crew *crew, const struct config_instance *instance,
    const struct command_context *context, int64_t shutdown_timeout_ns)
{
	static const enum stage_kind kinds[] = {
	    STAGE_SOURCE, STAGE_WAL, STAGE_SINK};
	struct update u = {
	    crew, instance, context, {.parts = cJSON_CreateArray()}};

	/* What is still to be done is so by the commands of before. */
	crew_obey(crew);
	change_rest(&u, shutdown_timeout_ns);
	remove_unwanted(&u, STAGE_SOURCE);
	remove_unwanted(&u, STAGE_SINK);
	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		for (size_t j = 0; j < command_stages(kinds[i], instance); j++)
			take_over(&u, kinds[i], j);
	if (u.change.anew > 0 || cJSON_GetArraySize(u.change.parts) > 0)
		crew->is_trial = true;
	/* Nothing starts where one was only removed. */
	crew_judge_trial(crew);
	roster_tell(crew);
	return u.change;
}
