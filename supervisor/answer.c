#include "supervisor/answer.h"

#include "stage/mem.h"
#include "supervisor/status.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* One instance and its stages, as status.h wants them. */
struct row {
	struct status_stage *stages; /* owned */
	size_t count;
};

/* Turns a time of the chain's clock into one of the wall's. */
static int64_t
wall_ns(int64_t monotonic_ns)
{
	return loop_realtime_ns() - (loop_now_ns() - monotonic_ns);
}

static void
describe_stage(struct row *row, const struct crew *crew, size_t at)
{
	const struct chain_stage *chain = &crew->chain.stage[at];
	const struct crew_stage *stage = crew->stage[at];

	/* There is a command only where the source has one. */
	if (stage->command.count == 0)
		return;
	row->stages[row->count++] = (struct status_stage){
	    .kind = chain_kind(&crew->chain, at),
	    .is_removed = chain->is_removed,
	    .id = stage->id,
	    .program = stage->name.program,
	    .pid = stage->name.pid,
	    .state = chain_state_name(chain->state),
	    .since_ns = wall_ns(chain->since_ns),
	    .restarts = chain->starts == 0 ? 0 : chain->starts - 1,
	    .last_exit = stage->last_exit[0] == '\0' ? NULL : stage->last_exit,
	    /* One that does not answer stands in no known way. */
	    .report = stage->owes_report ? NULL : stage->report,
	};
}

static void
describe(
    struct status_instance *instance, struct row *row, const struct crew *crew)
{
	row->stages =
	    mem_calloc(chain_stages(&crew->chain), sizeof(*row->stages));
	for (size_t at = 0; at < chain_stages(&crew->chain); at++)
		describe_stage(row, crew, at);
	*instance = (struct status_instance){
	    .instance = crew->instance,
	    .pipeline = crew->pipeline,
	    .binding = crew->binding,
	    .state = chain_goal_name(crew->chain.goal),
	    .directory = crew->directory,
	    .stages = row->stages,
	    .stage_count = row->count,
	};
}

char *
answer_status(const struct fleet *fleet, const struct answer_about *about)
{
	struct row *rows = mem_calloc(fleet->count, sizeof(*rows));
	struct status_instance *instances =
	    mem_calloc(fleet->count, sizeof(*instances));
	struct orphans orphans;
	struct status status = {
	    .pid = getpid(),
	    .state = about->state,
	    .state_dir = about->state_dir,
	    .since_ns = about->since_ns,
	    .instances = instances,
	    .instance_count = fleet->count,
	    .orphans = &orphans,
	};
	char *text;

	for (size_t i = 0; i < fleet->count; i++)
		describe(&instances[i], &rows[i], fleet->crews[i]);
	fleet_find_orphans(fleet, &orphans, about->state_dir_fd);
	text = status_put(&status);
	orphans_fini(&orphans);
	for (size_t i = 0; i < fleet->count; i++)
		free(rows[i].stages);
	free(instances);
	free(rows);
	return text;
}

char *
answer_stopped(const struct fleet *fleet)
{
	cJSON *answer = cJSON_CreateObject();
	cJSON *list;
	char *text;

	(void)cJSON_AddBoolToObject(answer, "stopped", true);
	list = cJSON_AddArrayToObject(answer, "instances");
	for (size_t i = 0; i < fleet->count; i++) {
		const struct crew *crew = fleet->crews[i];
		cJSON *one = cJSON_CreateObject();
		int64_t left = crew_left(crew);

		(void)cJSON_AddStringToObject(one, "instance", crew->instance);
		(void)cJSON_AddStringToObject(one, "pipeline", crew->pipeline);
		(void)cJSON_AddStringToObject(
		    one, "directory", crew->directory);
		if (left == -1)
			(void)cJSON_AddNullToObject(one, "left");
		else
			(void)cJSON_AddNumberToObject(
			    one, "left", (double)left);
		(void)cJSON_AddItemToArray(list, one);
	}
	text = cJSON_PrintUnformatted(answer);
	cJSON_Delete(answer);
	return text;
}
