#include "supervisor/chain.h"

#include "stage/exitcode.h"
#include "stage/mem.h"
#include "supervisor/link.h"
#include "supervisor/logline.h"
#include "supervisor/state_dir.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define FIRST_DELAY_MS 100
#define LAST_DELAY_MS 30000
#define STABLE_MS 60000
/* How long ENDING lasts. */
#define ENDING_NS (2 * LOOP_NS_PER_S)
/* Reads of a dead stage's log: more than a pipe holds. */
#define LAST_READS 16

static const char *const life_names[] = {
    [CHAIN_WAITING] = "waiting",
    [CHAIN_RUNNING] = "running",
    [CHAIN_FINISHING] = "finishing",
    [CHAIN_CLEARING] = "clearing",
    [CHAIN_STOPPING] = "stopping",
    [CHAIN_ENDING] = "ending",
    [CHAIN_KILLING] = "killing",
    [CHAIN_DONE] = "done",
};
_Static_assert(sizeof(life_names) / sizeof(life_names[0]) == CHAIN_LIVES,
    "a name is missing");

/* Changes the life, here only, and says so; it lasts `lasts_ns`. */
static void
enter(struct chain *chain, enum chain_life life, int64_t lasts_ns)
{
	struct journal_stage whole = {
	    .instance = chain->instance->instance.text};

	chain->deadline_ns =
	    lasts_ns == LOOP_NEVER ? LOOP_NEVER : loop_now_ns() + lasts_ns;
	if (chain->life == life)
		return;
	journal_say_about(chain->shared->journal, LOG_DEBUG, &whole,
	    "%s, was %s", life_names[life], life_names[chain->life]);
	chain->life = life;
}

int64_t
chain_delay_ms(int64_t last_ms, int64_t ran_ms)
{
	if (last_ms == 0 || ran_ms >= STABLE_MS)
		return FIRST_DELAY_MS;
	return last_ms >= LAST_DELAY_MS / 2 ? LAST_DELAY_MS : last_ms * 2;
}

void
chain_init(struct chain *chain, const struct config_instance *instance,
    const struct command_context *context, const struct chain_shared *shared)
{
	*chain = (struct chain){
	    .life = CHAIN_WAITING,
	    .shared = shared,
	    .instance = instance,
	    .deadline_ns = loop_now_ns(),
	};
	for (int i = 0; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;
		struct chain_stage *stage = &chain->stage[kind];

		command_init(&stage->command, kind, instance, context);
		relay_init(&stage->relay, -1);
		stage->name = (struct journal_stage){
		    .instance = instance->instance.text,
		    .id = command_stage_id(kind, instance),
		    .program = command_program(kind, instance),
		    .flood = &stage->flood,
		};
	}
}

void
chain_fini(struct chain *chain)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		command_fini(&chain->stage[kind].command);
		relay_close(&chain->stage[kind].relay);
	}
}

void
chain_watch(const struct chain *chain, struct loop *loop)
{
	loop_until(loop, chain->deadline_ns);
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		const struct relay *relay = &chain->stage[kind].relay;

		/* A closed pipe would be ready for ever. */
		if (relay->fd != -1 && !relay->has_ended)
			(void)loop_watch(loop, relay->fd, POLLIN);
	}
}

static bool
is_alive(const struct chain *chain, enum stage_kind kind)
{
	return chain->stage[kind].name.pid != 0 &&
	       !chain->stage[kind].has_ended;
}

static bool
is_any_alive(const struct chain *chain)
{
	return is_alive(chain, STAGE_SOURCE) || is_alive(chain, STAGE_WAL) ||
	       is_alive(chain, STAGE_SINK);
}

static void
signal_stage(struct chain *chain, enum stage_kind kind, int number)
{
	if (is_alive(chain, kind))
		child_signal(chain->stage[kind].name.pid, number);
}

static void
signal_all(struct chain *chain, int number)
{
	signal_stage(chain, STAGE_SOURCE, number);
	signal_stage(chain, STAGE_WAL, number);
	signal_stage(chain, STAGE_SINK, number);
}

/* Passes on the lines that a stage's log has ready. */
static void
pass_lines(struct chain *chain, struct chain_stage *stage)
{
	const char *line;
	size_t bytes;

	while (relay_next(&stage->relay, &line, &bytes)) {
		memcpy(stage->last_line, line, bytes);
		stage->last_line[bytes] = '\0';
		journal_pass(chain->shared->journal, &stage->name, line, bytes);
	}
}

void
chain_read_logs(struct chain *chain)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct chain_stage *stage = &chain->stage[kind];

		(void)relay_read(&stage->relay);
		pass_lines(chain, stage);
	}
}

/* Reads what a stage that has ended left in its log, and closes it: a process
 * of its own may hold the other end open for long. */
static void
finish_log(struct chain *chain, struct chain_stage *stage)
{
	for (int i = 0; i < LAST_READS && relay_read(&stage->relay); i++)
		pass_lines(chain, stage);
	stage->relay.has_ended = true;
	pass_lines(chain, stage);
	relay_close(&stage->relay);
}

/* Says that a stage has ended for good, with its last words. */
static void
report_final(
    struct chain *chain, const struct chain_stage *stage, const char *how)
{
	struct logline line;

	chain->has_failed = true;
	if (stage->last_line[0] == '\0')
		journal_say_about(chain->shared->journal, LOG_ERROR,
		    &stage->name, "%s is final; it said nothing", how);
	else if (logline_parse(
		     stage->last_line, strlen(stage->last_line), &line))
		journal_say_about(chain->shared->journal, LOG_ERROR,
		    &stage->name, "%s is final; its last line: %s", how,
		    line.message);
	else
		journal_say_about(chain->shared->journal, LOG_ERROR,
		    &stage->name, "%s is final; its last line: %s", how,
		    stage->last_line);
}

bool
chain_ended(struct chain *chain, pid_t pid, int status)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		struct chain_stage *stage = &chain->stage[kind];

		if (stage->name.pid != pid)
			continue;
		stage->has_ended = true;
		stage->status = status;
		return true;
	}
	return false;
}

/* Says how a stage has ended, once. */
static void
report_end(struct chain *chain, struct chain_stage *stage)
{
	char how[CHILD_DESCRIBE_BYTES];
	bool is_good = child_exited_with(stage->status, EXITCODE_DONE);

	finish_log(chain, stage);
	(void)child_describe(stage->status, how);
	if (child_exited_with(stage->status, EXITCODE_FINAL))
		report_final(chain, stage, how);
	else
		journal_say_about(chain->shared->journal,
		    is_good ? LOG_INFO : LOG_WARN, &stage->name, "ended: %s",
		    how);
	stage->name.pid = 0;
}

/* Waits before the next start, or not at all if there is to be none. */
static void
schedule(struct chain *chain)
{
	struct journal_stage whole = {
	    .instance = chain->instance->instance.text};
	int64_t ran_ms = (loop_now_ns() - chain->start_ns) / LOOP_NS_PER_MS;

	if (chain->must_stop || chain->has_failed) {
		enter(chain, CHAIN_DONE, LOOP_NEVER);
		return;
	}
	chain->delay_ms = chain_delay_ms(chain->delay_ms, ran_ms);
	journal_say_about(chain->shared->journal, LOG_INFO, &whole,
	    "starts again in %.1f s", (double)chain->delay_ms / 1000);
	enter(chain, CHAIN_WAITING, chain->delay_ms * LOOP_NS_PER_MS);
}

/* After a stage has died, or could not be started: ends the others. */
static void
clear(struct chain *chain)
{
	signal_all(chain, SIGTERM);
	enter(chain, CHAIN_CLEARING, chain->shared->shutdown_timeout_ns);
	if (!is_any_alive(chain))
		schedule(chain);
}

static int
start_stage(struct chain *chain, enum stage_kind kind, struct link *link)
{
	struct chain_stage *stage = &chain->stage[kind];
	struct child_setup setup = {
	    .link = &link->stage[kind],
	    .lock_fd = chain->shared->lock_fd,
	    .mask = &chain->shared->mask,
	};
	char *command;

	if (child_spawn(stage->command.argv, &setup, &stage->name.pid) == -1)
		return -1;
	relay_init(&stage->relay, link->stage[kind].reader_fd);
	link->stage[kind].reader_fd = -1;
	stage->last_line[0] = '\0';
	stage->has_ended = false;
	command = command_quote(&stage->command);
	journal_say_about(chain->shared->journal, LOG_INFO, &stage->name,
	    "started: %s", command);
	free(command);
	return 0;
}

/* Says whether a program that cannot be executed never will be. */
static bool
is_final_error(int error)
{
	return error == ENOENT || error == EACCES || error == ENOEXEC ||
	       error == E2BIG || error == ENOTDIR || error == ELOOP;
}

/* Starts the stages, from the sink up: each finds its reader running. */
static int
start_stages(struct chain *chain, struct link *link)
{
	for (int i = STAGE_KINDS - 1; i >= 0; i--) {
		enum stage_kind kind = (enum stage_kind)i;
		struct chain_stage *stage = &chain->stage[kind];

		if (kind == STAGE_SOURCE && chain->source_is_done)
			continue;
		if (start_stage(chain, kind, link) == 0)
			continue;
		if (is_final_error(errno))
			chain->has_failed = true;
		journal_say_about(chain->shared->journal, LOG_ERROR,
		    &stage->name, "cannot start %s: %m",
		    stage->command.argv[0]);
		return -1;
	}
	return 0;
}

/* Makes the directory of the instance, in which walproc makes its own. */
static int
make_directory(const struct chain *chain)
{
	char *path = mem_printf(
	    "%s/%s", chain->shared->state_dir, chain->instance->instance.text);
	int result = state_dir_make(path);

	if (result == -1)
		journal_say(chain->shared->journal, LOG_ERROR,
		    "cannot make the directory %s: %m", path);
	free(path);
	return result;
}

static void
start(struct chain *chain)
{
	struct link link;
	int result;

	chain->start_ns = loop_now_ns();
	if (make_directory(chain) == -1) {
		clear(chain);
		return;
	}
	if (link_open(&link, !chain->source_is_done) == -1) {
		journal_say(chain->shared->journal, LOG_ERROR,
		    "cannot link the stages of instance %s: %m",
		    chain->instance->instance.text);
		clear(chain);
		return;
	}
	result = start_stages(chain, &link);
	link_close(&link);
	if (result == -1)
		clear(chain);
	else
		enter(chain,
		    chain->source_is_done ? CHAIN_FINISHING : CHAIN_RUNNING,
		    LOOP_NEVER);
}

/* Says whether the source ends by itself: one that counts. */
static bool
has_an_end(const struct chain *chain)
{
	return chain->instance->binding->onramp->count.is_given;
}

/*
 * Says whether a stage has ended as it should: with success, in a chain whose
 * source comes to an end. Not in which order: the last stage may be gone before
 * the first is, since all that is between them then is their exits. One that
 * left the others with work undone (told to end by hand) is noticed by its
 * neighbours, which fail.
 */
static bool
is_good_end(const struct chain *chain, const struct chain_stage *stage)
{
	return has_an_end(chain) &&
	       child_exited_with(stage->status, EXITCODE_DONE);
}

/* Goes on from RUNNING or FINISHING after a stage has ended. */
static void
judge_ends(struct chain *chain)
{
	bool is_good = true;

	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		const struct chain_stage *stage = &chain->stage[kind];

		if (!stage->has_ended)
			continue;
		if (!is_good_end(chain, stage))
			is_good = false;
		else if (kind == STAGE_SOURCE)
			chain->source_is_done = true;
	}
	if (chain->has_failed)
		chain_stop(chain);
	else if (!is_good)
		clear(chain);
	else if (!is_any_alive(chain))
		enter(chain, CHAIN_DONE, LOOP_NEVER);
	else if (chain->source_is_done)
		enter(chain, CHAIN_FINISHING, LOOP_NEVER);
}

/* STOPPING has had its time, or there is nobody left to drain to. */
static void
end(struct chain *chain)
{
	signal_stage(chain, STAGE_SOURCE, SIGKILL);
	signal_stage(chain, is_alive(chain, STAGE_WAL) ? STAGE_WAL : STAGE_SINK,
	    SIGTERM);
	enter(chain, CHAIN_ENDING, ENDING_NS);
}

/* Judges what the ends since the last turn mean. */
static void
judge(struct chain *chain)
{
	switch (chain->life) {
	case CHAIN_RUNNING:
	case CHAIN_FINISHING:
		judge_ends(chain);
		return;
	case CHAIN_CLEARING:
		if (!is_any_alive(chain))
			schedule(chain);
		return;
	case CHAIN_STOPPING:
		if (!is_any_alive(chain))
			enter(chain, CHAIN_DONE, LOOP_NEVER);
		else if (!is_alive(chain, STAGE_SINK))
			end(chain);
		return;
	case CHAIN_ENDING:
		if (!is_any_alive(chain))
			enter(chain, CHAIN_DONE, LOOP_NEVER);
		else if (chain->stage[STAGE_WAL].has_ended)
			signal_stage(chain, STAGE_SINK, SIGTERM);
		return;
	case CHAIN_KILLING:
		if (!is_any_alive(chain))
			enter(chain, CHAIN_DONE, LOOP_NEVER);
		return;
	default:
		return;
	}
}

/* The deadline of `life` has passed: goes on to the next means. */
static void
expire(struct chain *chain)
{
	switch (chain->life) {
	case CHAIN_WAITING:
		start(chain);
		return;
	case CHAIN_STOPPING:
		end(chain);
		return;
	case CHAIN_CLEARING:
		/* It stays what it is: killed or not, a restart follows. */
		signal_all(chain, SIGKILL);
		chain->deadline_ns = LOOP_NEVER;
		return;
	case CHAIN_ENDING:
		chain_kill(chain);
		return;
	default:
		return;
	}
}

void
chain_turn(struct chain *chain, int64_t now_ns)
{
	bool has_news = false;

	for (int kind = 0; kind < STAGE_KINDS; kind++) {
		if (!chain->stage[kind].has_ended)
			continue;
		report_end(chain, &chain->stage[kind]);
		has_news = true;
	}
	if (has_news)
		judge(chain);
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		chain->stage[kind].has_ended = false;
	if (now_ns >= chain->deadline_ns)
		expire(chain);
}

void
chain_stop(struct chain *chain)
{
	chain->must_stop = true;
	if (chain->life == CHAIN_WAITING) {
		enter(chain, CHAIN_DONE, LOOP_NEVER);
		return;
	}
	/* What is being cleared away has its SIGTERM already. */
	if (chain->life != CHAIN_RUNNING && chain->life != CHAIN_FINISHING)
		return;
	signal_stage(chain, STAGE_SOURCE, SIGTERM);
	enter(chain, CHAIN_STOPPING, chain->shared->shutdown_timeout_ns);
	if (!is_any_alive(chain))
		enter(chain, CHAIN_DONE, LOOP_NEVER);
	else if (!is_alive(chain, STAGE_SINK))
		end(chain);
}

void
chain_kill(struct chain *chain)
{
	chain->must_stop = true;
	signal_all(chain, SIGKILL);
	enter(chain, is_any_alive(chain) ? CHAIN_KILLING : CHAIN_DONE,
	    LOOP_NEVER);
}
