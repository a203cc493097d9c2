#include "supervisor/status.h"

#include "stage/jsonout.h"
#include "stage/log.h"

#include <string.h>

/* Whose report tells a number of the flow. */
enum role {
	ROLE_SOURCE,
	ROLE_WAL,
	ROLE_SINK,
	ROLES,
	ROLE_NONE = ROLES,
};

static const struct {
	const char *program;
	enum role role;
} programs[] = {
    {"metronome", ROLE_SOURCE},
    {"onramp", ROLE_SOURCE},
    {"walproc", ROLE_WAL},
    {"wssink", ROLE_SINK},
};

/* The members of a flow: where each stands in which report. */
static const struct {
	const char *name;
	enum role role;
	const char *key;
} flow[] = {
    {"in", ROLE_WAL, "taken"},
    {"stored", ROLE_WAL, "stored"},
    {"bytes", ROLE_WAL, "bytes"},
    {"acked", ROLE_WAL, "delivered"},
    {"in_flight", ROLE_WAL, "in_flight"},
    {"rejected", ROLE_WAL, "rejected"},
    {"dropped", ROLE_WAL, "dropped"},
    {"dead_lettered", ROLE_WAL, "dead_lettered"},
    {"quarantined", ROLE_WAL, "quarantined"},
    {"oldest_unacked_ms", ROLE_WAL, "oldest_ms"},
    {"source_breaker", ROLE_WAL, "source_breaker"},
    {"source_breaker_reason", ROLE_WAL, "source_breaker_reason"},
    {"sink_breaker", ROLE_WAL, "sink_breaker"},
    {"connection", ROLE_SINK, "connection"},
    {"connection_why", ROLE_SINK, "why"},
    {"in_rate", ROLE_WAL, "in_rate"},
    {"out_rate", ROLE_WAL, "out_rate"},
    {"unstored", ROLE_SOURCE, "unacked"},
};

static enum role
role_of(const char *program)
{
	for (size_t i = 0; i < sizeof(programs) / sizeof(programs[0]); i++)
		if (strcmp(program, programs[i].program) == 0)
			return programs[i].role;
	return ROLE_NONE;
}

static void
add_time(cJSON *object, const char *name, int64_t realtime_ns)
{
	char text[LOG_TIME_BYTES];

	log_time(text, realtime_ns);
	(void)cJSON_AddStringToObject(object, name, text);
}

/* Adds a copy of `value`, or null where that is NULL. */
static void
add_copy(cJSON *object, const char *name, const cJSON *value)
{
	if (value == NULL)
		(void)cJSON_AddNullToObject(object, name);
	else
		(void)cJSON_AddItemToObject(
		    object, name, cJSON_Duplicate(value, true));
}

static cJSON *
make_stage(const struct status_stage *stage)
{
	cJSON *json = cJSON_CreateObject();

	jsonout_text(json, "stage", stage->id);
	jsonout_text(json, "program", stage->program);
	if (stage->pid == 0)
		(void)cJSON_AddNullToObject(json, "pid");
	else
		(void)cJSON_AddNumberToObject(json, "pid", stage->pid);
	jsonout_text(json, "state", stage->state);
	add_time(json, "since", stage->since_ns);
	(void)cJSON_AddNumberToObject(
	    json, "restarts", (double)stage->restarts);
	jsonout_text(json, "last_exit", stage->last_exit);
	add_copy(json, "report", stage->report);
	return json;
}

static cJSON *
make_flow(const struct status_instance *instance)
{
	const cJSON *reports[ROLES + 1] = {NULL};
	cJSON *json = cJSON_CreateObject();

	for (size_t i = 0; i < instance->stage_count; i++)
		reports[role_of(instance->stages[i].program)] =
		    instance->stages[i].report;
	for (size_t i = 0; i < sizeof(flow) / sizeof(flow[0]); i++)
		add_copy(json, flow[i].name,
		    cJSON_GetObjectItemCaseSensitive(
			reports[flow[i].role], flow[i].key));
	return json;
}

static cJSON *
make_instance(const struct status_instance *instance)
{
	cJSON *json = cJSON_CreateObject(), *stages;

	jsonout_text(json, "instance", instance->instance);
	jsonout_text(json, "pipeline", instance->pipeline);
	jsonout_text(json, "binding", instance->binding);
	jsonout_text(json, "state", instance->state);
	jsonout_text(json, "directory", instance->directory);
	stages = cJSON_AddArrayToObject(json, "stages");
	for (size_t i = 0; i < instance->stage_count; i++)
		(void)cJSON_AddItemToArray(
		    stages, make_stage(&instance->stages[i]));
	(void)cJSON_AddItemToObject(json, "flow", make_flow(instance));
	return json;
}

/* What an orphan holds is for whoever asks to find out: it takes reading. */
static cJSON *
make_orphan(const struct orphan *orphan)
{
	cJSON *json = cJSON_CreateObject();

	jsonout_text(json, "directory", orphan->directory);
	jsonout_text(json, "instance", orphan->instance);
	jsonout_text(json, "pipeline", orphan->pipeline);
	(void)cJSON_AddNullToObject(json, "stored");
	(void)cJSON_AddNullToObject(json, "bytes");
	return json;
}

static void
add_supervisor(cJSON *json, const struct status *status)
{
	cJSON *own = cJSON_AddObjectToObject(json, "supervisor");

	(void)cJSON_AddNumberToObject(own, "pid", status->pid);
	(void)cJSON_AddStringToObject(own, "version", WALPIPE_VERSION);
	jsonout_text(own, "state", status->state);
	jsonout_text(own, "state_dir", status->state_dir);
	add_time(own, "since", status->since_ns);
}

char *
status_put(const struct status *status)
{
	cJSON *json = cJSON_CreateObject(), *list;
	char *text;

	add_supervisor(json, status);
	list = cJSON_AddArrayToObject(json, "instances");
	for (size_t i = 0; i < status->instance_count; i++)
		(void)cJSON_AddItemToArray(
		    list, make_instance(&status->instances[i]));
	list = cJSON_AddArrayToObject(json, "orphans");
	for (size_t i = 0;
	     status->orphans != NULL && i < status->orphans->count; i++)
		(void)cJSON_AddItemToArray(
		    list, make_orphan(&status->orphans->list[i]));
	text = cJSON_PrintUnformatted(json);
	cJSON_Delete(json);
	return text;
}
