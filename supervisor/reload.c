#include "supervisor/reload.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <string.h>

static const char has_faults[] =
    "the configuration has faults: nothing is changed";

/* Writes each fault as a line of the log, and adds it to `lines`. */
static void
tell_faults(struct journal *journal, const struct faults *faults,
    enum log_level level, cJSON *lines)
{
	for (size_t i = 0; i < faults->count; i++) {
		journal_say(journal, level, "%s", faults->text[i]);
		(void)cJSON_AddItemToArray(
		    lines, cJSON_CreateString(faults->text[i]));
	}
}

/* Says whether two texts that may be missing are the same. */
static bool
is_same(const char *one, const char *other)
{
	if (one == NULL || other == NULL)
		return one == other;
	return strcmp(one, other) == 0;
}

/* Returns what in a new plan cannot be had without a new start, or NULL. */
static const char *
find_obstacle(const struct reload *reload, const struct plan *plan)
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
	return NULL;
}

/* Turns what was read into what runs. Returns the answer. */
static cJSON *
adopt(const struct reload *reload, const struct plan *plan,
    struct journal *journal)
{
	const char *obstacle = find_obstacle(reload, plan);
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
	struct faults faults, notes;
	struct plan plan;
	char *text;

	faults_init(&faults);
	faults_init(&notes);
	if (plan_read(&plan, reload->source, &faults, &notes) == 0) {
		tell_faults(journal, &notes, LOG_WARN, lines);
		answer = adopt(reload, &plan, journal);
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
