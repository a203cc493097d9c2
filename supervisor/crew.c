#include "supervisor/crew.h"

#include "stage/control.h"
#include "stage/mem.h"
#include "supervisor/bury.h"
#include "supervisor/hear.h"
#include "supervisor/launch.h"
#include "supervisor/roster.h"

#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct chain_rules
crew_rules_of(const struct config_onramp *onramp)
{
	return (struct chain_rules){
	    .has_command = config_source_of(onramp) == CONFIG_EXEC,
	    .restart = config_restart_of(onramp),
	};
}

/* Returns the last part of a path. */
static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

void
crew_set_program(struct crew_stage *stage)
{
	const struct command *command = &stage->command;

	free(stage->program);
	stage->program =
	    mem_strdup(command->count == 0 ? "" : base_name(command->argv[0]));
	stage->name.program = stage->program;
}

void
crew_set_command(struct crew_stage *stage, const struct command *command)
{
	stage->command = *command;
	/* What runs keeps its name until it has ended. */
	if (stage->name.pid == 0)
		crew_set_program(stage);
}

/* Makes a stage by the configuration, of which nothing runs. */
static struct crew_stage *
make_stage(const struct crew *crew, enum stage_kind kind, size_t index,
    const struct config_instance *instance,
    const struct command_context *context)
{
	struct crew_stage *stage = mem_calloc(1, sizeof(*stage));
	struct command command;

	stage->control_fd = stage->read_fd = stage->write_fd = -1;
	stage->id = mem_strdup(command_stage_id(kind, index, instance));
	stage->name.instance = crew->instance;
	stage->name.id = stage->id;
	stage->name.flood = &stage->flood;
	stage->has_stdin =
	    kind == STAGE_SOURCE &&
	    config_source_of(instance->binding->onramps[index]) == CONFIG_STDIN;
	relay_init(&stage->relay, -1);
	command_init(&command, kind, index, instance, context);
	crew_set_command(stage, &command);
	return stage;
}

static void
free_stage(struct crew_stage *stage)
{
	command_fini(&stage->command);
	command_fini(&stage->before);
	relay_close(&stage->relay);
	link_close_fd(&stage->control_fd);
	link_close_fd(&stage->read_fd);
	link_close_fd(&stage->write_fd);
	cJSON_Delete(stage->report);
	free(stage->id);
	free(stage->program);
	free(stage);
}

/* Puts a stage at `at`, before those that are there of `count`. */
static void
insert(struct crew *crew, size_t at, size_t count, struct crew_stage *stage)
{
	memmove(&crew->stage[at + 1], &crew->stage[at],
	    (count - at) * sizeof(crew->stage[0]));
	crew->stage[at] = stage;
}

size_t
crew_add(struct crew *crew, enum stage_kind kind, size_t index,
    const struct config_instance *instance,
    const struct command_context *context)
{
	struct chain *chain = &crew->chain;
	size_t count = chain_stages(chain), at;
	struct chain_rules rules;

	if (kind == STAGE_SINK) {
		chain_add_sink(chain, loop_now_ns());
		at = chain_at(chain, STAGE_SINK, chain->sink_count - 1);
		insert(crew, at, count,
		    make_stage(crew, kind, index, instance, context));
		return at;
	}
	rules = crew_rules_of(instance->binding->onramps[index]);
	chain_add_source(chain, &rules, loop_now_ns());
	at = chain_at(chain, STAGE_SOURCE, chain->source_count - 1);
	insert(crew, at - 1, count,
	    make_stage(crew, STAGE_COMMAND, index, instance, context));
	insert(crew, at, count + 1,
	    make_stage(crew, STAGE_SOURCE, index, instance, context));
	return at;
}

void
crew_init(struct crew *crew, const struct config_instance *instance,
    const struct command_context *context, int64_t shutdown_timeout_ns,
    const struct crew_shared *shared)
{
	const struct config_binding *binding = instance->binding;

	*crew = (struct crew){
	    .shared = shared,
	    .instance = mem_strdup(instance->instance.text),
	    .pipeline = mem_strdup(binding->pipeline->id.text),
	    .binding = mem_strdup(binding->id.text),
	    .directory = mem_printf("%s/%s/%s", shared->state_dir,
		instance->instance.text, binding->pipeline->id.text),
	};
	crew->name.instance = crew->instance;
	chain_init(&crew->chain, shutdown_timeout_ns, loop_now_ns());
	crew->stage[0] = make_stage(crew, STAGE_WAL, 0, instance, context);
	for (size_t i = 0; i < binding->onramp_count; i++)
		(void)crew_add(crew, STAGE_SOURCE, i, instance, context);
	for (size_t i = 0; i < binding->offramp_count; i++)
		(void)crew_add(crew, STAGE_SINK, i, instance, context);
}

void
crew_fini(struct crew *crew)
{
	for (size_t at = 0; at < chain_stages(&crew->chain); at++)
		free_stage(crew->stage[at]);
	free(crew->roster);
	free(crew->instance);
	free(crew->pipeline);
	free(crew->binding);
	free(crew->directory);
}

/* Takes `count` stages out, from `at` on. */
static void
take_out(struct crew *crew, size_t at, size_t count)
{
	size_t behind = chain_stages(&crew->chain) - at - count;

	for (size_t i = at; i < at + count; i++)
		free_stage(crew->stage[i]);
	memmove(&crew->stage[at], &crew->stage[at + count],
	    behind * sizeof(crew->stage[0]));
}

void
crew_drop_gone(struct crew *crew)
{
	struct chain *chain = &crew->chain;
	bool is_any = false;

	for (size_t at = chain_stages(chain); at-- > 0;) {
		if (!chain_is_gone(chain, at))
			continue;
		is_any = true;
		/* The source stands behind its command: both go. */
		if (chain_kind(chain, at) == STAGE_SOURCE)
			take_out(crew, --at, 2);
		else
			take_out(crew, at, 1);
		chain_drop(chain, at);
	}
	/* What a source had sent before its end has been read by then. */
	if (is_any)
		roster_tell(crew);
}

void
crew_watch(struct crew *crew, struct loop *loop)
{
	loop_until(loop, chain_deadline_ns(&crew->chain));
	for (size_t at = 0; at < chain_stages(&crew->chain); at++) {
		struct crew_stage *stage = crew->stage[at];
		/* A closed pipe would be ready for ever. */
		int log_fd = stage->relay.has_ended ? -1 : stage->relay.fd;

		stage->log_slot = loop_watch(loop, log_fd, POLLIN);
		stage->control_slot =
		    loop_watch(loop, stage->control_fd, POLLIN);
	}
}

void
crew_signal(const struct crew *crew, size_t at, int number)
{
	const struct crew_stage *stage = crew->stage[at];
	bool is_command = chain_kind(&crew->chain, at) == STAGE_COMMAND;

	if (stage->name.pid == 0 || stage->has_ended)
		return;
	if (is_command)
		child_signal_group(stage->name.pid, number);
	if (!is_command || !child_leads_group(stage->name.pid))
		child_signal(stage->name.pid, number);
}

void
crew_read(struct crew *crew, const struct loop *loop)
{
	for (size_t at = 0; at < chain_stages(&crew->chain); at++) {
		struct crew_stage *stage = crew->stage[at];

		if (loop_ready(loop, stage->log_slot) != 0)
			hear_log(crew, at);
		if (loop_ready(loop, stage->control_slot) != 0)
			hear_messages(crew, at);
	}
}

bool
crew_reap(struct crew *crew, pid_t pid)
{
	for (size_t at = 0; at < chain_stages(&crew->chain); at++) {
		struct crew_stage *stage = crew->stage[at];

		if (stage->name.pid != pid)
			continue;
		/* What a command has left running would write into the pipe
		 * for ever. */
		if (chain_kind(&crew->chain, at) == STAGE_COMMAND)
			child_signal_group(pid, SIGKILL);
		stage->status = child_reap(pid);
		stage->has_ended = true;
		return true;
	}
	return false;
}

/* Tells a stage that no more input comes; and where all are to end, that no
 * sink is started any more. One that cannot be told is late, and ended then. */
static void
tell_drain(struct crew *crew, size_t at)
{
	const struct crew_stage *stage = crew->stage[at];
	bool is_stop = crew->chain.goal == CHAIN_STOP;

	if (stage->control_fd != -1)
		(void)control_send_kind(stage->control_fd,
		    is_stop && chain_kind(&crew->chain, at) == STAGE_WAL
			? CTLMSG_DRAIN_PRESENT
			: CTLMSG_DRAIN,
		    -1);
}

/* Closes the pipes that nobody will read any more. */
static void
close_pipes(struct crew *crew)
{
	const struct chain *chain = &crew->chain;

	for (size_t i = 0; i < chain->source_count; i++) {
		size_t at = chain_at(chain, STAGE_SOURCE, i);

		if (chain->source[i].pipe != CHAIN_PIPE_NONE)
			continue;
		link_close_fd(&crew->stage[at]->read_fd);
		link_close_fd(&crew->stage[at]->write_fd);
	}
}

void
crew_obey(struct crew *crew)
{
	struct chain_task task;

	while (chain_next(&crew->chain, &task)) {
		switch (task.action) {
		case CHAIN_SPAWN:
			launch(crew, task.at);
			break;
		case CHAIN_DRAIN:
			tell_drain(crew, task.at);
			break;
		case CHAIN_TERM:
			crew_signal(crew, task.at, SIGTERM);
			break;
		case CHAIN_KILL:
			crew_signal(crew, task.at, SIGKILL);
			break;
		case CHAIN_NOTHING:
			break;
		}
	}
	close_pipes(crew);
}

void
crew_turn(struct crew *crew)
{
	crew_obey(crew);
	for (size_t at = 0; at < chain_stages(&crew->chain); at++) {
		if (!crew->stage[at]->has_ended)
			continue;
		bury(crew, at);
		crew_obey(crew);
	}
	/* First, since others may have waited for their places. */
	crew_drop_gone(crew);
	chain_turn(&crew->chain, loop_now_ns());
	crew_obey(crew);
}

void
crew_stop(struct crew *crew)
{
	size_t wal = chain_at(&crew->chain, STAGE_WAL, 0);

	chain_stop(&crew->chain, loop_now_ns());
	crew_obey(crew);
	/* One that was told before waits for all sinks. */
	if (crew->chain.stage[wal].state == CHAIN_DRAINING)
		tell_drain(crew, wal);
}

void
crew_kill(struct crew *crew)
{
	chain_kill(&crew->chain, loop_now_ns());
	crew_obey(crew);
}

/* Says whether all stages have begun their work; a source may have come to the
 * end of it, too. */
static bool
is_at_work(const struct crew *crew)
{
	const struct chain *chain = &crew->chain;

	for (size_t at = 0; at < chain_stages(chain); at++) {
		const struct chain_stage *stage = &chain->stage[at];
		enum stage_kind kind = chain_kind(chain, at);

		if (kind == STAGE_COMMAND || stage->is_removed ||
		    stage->state == CHAIN_READY ||
		    (kind == STAGE_SOURCE && stage->state == CHAIN_ENDED))
			continue;
		return false;
	}
	return !chain->has_failed;
}

void
crew_judge_trial(struct crew *crew)
{
	crew->is_trial = crew->is_trial && !is_at_work(crew);
}

void
crew_stop_trial(struct crew *crew)
{
	if (!crew->is_trial || !crew->chain.has_failed ||
	    crew->chain.goal >= CHAIN_STOP)
		return;
	journal_say_about(crew->shared->journal, LOG_ERROR, &crew->name,
	    "cannot work as it is since the reload: it stops, "
	    "alone");
	crew_stop(crew);
}

bool
crew_can_tell(const struct crew *crew, size_t at)
{
	const struct crew_stage *stage = crew->stage[at];

	return stage->name.pid != 0 && !stage->has_ended &&
	       stage->control_fd != -1;
}

void
crew_ask(struct crew *crew)
{
	for (size_t at = 0; at < chain_stages(&crew->chain); at++) {
		struct crew_stage *stage = crew->stage[at];

		/* One that does not read its messages needs no more of them:
		 * there must be room for those that count. */
		if (!stage->owes_report && crew_can_tell(crew, at) &&
		    control_send_kind(stage->control_fd, CTLMSG_ASK, -1) == 0)
			stage->owes_report = true;
	}
}

bool
crew_owes_report(const struct crew *crew)
{
	for (size_t at = 0; at < chain_stages(&crew->chain); at++)
		if (crew->stage[at]->owes_report)
			return true;
	return false;
}

/* Says whether a source does its job, or is not to be waited for. */
static bool
is_source_up(const struct chain_stage *source)
{
	return source->is_removed || source->delay_ms > 0 ||
	       source->state == CHAIN_READY || source->state == CHAIN_ENDED;
}

bool
crew_is_up(const struct crew *crew)
{
	const struct chain *chain = &crew->chain;
	const struct chain_stage *wal =
	    &chain->stage[chain_at(chain, STAGE_WAL, 0)];

	if (chain->has_failed)
		return false;
	if (chain->goal != CHAIN_RUN || wal->delay_ms > 0)
		return true;
	for (size_t i = 0; i < chain->source_count; i++) {
		const struct chain_stage *source =
		    &chain->stage[chain_at(chain, STAGE_SOURCE, i)];

		if (!is_source_up(source) ||
		    (source->delay_ms == 0 && wal->state != CHAIN_READY))
			return false;
	}
	return true;
}

/* Says whether a source of `crew` has come to its end, and is the same since.
 */
static bool
has_ended_as(const struct crew *crew, const char *id)
{
	const struct chain *chain = &crew->chain;

	for (size_t i = 0; i < chain->source_count; i++) {
		size_t at = chain_at(chain, STAGE_SOURCE, i);

		if (strcmp(crew->stage[at]->id, id) == 0)
			return chain->stage[at].state == CHAIN_ENDED &&
			       !chain->stage[at].is_removed &&
			       !crew->stage[at]->is_other;
	}
	return false;
}

void
crew_take_ends(struct crew *crew, const struct crew *before)
{
	struct chain *chain = &crew->chain;

	for (size_t i = 0; i < chain->source_count; i++) {
		size_t at = chain_at(chain, STAGE_SOURCE, i);

		if (has_ended_as(before, crew->stage[at]->id))
			chain_rest_source(chain, at, loop_now_ns());
	}
}

int64_t
crew_left(const struct crew *crew)
{
	const cJSON *stored = cJSON_GetObjectItemCaseSensitive(
	    crew->stage[chain_at(&crew->chain, STAGE_WAL, 0)]->report,
	    "stored");

	return cJSON_IsNumber(stored) ? (int64_t)stored->valuedouble : -1;
}

void
crew_tell_left(const struct crew *crew)
{
	int64_t left = crew_left(crew);

	if (left <= 0)
		journal_say_about(crew->shared->journal, LOG_INFO, &crew->name,
		    "removed: its log %s stays%s", crew->directory,
		    left == 0 ? "; nothing in it is left to deliver" : "");
	else
		journal_say_about(crew->shared->journal, LOG_WARN, &crew->name,
		    "removed: its log %s stays, with %" PRId64
		    " events that were not delivered",
		    crew->directory, left);
}
