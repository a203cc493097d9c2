#include "supervisor/chain.h"

#include "stage/loop.h"
#include "supervisor/chain_table.h"

#include <assert.h>
#include <string.h>

#define FIRST_DELAY_MS 100
#define LAST_DELAY_MS 30000
#define STABLE_MS 60000
/* From SIGTERM to SIGKILL where the time to stop is over; and for a sink whose
 * log is gone, so that it has nothing more to do. */
#define ENDING_NS (2 * LOOP_NS_PER_S)

static const char *const goal_names[] = {
    [CHAIN_RUN] = "running",
    [CHAIN_FINISH] = "finishing",
    [CHAIN_STOP] = "stopping",
    [CHAIN_OVER] = "done",
};
_Static_assert(sizeof(goal_names) / sizeof(goal_names[0]) == CHAIN_GOALS,
    "a name is missing");

static const char *const state_names[] = {
    [CHAIN_IDLE] = "idle",
    [CHAIN_WAITING] = "waiting",
    [CHAIN_STARTING] = "starting",
    [CHAIN_READY] = "ready",
    [CHAIN_DRAINING] = "draining",
    [CHAIN_ENDING] = "ending",
    [CHAIN_KILLED] = "killed",
    [CHAIN_ENDED] = "done",
};
_Static_assert(sizeof(state_names) / sizeof(state_names[0]) == CHAIN_STATES,
    "a name is missing");

const char *
chain_goal_name(enum chain_goal goal)
{
	return goal_names[goal];
}

const char *
chain_state_name(enum chain_state state)
{
	return state_names[state];
}

int64_t
chain_delay_ms(int64_t last_ms, int64_t ran_ms)
{
	if (last_ms == 0 || ran_ms >= STABLE_MS)
		return FIRST_DELAY_MS;
	return last_ms >= LAST_DELAY_MS / 2 ? LAST_DELAY_MS : last_ms * 2;
}

static enum chain_state
state_of(const struct chain *chain, enum stage_kind kind)
{
	return chain->stage[kind].state;
}

bool
chain_runs(const struct chain *chain, enum stage_kind kind)
{
	switch (state_of(chain, kind)) {
	case CHAIN_STARTING:
	case CHAIN_READY:
	case CHAIN_DRAINING:
	case CHAIN_ENDING:
	case CHAIN_KILLED:
		return true;
	default:
		return false;
	}
}

/* Returns until when the state that a stage has come to may last. */
static int64_t
deadline_of(struct chain *chain, enum stage_kind kind)
{
	struct chain_stage *stage = &chain->stage[kind];
	int64_t now = chain->now_ns;
	bool is_stop = chain->goal == CHAIN_STOP;

	switch (stage->state) {
	case CHAIN_WAITING:
		stage->delay_ms = chain_delay_ms(
		    stage->delay_ms, (now - stage->start_ns) / LOOP_NS_PER_MS);
		return now + stage->delay_ms * LOOP_NS_PER_MS;
	case CHAIN_DRAINING:
		/* It has nothing to do but to say goodbye. */
		if (kind == STAGE_SINK)
			return now + ENDING_NS;
		if (is_stop)
			return chain->stop_ns;
		return stage->is_again ? now + chain->rules.shutdown_timeout_ns
				       : LOOP_NEVER;
	case CHAIN_ENDING:
		if (!is_stop)
			return now + chain->rules.shutdown_timeout_ns;
		/* The first in the stream have all the time there is. */
		return kind <= STAGE_SOURCE && now < chain->stop_ns
			   ? chain->stop_ns
			   : now + ENDING_NS;
	default:
		return LOOP_NEVER;
	}
}

/* Lets a stage go on by the table. Returns whether the event changed it. */
static bool
happen(struct chain *chain, enum stage_kind kind, enum chain_event event)
{
	struct chain_stage *stage = &chain->stage[kind];
	const struct chain_table_rule *rule =
	    chain_table_find(stage->state, event);

	if (!rule->is_rule)
		return false;
	stage->state = rule->next;
	stage->since_ns = chain->now_ns;
	if (rule->action == CHAIN_SPAWN) {
		stage->start_ns = chain->now_ns;
		stage->starts++;
		stage->is_again = false;
	}
	stage->deadline_ns = deadline_of(chain, kind);
	if (rule->action != CHAIN_NOTHING) {
		assert(chain->task_count < CHAIN_MAX_TASKS);
		chain->tasks[chain->task_count++] =
		    (struct chain_task){kind, rule->action};
	}
	return true;
}

/* Starts the source if it may. */
static bool
start_source(struct chain *chain)
{
	if (state_of(chain, STAGE_WAL) != CHAIN_READY)
		return false;
	/* Before its command it would only wait, unless it is to read what an
	 * earlier one has left. */
	if (chain->rules.has_command && chain->pipe == CHAIN_PIPE_NONE &&
	    state_of(chain, STAGE_COMMAND) != CHAIN_IDLE)
		return false;
	if (!happen(chain, STAGE_SOURCE, CHAIN_EVENT_START))
		return false;
	if (chain->rules.has_command && chain->pipe == CHAIN_PIPE_NONE)
		chain->pipe = CHAIN_PIPE_FRESH;
	return true;
}

static bool
start_command(struct chain *chain)
{
	if (state_of(chain, STAGE_SOURCE) != CHAIN_READY ||
	    chain->pipe != CHAIN_PIPE_FRESH ||
	    !happen(chain, STAGE_COMMAND, CHAIN_EVENT_START))
		return false;
	chain->pipe = CHAIN_PIPE_USED;
	/* Nobody asks it to be so: a command is what the user made it. */
	(void)happen(chain, STAGE_COMMAND, CHAIN_EVENT_READY);
	return true;
}

/* Lets a source whose command has changed before it was ready read what is left
 * of the output, now that it can be told so. */
static bool
drain_source(struct chain *chain)
{
	return state_of(chain, STAGE_SOURCE) == CHAIN_READY &&
	       chain->stage[STAGE_SOURCE].is_again &&
	       happen(chain, STAGE_SOURCE, CHAIN_EVENT_DRAIN);
}

/* Ends a source that has read all that its command wrote, once it is clear that
 * there will be no other. */
static bool
end_source(struct chain *chain)
{
	return chain->rules.has_command && chain->pipe == CHAIN_PIPE_NONE &&
	       state_of(chain, STAGE_COMMAND) == CHAIN_ENDED &&
	       state_of(chain, STAGE_SOURCE) == CHAIN_IDLE &&
	       happen(chain, STAGE_SOURCE, CHAIN_EVENT_STOP);
}

static bool
settle_run(struct chain *chain)
{
	if (state_of(chain, STAGE_SOURCE) == CHAIN_ENDED) {
		chain->goal = CHAIN_FINISH;
		return true;
	}
	return happen(chain, STAGE_WAL, CHAIN_EVENT_START) ||
	       happen(chain, STAGE_SINK, CHAIN_EVENT_START) ||
	       start_source(chain) || start_command(chain) ||
	       drain_source(chain) || end_source(chain);
}

static bool
settle_finish(struct chain *chain)
{
	if (state_of(chain, STAGE_WAL) != CHAIN_ENDED)
		return happen(chain, STAGE_WAL, CHAIN_EVENT_START) ||
		       happen(chain, STAGE_SINK, CHAIN_EVENT_START) ||
		       happen(chain, STAGE_WAL, CHAIN_EVENT_DRAIN);
	if (state_of(chain, STAGE_SINK) == CHAIN_ENDED) {
		chain->goal = CHAIN_OVER;
		return true;
	}
	/* All was confirmed: one that does not run is not needed any more. */
	if (!chain_runs(chain, STAGE_SINK))
		return happen(chain, STAGE_SINK, CHAIN_EVENT_STOP);
	return happen(chain, STAGE_SINK, CHAIN_EVENT_DRAIN);
}

/* Goes on with the end of one stage in the order. Returns whether that changed
 * anything. */
static bool
settle_stop_of(struct chain *chain, enum stage_kind kind)
{
	bool has_sink = chain_runs(chain, STAGE_SINK);

	switch (state_of(chain, kind)) {
	case CHAIN_ENDING:
	case CHAIN_KILLED:
	case CHAIN_ENDED:
		return false;
	case CHAIN_DRAINING:
		/* There is nobody left to drain to. */
		return kind == STAGE_WAL && !has_sink &&
		       happen(chain, kind, CHAIN_EVENT_STOP);
	default:
		break;
	}
	/* Its input has ended: it ends when all of that is stored. */
	if (kind == STAGE_SOURCE && chain->pipe == CHAIN_PIPE_USED &&
	    happen(chain, kind, CHAIN_EVENT_DRAIN))
		return true;
	if (kind == STAGE_WAL && has_sink &&
	    happen(chain, kind, CHAIN_EVENT_DRAIN))
		return true;
	if (kind == STAGE_SINK && chain->is_drained &&
	    happen(chain, kind, CHAIN_EVENT_DRAIN))
		return true;
	return happen(chain, kind, CHAIN_EVENT_STOP);
}

/* Says whether a source has still time to give away what it has, and so needs a
 * WAL. */
static bool
needs_wal(const struct chain *chain)
{
	return chain_runs(chain, STAGE_SOURCE) &&
	       chain->now_ns < chain->stop_ns;
}

static bool
settle_stop(struct chain *chain)
{
	for (int i = 0; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;

		if (settle_stop_of(chain, kind))
			return true;
		/* Each waits for the one before it. */
		if (state_of(chain, kind) != CHAIN_ENDED)
			return needs_wal(chain) &&
			       happen(chain, STAGE_WAL, CHAIN_EVENT_START);
	}
	chain->goal = CHAIN_OVER;
	return true;
}

/* Does what the goal asks for, until there is nothing to do for now. */
static void
settle(struct chain *chain)
{
	bool has_changed = true;

	while (has_changed) {
		switch (chain->goal) {
		case CHAIN_RUN:
			has_changed = settle_run(chain);
			break;
		case CHAIN_FINISH:
			has_changed = settle_finish(chain);
			break;
		case CHAIN_STOP:
			has_changed = settle_stop(chain);
			break;
		default:
			has_changed = false;
			break;
		}
	}
}

void
chain_init(struct chain *chain, const struct chain_rules *rules, int64_t now_ns)
{
	*chain = (struct chain){.rules = *rules, .now_ns = now_ns};
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		chain->stage[kind] = (struct chain_stage){
		    .since_ns = now_ns,
		    .deadline_ns = LOOP_NEVER,
		};
	if (!rules->has_command)
		chain->stage[STAGE_COMMAND].state = CHAIN_ENDED;
}

bool
chain_next(struct chain *chain, struct chain_task *task)
{
	if (chain->task_count == 0)
		return false;
	*task = chain->tasks[0];
	chain->task_count--;
	memmove(chain->tasks, chain->tasks + 1,
	    chain->task_count * sizeof(chain->tasks[0]));
	return true;
}

void
chain_turn(struct chain *chain, int64_t now_ns)
{
	chain->now_ns = now_ns;
	for (int i = 0; i < STAGE_KINDS; i++)
		if (now_ns >= chain->stage[i].deadline_ns)
			(void)happen(
			    chain, (enum stage_kind)i, CHAIN_EVENT_LATE);
	settle(chain);
}

int64_t
chain_deadline_ns(const struct chain *chain)
{
	int64_t first_ns = LOOP_NEVER;

	for (int kind = 0; kind < STAGE_KINDS; kind++)
		if (chain->stage[kind].deadline_ns < first_ns)
			first_ns = chain->stage[kind].deadline_ns;
	return first_ns;
}

void
chain_ready(struct chain *chain, enum stage_kind kind, int64_t now_ns)
{
	chain->now_ns = now_ns;
	(void)happen(chain, kind, CHAIN_EVENT_READY);
	settle(chain);
}

/* Says what the end of what makes the events means: whether another run
 * follows. */
static enum chain_event
judge_end_of_stream(const struct chain *chain, enum chain_end end)
{
	switch (chain->rules.restart) {
	case CONFIG_NEVER:
		return CHAIN_EVENT_END;
	case CONFIG_ON_FAILURE:
		return end == CHAIN_END_GOOD ? CHAIN_EVENT_END
					     : CHAIN_EVENT_FAIL;
	default:
		return CHAIN_EVENT_FAIL;
	}
}

/* Says what the end of a source means. */
static enum chain_event
judge_source(struct chain *chain, enum chain_end end)
{
	if (chain->pipe == CHAIN_PIPE_NONE)
		return judge_end_of_stream(chain, end);
	/* Else there is something left for another. */
	if (end != CHAIN_END_DRY)
		return CHAIN_EVENT_FAIL;
	chain->pipe = CHAIN_PIPE_NONE;
	return state_of(chain, STAGE_COMMAND) == CHAIN_ENDED
		   ? CHAIN_EVENT_END
		   : CHAIN_EVENT_AGAIN;
}

/* Says what the end of a stage means, by what it was to do. */
static enum chain_event
judge(struct chain *chain, enum stage_kind kind, enum chain_end end)
{
	const struct chain_stage *stage = &chain->stage[kind];

	if (kind == STAGE_WAL && stage->state == CHAIN_DRAINING)
		chain->is_drained = end == CHAIN_END_GOOD;
	if (end == CHAIN_END_FINAL || end == CHAIN_END_BURIED) {
		chain->has_failed = true;
		return CHAIN_EVENT_END;
	}
	if (chain->goal == CHAIN_STOP)
		return kind == STAGE_WAL && needs_wal(chain) ? CHAIN_EVENT_FAIL
							     : CHAIN_EVENT_END;
	if (stage->is_again)
		return CHAIN_EVENT_AGAIN;
	if (end == CHAIN_END_UNBORN)
		return CHAIN_EVENT_FAIL;
	switch (kind) {
	case STAGE_COMMAND:
		if (!chain->rules.has_command)
			return CHAIN_EVENT_END;
		return judge_end_of_stream(chain, end);
	case STAGE_SOURCE:
		return judge_source(chain, end);
	case STAGE_WAL:
		return stage->state == CHAIN_DRAINING && end == CHAIN_END_GOOD
			   ? CHAIN_EVENT_END
			   : CHAIN_EVENT_FAIL;
	default:
		return state_of(chain, STAGE_WAL) == CHAIN_ENDED
			   ? CHAIN_EVENT_END
			   : CHAIN_EVENT_FAIL;
	}
}

void
chain_ended(struct chain *chain, enum stage_kind kind, enum chain_end end,
    int64_t now_ns)
{
	bool is_unborn = end == CHAIN_END_UNBORN || end == CHAIN_END_BURIED;
	enum chain_event event;

	chain->now_ns = now_ns;
	/* A command that never ran has not used its pipe. */
	if (kind == STAGE_COMMAND && is_unborn)
		chain->pipe = CHAIN_PIPE_FRESH;
	event = judge(chain, kind, end);
	/* What it has read of a pipe is not read again: the next run has
	 * another. */
	if (kind == STAGE_SOURCE && event == CHAIN_EVENT_AGAIN)
		chain->pipe = CHAIN_PIPE_NONE;
	(void)happen(chain, kind, event);
	settle(chain);
}

void
chain_stop(struct chain *chain, int64_t now_ns)
{
	chain->now_ns = now_ns;
	if (chain->goal >= CHAIN_STOP)
		return;
	chain->goal = CHAIN_STOP;
	chain->stop_ns = now_ns + chain->rules.shutdown_timeout_ns;
	for (int i = 0; i < STAGE_KINDS; i++) {
		struct chain_stage *stage = &chain->stage[i];

		stage->is_again = false;
		/* It may drain on, for as long as there is time. */
		if (stage->state == CHAIN_DRAINING)
			stage->deadline_ns =
			    deadline_of(chain, (enum stage_kind)i);
	}
	settle(chain);
}

void
chain_kill(struct chain *chain, int64_t now_ns)
{
	chain_stop(chain, now_ns);
	chain->stop_ns = now_ns;
	for (int i = 0; i < STAGE_KINDS; i++)
		(void)happen(chain, (enum stage_kind)i, CHAIN_EVENT_KILL);
	settle(chain);
}

/* Ends a stage that runs, so that it starts anew; one that waits to start does
 * so now. */
static void
renew(struct chain *chain, enum stage_kind kind)
{
	struct chain_stage *stage = &chain->stage[kind];

	stage->delay_ms = 0;
	if (stage->state == CHAIN_WAITING) {
		(void)happen(chain, kind, CHAIN_EVENT_AGAIN);
		return;
	}
	if (!chain_runs(chain, kind))
		return;
	stage->is_again = true;
	/* One that reads a command's output is left to read its end: as soon
	 * as it is ready, and however often this is called. */
	if (kind == STAGE_SOURCE && chain->pipe == CHAIN_PIPE_USED)
		(void)drain_source(chain);
	else
		(void)happen(chain, kind, CHAIN_EVENT_STOP);
}

/* Puts a stage that does not run into another state in which it does not. */
static void
rest(struct chain *chain, enum stage_kind kind, enum chain_state state)
{
	chain->stage[kind].state = state;
	chain->stage[kind].since_ns = chain->now_ns;
	chain->stage[kind].deadline_ns = LOOP_NEVER;
}

void
chain_renew(struct chain *chain, enum stage_kind kind,
    const struct chain_rules *rules, int64_t now_ns)
{
	bool had_command = chain->rules.has_command;
	struct chain_stage *command = &chain->stage[STAGE_COMMAND];

	if (chain->goal != CHAIN_RUN &&
	    (chain->goal != CHAIN_FINISH || kind <= STAGE_SOURCE))
		return;
	chain->now_ns = now_ns;
	if (kind > STAGE_SOURCE) {
		renew(chain, kind);
		return;
	}
	chain->rules = *rules;
	if (had_command)
		renew(chain, STAGE_COMMAND);
	if (!rules->has_command) {
		/* Where it runs, its end is its end. */
		command->is_again = false;
		if (!chain_runs(chain, STAGE_COMMAND))
			rest(chain, STAGE_COMMAND, CHAIN_ENDED);
	} else if (command->state == CHAIN_ENDED) {
		rest(chain, STAGE_COMMAND, CHAIN_IDLE);
	} else if (!had_command) {
		command->is_again = chain_runs(chain, STAGE_COMMAND);
	}
	renew(chain, STAGE_SOURCE);
	/* Nobody is there, nor will be, to read what a command has left. */
	if (!rules->has_command && !chain_runs(chain, STAGE_SOURCE))
		chain->pipe = CHAIN_PIPE_NONE;
}
