#include "supervisor/status.h"

#include "stage/jsonout.h"
#include "stage/log.h"

#include <string.h>

/* The members of a flow: where each stands in which report. */
static const struct {
	const char *name;
	enum stage_kind kind;
	const char *key;
} flow[] = {
    {"in", STAGE_WAL, "taken"},
    {"stored", STAGE_WAL, "stored"},
    {"bytes", STAGE_WAL, "bytes"},
    {"acked", STAGE_WAL, "delivered"},
    {"in_flight", STAGE_WAL, "in_flight"},
    {"rejected", STAGE_WAL, "rejected"},
    {"dropped", STAGE_WAL, "dropped"},
    {"dead_lettered", STAGE_WAL, "dead_lettered"},
    {"quarantined", STAGE_WAL, "quarantined"},
    {"oldest_unacked_ms", STAGE_WAL, "oldest_ms"},
    {"source_breaker", STAGE_WAL, "source_breaker"},
    {"source_breaker_reason", STAGE_WAL, "source_breaker_reason"},
    {"sink_breaker", STAGE_WAL, "sink_breaker"},
    {"connection", STAGE_SINK, "connection"},
    {"connection_why", STAGE_SINK, "why"},
    {"in_rate", STAGE_WAL, "in_rate"},
    {"out_rate", STAGE_WAL, "out_rate"},
};

/* The members of each sink of a flow, by the report of walproc. */
static const char *const sink_members[] = {"present", "breaker", "delivered",
    "stored", "in_flight", "rejected", "dropped", "quarantined", "out_rate"};
static const char *const source_members[] = {"present", "taken"};

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

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

static const cJSON *
member(const cJSON *object, const char *name)
{
	return cJSON_GetObjectItemCaseSensitive(object, name);
}

/* Returns the stage of a kind that comes next in an instance, from *at on, and
 * moves on behind it; NULL if there is none. What is removed is not of the flow
 * any more. */
static const struct status_stage *
next_of(
    const struct status_instance *instance, enum stage_kind kind, size_t *at)
{
	while (*at < instance->stage_count) {
		const struct status_stage *stage = &instance->stages[(*at)++];

		if (stage->kind == kind && !stage->is_removed)
			return stage;
	}
	return NULL;
}

/* Says how far a sink is from doing its job. */
static int
rank_of(const struct status_stage *sink)
{
	static const char *const ranks[] = {
	    "open", "closing", "connecting", "waiting"};
	const char *connection =
	    cJSON_GetStringValue(member(sink->report, "connection"));

	for (size_t i = 0; connection != NULL && i < COUNT(ranks); i++)
		if (strcmp(connection, ranks[i]) == 0)
			return (int)i;
	return COUNT(ranks);
}

/* Returns the report of the sink that is worst off; NULL if it made none. */
static const cJSON *
find_worst(const struct status_instance *instance)
{
	const struct status_stage *worst = NULL, *sink;
	size_t at = 0;

	while ((sink = next_of(instance, STAGE_SINK, &at)) != NULL)
		if (worst == NULL || rank_of(sink) > rank_of(worst))
			worst = sink;
	return worst == NULL ? NULL : worst->report;
}

static const cJSON *
report_of_wal(const struct status_instance *instance)
{
	size_t at = 0;
	const struct status_stage *wal = next_of(instance, STAGE_WAL, &at);

	return wal == NULL ? NULL : wal->report;
}

/* Adds how much all sources together hold, if that is known of each. */
static void
add_unstored(cJSON *json, const struct status_instance *instance)
{
	const struct status_stage *source;
	double sum = 0;
	size_t at = 0;

	while ((source = next_of(instance, STAGE_SOURCE, &at)) != NULL) {
		const cJSON *unacked = member(source->report, "unacked");

		if (!cJSON_IsNumber(unacked)) {
			(void)cJSON_AddNullToObject(json, "unstored");
			return;
		}
		sum += unacked->valuedouble;
	}
	(void)cJSON_AddNumberToObject(json, "unstored", sum);
}

/* Finds what walproc says of one of its neighbours; NULL: nothing. */
static const cJSON *
find_named(const cJSON *list, const char *name)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, list)
	{
		const char *text = cJSON_GetStringValue(member(item, "name"));

		if (text != NULL && strcmp(text, name) == 0)
			return item;
	}
	return NULL;
}

static cJSON *
make_sink(const struct status_stage *sink, const cJSON *sinks)
{
	const cJSON *of_wal = find_named(sinks, sink->id);
	cJSON *json = cJSON_CreateObject();

	jsonout_text(json, "name", sink->id);
	add_copy(json, "connection", member(sink->report, "connection"));
	add_copy(json, "connection_why", member(sink->report, "why"));
	for (size_t i = 0; i < COUNT(sink_members); i++)
		add_copy(
		    json, sink_members[i], member(of_wal, sink_members[i]));
	return json;
}

static cJSON *
make_source(const struct status_stage *source, const cJSON *sources)
{
	const cJSON *of_wal = find_named(sources, source->id);
	cJSON *json = cJSON_CreateObject();

	jsonout_text(json, "name", source->id);
	for (size_t i = 0; i < COUNT(source_members); i++)
		add_copy(
		    json, source_members[i], member(of_wal, source_members[i]));
	add_copy(json, "unstored", member(source->report, "unacked"));
	return json;
}

/* Adds what is told of each source and each sink. */
static void
add_each(
    cJSON *json, const struct status_instance *instance, const cJSON *of_wal)
{
	cJSON *list = cJSON_AddArrayToObject(json, "sources");
	const struct status_stage *stage;
	size_t at = 0;

	while ((stage = next_of(instance, STAGE_SOURCE, &at)) != NULL)
		(void)cJSON_AddItemToArray(
		    list, make_source(stage, member(of_wal, "sources")));
	list = cJSON_AddArrayToObject(json, "sinks");
	at = 0;
	while ((stage = next_of(instance, STAGE_SINK, &at)) != NULL)
		(void)cJSON_AddItemToArray(
		    list, make_sink(stage, member(of_wal, "sinks")));
}

static cJSON *
make_flow(const struct status_instance *instance)
{
	const cJSON *of_wal = report_of_wal(instance);
	const cJSON *of_sink = find_worst(instance);
	cJSON *json = cJSON_CreateObject();

	for (size_t i = 0; i < COUNT(flow); i++)
		add_copy(json, flow[i].name,
		    member(flow[i].kind == STAGE_WAL ? of_wal : of_sink,
			flow[i].key));
	add_unstored(json, instance);
	add_each(json, instance, of_wal);
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
