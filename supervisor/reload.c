#include "supervisor/reload.h"

#include "stage/mem.h"
#include "supervisor/command.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static const char has_faults[] =
    "the configuration has faults: nothing is changed";

/* Writes each fault as a line of the log, and adds it to `lines`. */
static void
tell_faults(struct journal *journal, const struct faults *faults,
    enum log_level level, cJSON *lines)
{
	char *more;

	for (size_t i = 0; i < faults->count; i++) {
		journal_say(journal, level, "%s", faults->text[i]);
		(void)cJSON_AddItemToArray(
		    lines, cJSON_CreateString(faults->text[i]));
	}
	if (faults->more == 0)
		return;
	more = mem_printf("and %zu more", faults->more);
	journal_say(journal, level, "%s", more);
	(void)cJSON_AddItemToArray(lines, cJSON_CreateString(more));
	free(more);
}

/* Says whether two texts that may be missing are the same. */
static bool
is_same(const char *one, const char *other)
{
	if (one == NULL || other == NULL)
		return one == other;
	return strcmp(one, other) == 0;
}

/* Returns the name of a variable that a stage of an instance wants and that is
 * not there, or NULL; the caller frees it. */
static char *
find_unset(const struct config_instance *instance, const struct plan *plan)
{
	char *name = NULL;

	/* The command of an onramp is the user's, word for word. */
	for (int i = STAGE_SOURCE; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;
		size_t count = command_stages(kind, instance);

		for (size_t j = 0; name == NULL && j < count; j++) {
			struct command command;

			command_init(
			    &command, kind, j, instance, &plan->context);
			name = command_unset_variable(&command);
			command_fini(&command);
		}
	}
	return name;
}

/* Says which variable a new plan wants that is not there, the first of them.
 * Returns whether there is one. */
static bool
tell_unset(const struct plan *plan, struct journal *journal, cJSON *lines)
{
	char *name = NULL, *text;

	for (size_t i = 0; name == NULL && i < plan->config.instance_count; i++)
		name = find_unset(plan->config.instances[i], plan);
	if (name == NULL)
		return false;
	text = mem_printf("the environment variable %s is not set", name);
	journal_say(journal, LOG_ERROR, "%s", text);
	(void)cJSON_AddItemToArray(lines, cJSON_CreateString(text));
	free(text);
	free(name);
	return true;
}

/* Returns what in a new plan cannot be had without a new start, or NULL. */
static const char *
find_obstacle(const struct reload *reload, const struct plan *plan,
    struct journal *journal, cJSON *lines)
{
	const struct config *old = &reload->first->config;
	const struct config *new = &plan->config;

	if (strcmp(plan->state_dir, reload->first->state_dir) != 0)
		return "state_dir cannot change while it runs: nothing is "
		       "changed";
	if (!is_same(old->user.text, new->user.text) ||
	    !is_same(old->group.text, new->group.text))
		return "user and group cannot change while it runs: nothing "
		       "is changed";
	/* The stages would end at once, for good, and all others with them. */
	if (tell_unset(plan, journal, lines))
		return "the environment cannot change while it runs: nothing "
		       "is changed";
	return NULL;
}

/* Turns what was read into what runs. Returns the answer. */
static cJSON *
adopt(const struct reload *reload, const struct plan *plan,
    struct journal *journal, cJSON *lines)
{
	const char *obstacle = find_obstacle(reload, plan, journal, lines);
	cJSON *answer = cJSON_CreateObject(), *changes;
	const cJSON *change;

	if (obstacle != NULL) {
		journal_say(journal, LOG_ERROR, "reload: %s", obstacle);
		(void)cJSON_AddStringToObject(answer, "error", obstacle);
		return answer;
	}
	changes = fleet_update(reload->fleet, plan);
	cJSON_ArrayForEach(change, changes)
	    journal_say(journal, LOG_INFO, "reload: %s", change->valuestring);
	if (cJSON_GetArraySize(changes) == 0)
		journal_say(journal, LOG_INFO, "reload: nothing has changed");
	(void)cJSON_AddItemToObject(answer, "changes", changes);
	return answer;
}

char *
reload_plan(const struct reload *reload, struct journal *journal)
{
	cJSON *answer, *lines = cJSON_CreateArray();
	struct plan_source source = *reload->source;
	struct faults faults, notes;
	struct plan plan;
	char *text;

	faults_init(&faults);
	faults_init(&notes);
	source.is_live = true;
	if (plan_read(&plan, &source, &faults, &notes) == 0) {
		tell_faults(journal, &notes, LOG_WARN, lines);
		answer = adopt(reload, &plan, journal, lines);
		plan_fini(&plan);
	} else {
		tell_faults(journal, &faults, LOG_ERROR, lines);
		journal_say(journal, LOG_ERROR, "reload: %s", has_faults);
		answer = cJSON_CreateObject();
		(void)cJSON_AddStringToObject(answer, "error", has_faults);
	}
	(void)cJSON_AddItemToObject(answer, "faults", lines);
	faults_fini(&faults);
	faults_fini(&notes);
	text = cJSON_PrintUnformatted(answer);
	cJSON_Delete(answer);
	return text;
}
