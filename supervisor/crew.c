#include "supervisor/crew.h"

#include "stage/control.h"
#include "stage/mem.h"
#include "supervisor/bury.h"
#include "supervisor/hear.h"
#include "supervisor/launch.h"
#include "supervisor/state_dir.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct chain_rules
rules_of(const struct config_instance *instance, int64_t shutdown_timeout_ns)
{
	const struct config_onramp *onramp = instance->binding->onramp;

	return (struct chain_rules){
	    .has_command = config_source_of(onramp) == CONFIG_EXEC,
	    .restart = config_restart_of(onramp),
	    .shutdown_timeout_ns = shutdown_timeout_ns,
	};
}

/* Returns the last part of a path. */
static const char *
base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash == NULL ? path : slash + 1;
}

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

/* Gives a name, which is owned, another text. Returns whether it had another.
 */
static bool
set_name(char **name, const char *text)
{
	if (*name != NULL && strcmp(*name, text) == 0)
		return false;
	free(*name);
	*name = mem_strdup(text);
	return true;
}

/* Calls all by their ids, which need not stand in a command. Returns whether
 * one is new. */
static bool
set_ids(struct crew *crew, const struct config_instance *instance)
{
	bool is_new = set_name(&crew->binding, instance->binding->id.text);

	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct crew_stage *stage = &crew->stage[kind];

		if (set_name(&stage->id,
			command_stage_id((enum stage_kind)kind, instance)))
			is_new = true;
		stage->name.id = stage->id;
	}
	return is_new;
}

void
crew_init(struct crew *crew, const struct config_instance *instance,
    const struct command_context *context, int64_t shutdown_timeout_ns,
    const struct crew_shared *shared)
{
	const struct config_binding *binding = instance->binding;
	struct chain_rules rules = rules_of(instance, shutdown_timeout_ns);

	*crew = (struct crew){
	    .shared = shared,
	    .instance = mem_strdup(instance->instance.text),
	    .pipeline = mem_strdup(binding->pipeline->id.text),
	    .directory = mem_printf("%s/%s/%s", shared->state_dir,
		instance->instance.text, binding->pipeline->id.text),
	    .has_stdin = config_source_of(binding->onramp) == CONFIG_STDIN,
	    .read_fd = -1,
	    .write_fd = -1,
	};
	crew->name.instance = crew->instance;
	chain_init(&crew->chain, &rules, loop_now_ns());
	for (int i = 0; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;
		struct crew_stage *stage = &crew->stage[kind];
		struct command command;

		command_init(&command, kind, instance, context);
		crew_set_command(&crew->stage[kind], &command);
		stage->name.instance = crew->instance;
		stage->name.flood = &stage->flood;
		stage->control_fd = -1;
		relay_init(&stage->relay, -1);
	}
	(void)set_ids(crew, instance);
}

void
crew_fini(struct crew *crew)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct crew_stage *stage = &crew->stage[kind];

		command_fini(&stage->command);
		command_fini(&stage->before);
		relay_close(&stage->relay);
		link_close_fd(&stage->control_fd);
		cJSON_Delete(stage->report);
		free(stage->id);
		free(stage->program);
	}
	link_close_fd(&crew->read_fd);
	link_close_fd(&crew->write_fd);
	free(crew->instance);
	free(crew->pipeline);
	free(crew->binding);
	free(crew->directory);
}

void
crew_watch(struct crew *crew, struct loop *loop)
{
	loop_until(loop, chain_deadline_ns(&crew->chain));
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct crew_stage *stage = &crew->stage[kind];
		/* A closed pipe would be ready for ever. */
		int log_fd = stage->relay.has_ended ? -1 : stage->relay.fd;

		stage->log_slot = loop_watch(loop, log_fd, POLLIN);
		stage->control_slot =
		    loop_watch(loop, stage->control_fd, POLLIN);
	}
}

void
crew_signal(const struct crew *crew, enum stage_kind kind, int number)
{
	const struct crew_stage *stage = &crew->stage[kind];

	if (stage->name.pid == 0 || stage->has_ended)
		return;
	if (kind == STAGE_COMMAND)
		child_signal_group(stage->name.pid, number);
	if (kind != STAGE_COMMAND || !child_leads_group(stage->name.pid))
		child_signal(stage->name.pid, number);
}

void
crew_read(struct crew *crew, const struct loop *loop)
{
	for (int i = 0; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;
		struct crew_stage *stage = &crew->stage[kind];

		if (loop_ready(loop, stage->log_slot) != 0)
			hear_log(crew, kind);
		if (loop_ready(loop, stage->control_slot) != 0)
			hear_messages(crew, kind);
	}
}

bool
crew_reap(struct crew *crew, pid_t pid)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct crew_stage *stage = &crew->stage[kind];

		if (stage->name.pid != pid)
			continue;
		/* What a command has left running would write into the pipe
		 * for ever. */
		if (kind == STAGE_COMMAND)
			child_signal_group(pid, SIGKILL);
		stage->status = child_reap(pid);
		stage->has_ended = true;
		return true;
	}
	return false;
}

/* Says whether a program that could not be started never can be. */
static bool
is_final_error(int error)
{
	return error == ENOENT || error == EACCES || error == ENOEXEC ||
	       error == E2BIG || error == ENOTDIR || error == ELOOP;
}

/*
 * Gives the directory of the instance to who the stages are. Back to root, too:
 * what root makes in another's directory would not be given to that user when
 * it comes back, since the directory is its own already.
 */
static int
give_directory(const struct crew *crew, const char *path)
{
	const struct identity *who = &crew->shared->identity;

	if (who->is_given) {
		if (state_dir_give(path, who->uid, who->gid) == 0)
			return 0;
		journal_say_about(crew->shared->journal, LOG_ERROR, &crew->name,
		    "cannot give %s to the user of the stages: %m", path);
		return -1;
	}
	/* Some file systems let nobody do that; root can work there still. */
	if (geteuid() == 0 && state_dir_give(path, 0, (gid_t)-1) == -1)
		journal_say_about(crew->shared->journal, LOG_WARN, &crew->name,
		    "cannot take %s back from its owner: %m", path);
	return 0;
}

/* Makes the directory of the instance, in which walproc makes its own. */
static int
make_directory(const struct crew *crew)
{
	char *path =
	    mem_printf("%s/%s", crew->shared->state_dir, crew->instance);
	int result = state_dir_make(path);

	if (result == -1)
		journal_say_about(crew->shared->journal, LOG_ERROR, &crew->name,
		    "cannot make the directory %s: %m", path);
	else
		result = give_directory(crew, path);
	free(path);
	return result;
}

/* Says where a limit is that keeps a process from being started. */
static const char *
hint_for(int error)
{
	switch (error) {
	case EAGAIN:
		return " (no more processes may run: see ulimit -u, pids.max)";
	case EMFILE:
		return " (too many for the supervisor: see ulimit -n)";
	case ENFILE:
		return " (too many on the whole system: see fs.file-max)";
	default:
		return "";
	}
}

static void
start(struct crew *crew, enum stage_kind kind)
{
	struct crew_stage *stage = &crew->stage[kind];
	enum chain_end end = CHAIN_END_UNBORN;

	if (kind != STAGE_WAL || make_directory(crew) == 0) {
		if (launch(crew, kind) == 0)
			return;
		/* A command was there when the configuration was read. */
		if (kind != STAGE_COMMAND && is_final_error(errno))
			end = CHAIN_END_BURIED;
		journal_say_about(crew->shared->journal, LOG_ERROR,
		    &stage->name, "cannot start %.200s: %m%s",
		    stage->command.argv[0], hint_for(errno));
	}
	bury_unborn(crew, kind, end);
}

/* Tells a stage that no more input comes. One that cannot be told is late, and
 * ended then. */
static void
tell_drain(struct crew *crew, enum stage_kind kind)
{
	const struct crew_stage *stage = &crew->stage[kind];

	if (stage->control_fd != -1)
		(void)control_send_kind(stage->control_fd, CTLMSG_DRAIN, -1);
}

/* Does what the automaton asks for. */
static void
obey(struct crew *crew)
{
	struct chain_task task;

	while (chain_next(&crew->chain, &task)) {
		switch (task.action) {
		case CHAIN_SPAWN:
			start(crew, task.kind);
			break;
		case CHAIN_DRAIN:
			tell_drain(crew, task.kind);
			break;
		case CHAIN_TERM:
			crew_signal(crew, task.kind, SIGTERM);
			break;
		case CHAIN_KILL:
			crew_signal(crew, task.kind, SIGKILL);
			break;
		case CHAIN_NOTHING:
			break;
		}
	}
	if (crew->chain.pipe == CHAIN_PIPE_NONE) {
		link_close_fd(&crew->read_fd);
		link_close_fd(&crew->write_fd);
	}
}

void
crew_turn(struct crew *crew)
{
	obey(crew);
	for (int i = 0; i < STAGE_KINDS; i++) {
		if (!crew->stage[i].has_ended)
			continue;
		bury(crew, (enum stage_kind)i);
		obey(crew);
	}
	chain_turn(&crew->chain, loop_now_ns());
	obey(crew);
}

void
crew_stop(struct crew *crew)
{
	chain_stop(&crew->chain, loop_now_ns());
	obey(crew);
}

void
crew_kill(struct crew *crew)
{
	chain_kill(&crew->chain, loop_now_ns());
	obey(crew);
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
crew_can_tell(const struct crew *crew, enum stage_kind kind)
{
	const struct crew_stage *stage = &crew->stage[kind];

	return stage->name.pid != 0 && !stage->has_ended &&
	       stage->control_fd != -1;
}

void
crew_ask(struct crew *crew)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct crew_stage *stage = &crew->stage[kind];

		/* One that does not read its messages needs no more of them:
		 * there must be room for those that count. */
		if (!stage->owes_report &&
		    crew_can_tell(crew, (enum stage_kind)kind) &&
		    control_send_kind(stage->control_fd, CTLMSG_ASK, -1) == 0)
			stage->owes_report = true;
	}
}

bool
crew_owes_report(const struct crew *crew)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		if (crew->stage[kind].owes_report)
			return true;
	return false;
}

bool
crew_is_up(const struct crew *crew)
{
	const struct chain_stage *stages = crew->chain.stage;

	if (crew->chain.has_failed)
		return false;
	return crew->chain.goal != CHAIN_RUN ||
	       stages[STAGE_WAL].delay_ms > 0 ||
	       stages[STAGE_SOURCE].delay_ms > 0 ||
	       (stages[STAGE_WAL].state == CHAIN_READY &&
		   stages[STAGE_SOURCE].state == CHAIN_READY);
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

/* Gives each stage its command by the new configuration. Sets which of them
 * have another one than before. */
static void
change_commands(struct crew *crew, const struct config_instance *instance,
    const struct command_context *context, bool has_changed[STAGE_KINDS])
{
	for (int i = 0; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;
		struct command command;

		command_init(&command, kind, instance, context);
		has_changed[i] =
		    !is_same_command(&command, &crew->stage[kind].command);
		if (!has_changed[i]) {
			command_fini(&command);
			continue;
		}
		keep_command(&crew->stage[kind], &command);
		crew_set_command(&crew->stage[kind], &command);
		if (command.count > 0)
			journal_say_about(crew->shared->journal, LOG_INFO,
			    &crew->stage[kind].name, "has changed");
	}
}

/* Takes over what stands in no command. Returns whether any of it is new. */
static bool
change_rest(struct crew *crew, const struct config_instance *instance,
    const struct chain_rules *rules)
{
	struct chain_rules *old = &crew->chain.rules;
	bool is_new = set_ids(crew, instance) ||
		      old->restart != rules->restart ||
		      old->shutdown_timeout_ns != rules->shutdown_timeout_ns;

	old->restart = rules->restart;
	old->shutdown_timeout_ns = rules->shutdown_timeout_ns;
	crew->has_stdin =
	    config_source_of(instance->binding->onramp) == CONFIG_STDIN;
	return is_new;
}

struct crew_change
crew_update(struct crew *crew, const struct config_instance *instance,
    const struct command_context *context, int64_t shutdown_timeout_ns)
{
	struct chain_rules rules = rules_of(instance, shutdown_timeout_ns);
	struct crew_change change = {0};
	bool has_changed[STAGE_KINDS];

	/* What is still to be done is so by the commands of before. */
	obey(crew);
	change.is_other = change_rest(crew, instance, &rules);
	change_commands(crew, instance, context, has_changed);
	change.is_source_new =
	    has_changed[STAGE_COMMAND] || has_changed[STAGE_SOURCE];
	/* Whichever of the two is named, both are started anew. */
	if (has_changed[STAGE_COMMAND])
		has_changed[STAGE_SOURCE] = false;
	for (int i = 0; i < STAGE_KINDS; i++) {
		if (!has_changed[i])
			continue;
		chain_renew(
		    &crew->chain, (enum stage_kind)i, &rules, loop_now_ns());
		obey(crew);
		change.anew += i > STAGE_SOURCE ? 1 : rules.has_command ? 2 : 1;
	}
	crew->is_trial = crew->is_trial || change.anew > 0;
	return change;
}

int64_t
crew_left(const struct crew *crew)
{
	const cJSON *stored = cJSON_GetObjectItemCaseSensitive(
	    crew->stage[STAGE_WAL].report, "stored");

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
