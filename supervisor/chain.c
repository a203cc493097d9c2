#include "supervisor/chain.h"

#include "stage/loop.h"
#include "supervisor/chain_parts.h"

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

size_t
chain_stages(const struct chain *chain)
{
	return 2 * chain->source_count + 1 + chain->sink_count;
}

size_t
chain_count(const struct chain *chain, enum stage_kind kind)
{
	switch (kind) {
	case STAGE_COMMAND:
	case STAGE_SOURCE:
		return chain->source_count;
	case STAGE_WAL:
		return 1;
	default:
		return chain->sink_count;
	}
}

size_t
chain_at(const struct chain *chain, enum stage_kind kind, size_t index)
{
	size_t wal = 2 * chain->source_count;

	switch (kind) {
	case STAGE_COMMAND:
		return 2 * index;
	case STAGE_SOURCE:
		return 2 * index + 1;
	case STAGE_WAL:
		return wal;
	default:
		return wal + 1 + index;
	}
}

enum stage_kind
chain_kind(const struct chain *chain, size_t at)
{
	size_t wal = 2 * chain->source_count;

	if (at < wal)
		return at % 2 == 0 ? STAGE_COMMAND : STAGE_SOURCE;
	return at == wal ? STAGE_WAL : STAGE_SINK;
}

size_t
chain_index(const struct chain *chain, size_t at)
{
	size_t wal = 2 * chain->source_count;

	if (at < wal)
		return at / 2;
	return at == wal ? 0 : at - wal - 1;
}

enum chain_state
chain_state_of(const struct chain *chain, size_t at)
{
	return chain->stage[at].state;
}

bool
chain_runs(const struct chain *chain, size_t at)
{
	switch (chain_state_of(chain, at)) {
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

int64_t
chain_until(struct chain *chain, size_t at)
{
	struct chain_stage *stage = &chain->stage[at];
	enum stage_kind kind = chain_kind(chain, at);
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
		return stage->is_again || stage->is_removed
			   ? now + chain->shutdown_timeout_ns
			   : LOOP_NEVER;
	case CHAIN_ENDING:
		if (!is_stop)
			return now + chain->shutdown_timeout_ns;
		/* The first in the stream have all the time there is. */
		return kind <= STAGE_SOURCE && now < chain->stop_ns
			   ? chain->stop_ns
			   : now + ENDING_NS;
	default:
		return LOOP_NEVER;
	}
}

bool
chain_happen(struct chain *chain, size_t at, enum chain_event event)
{
	struct chain_stage *stage = &chain->stage[at];
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
	stage->deadline_ns = chain_until(chain, at);
	if (rule->action != CHAIN_NOTHING) {
		assert(chain->task_count < CHAIN_MAX_TASKS);
		chain->tasks[chain->task_count++] =
		    (struct chain_task){at, rule->action};
	}
	return true;
}

void
chain_init(struct chain *chain, int64_t shutdown_timeout_ns, int64_t now_ns)
{
	*chain = (struct chain){
	    .shutdown_timeout_ns = shutdown_timeout_ns,
	    .now_ns = now_ns,
	};
	chain->stage[0] = (struct chain_stage){
	    .since_ns = now_ns,
	    .deadline_ns = LOOP_NEVER,
	};
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
	for (size_t at = 0; at < chain_stages(chain); at++)
		if (now_ns >= chain->stage[at].deadline_ns)
			(void)chain_happen(chain, at, CHAIN_EVENT_LATE);
	chain_settle(chain);
}

int64_t
chain_deadline_ns(const struct chain *chain)
{
	int64_t first_ns = LOOP_NEVER;

	for (size_t at = 0; at < chain_stages(chain); at++)
		if (chain->stage[at].deadline_ns < first_ns)
			first_ns = chain->stage[at].deadline_ns;
	return first_ns;
}

void
chain_ready(struct chain *chain, size_t at, int64_t now_ns)
{
	chain->now_ns = now_ns;
	(void)chain_happen(chain, at, CHAIN_EVENT_READY);
	chain_settle(chain);
}

void
chain_stop(struct chain *chain, int64_t now_ns)
{
	chain->now_ns = now_ns;
	if (chain->goal >= CHAIN_STOP)
		return;
	chain->goal = CHAIN_STOP;
	chain->stop_ns = now_ns + chain->shutdown_timeout_ns;
	for (size_t at = 0; at < chain_stages(chain); at++) {
		struct chain_stage *stage = &chain->stage[at];

		stage->is_again = false;
		/* It may drain on, for as long as there is time. */
		if (stage->state == CHAIN_DRAINING)
			stage->deadline_ns = chain_until(chain, at);
	}
	chain_settle(chain);
}

void
chain_kill(struct chain *chain, int64_t now_ns)
{
	chain_stop(chain, now_ns);
	chain->stop_ns = now_ns;
	for (size_t at = 0; at < chain_stages(chain); at++)
		(void)chain_happen(chain, at, CHAIN_EVENT_KILL);
	chain_settle(chain);
}
