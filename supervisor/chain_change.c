#include "stage/loop.h"
#include "supervisor/chain_parts.h"

#include <assert.h>
#include <string.h>

/* Puts a stage that does not run into another state in which it does not. */
static void
rest(struct chain *chain, size_t at, enum chain_state state)
{
	chain->stage[at].state = state;
	chain->stage[at].since_ns = chain->now_ns;
	chain->stage[at].deadline_ns = LOOP_NEVER;
}

/* Ends a stage that runs, so that it starts anew; one that waits to start does
 * so now. */
static void
renew(struct chain *chain, size_t at)
{
	struct chain_stage *stage = &chain->stage[at];
	size_t index = chain_index(chain, at);

	stage->delay_ms = 0;
	if (stage->state == CHAIN_WAITING) {
		(void)chain_happen(chain, at, CHAIN_EVENT_AGAIN);
		return;
	}
	if (!chain_runs(chain, at))
		return;
	stage->is_again = true;
	/* One that reads a command's output is left to read its end: as soon
	 * as it is ready, and however often this is called. */
	if (chain_kind(chain, at) == STAGE_SOURCE &&
	    chain->source[index].pipe == CHAIN_PIPE_USED)
		(void)chain_drain_source(chain, index);
	else
		(void)chain_happen(chain, at, CHAIN_EVENT_STOP);
}

void
chain_rest_source(struct chain *chain, size_t at, int64_t now_ns)
{
	chain->now_ns = now_ns;
	rest(chain, at - 1, CHAIN_ENDED);
	rest(chain, at, CHAIN_ENDED);
}

/* Ends the command of a source, for another or for none. */
static void
renew_command(struct chain *chain, size_t at, const struct chain_rules *rules)
{
	struct chain_stage *command = &chain->stage[at];
	struct chain_source *source = &chain->source[chain_index(chain, at)];
	bool had_command = source->rules.has_command;

	command->is_removed = false;
	source->rules = *rules;
	if (had_command)
		renew(chain, at);
	if (!rules->has_command) {
		/* Where it runs, its end is its end. */
		command->is_again = false;
		if (!chain_runs(chain, at))
			rest(chain, at, CHAIN_ENDED);
	} else if (command->state == CHAIN_ENDED) {
		rest(chain, at, CHAIN_IDLE);
	} else if (!had_command) {
		command->is_again = chain_runs(chain, at);
	}
}

static void
renew_source(struct chain *chain, size_t at, const struct chain_rules *rules)
{
	struct chain_source *source = &chain->source[chain_index(chain, at)];

	renew_command(chain, at - 1, rules);
	chain->stage[at].is_removed = false;
	if (chain->stage[at].state == CHAIN_ENDED) {
		source->pipe = CHAIN_PIPE_NONE;
		rest(chain, at, CHAIN_IDLE);
	}
	renew(chain, at);
	/* Nobody is there, nor will be, to read what a command has left. */
	if (!rules->has_command && !chain_runs(chain, at))
		source->pipe = CHAIN_PIPE_NONE;
}

void
chain_renew(struct chain *chain, size_t at, const struct chain_rules *rules,
    int64_t now_ns)
{
	enum stage_kind kind = chain_kind(chain, at);
	struct chain_stage *stage = &chain->stage[at];

	if (chain->goal != CHAIN_RUN &&
	    (chain->goal != CHAIN_FINISH || kind <= STAGE_SOURCE))
		return;
	chain->now_ns = now_ns;
	if (kind <= STAGE_SOURCE) {
		renew_source(chain, kind == STAGE_COMMAND ? at + 1 : at, rules);
		return;
	}
	if (stage->is_removed && stage->state == CHAIN_ENDED)
		rest(chain, at, CHAIN_IDLE);
	stage->is_removed = false;
	renew(chain, at);
}

/* Makes room for `count` stages at `at`, which wait to be started. */
static void
open_gap(struct chain *chain, size_t at, size_t count, int64_t now_ns)
{
	size_t behind = chain_stages(chain) - at;

	assert(chain->task_count == 0);
	chain->now_ns = now_ns;
	memmove(&chain->stage[at + count], &chain->stage[at],
	    behind * sizeof(chain->stage[0]));
	for (size_t i = at; i < at + count; i++) {
		chain->stage[i] = (struct chain_stage){0};
		rest(chain, i,
		    chain->goal == CHAIN_OVER ? CHAIN_ENDED : CHAIN_IDLE);
	}
}

void
chain_add_source(
    struct chain *chain, const struct chain_rules *rules, int64_t now_ns)
{
	size_t at = chain_at(chain, STAGE_WAL, 0);

	assert(chain->source_count < CHAIN_MAX_OF_KIND);
	open_gap(chain, at, 2, now_ns);
	chain->source[chain->source_count++] =
	    (struct chain_source){.rules = *rules};
	if (!rules->has_command)
		rest(chain, at, CHAIN_ENDED);
}

void
chain_add_sink(struct chain *chain, int64_t now_ns)
{
	assert(chain->sink_count < CHAIN_MAX_OF_KIND);
	open_gap(chain, chain_stages(chain), 1, now_ns);
	chain->sink_count++;
}

/* Ends a stage for good. */
static void
remove_one(struct chain *chain, size_t at)
{
	struct chain_stage *stage = &chain->stage[at];
	bool has_input =
	    chain_kind(chain, at) == STAGE_SOURCE &&
	    chain->source[chain_index(chain, at)].pipe == CHAIN_PIPE_USED;

	stage->is_again = false;
	stage->is_removed = true;
	/* It reads what its command has left, for as long as there is time. */
	if (stage->state != CHAIN_DRAINING) {
		if (!has_input || !chain_happen(chain, at, CHAIN_EVENT_DRAIN))
			(void)chain_happen(chain, at, CHAIN_EVENT_STOP);
	} else if (stage->deadline_ns == LOOP_NEVER) {
		stage->deadline_ns = chain_until(chain, at);
	}
}

void
chain_remove(struct chain *chain, size_t at, int64_t now_ns)
{
	enum stage_kind kind = chain_kind(chain, at);

	assert(kind != STAGE_WAL);
	chain->now_ns = now_ns;
	if (kind == STAGE_SOURCE)
		remove_one(chain, at - 1);
	remove_one(chain, at);
	if (kind == STAGE_COMMAND)
		remove_one(chain, at + 1);
}

/* Says whether a stage was removed and has ended. */
static bool
is_gone(const struct chain *chain, size_t at)
{
	return chain->stage[at].is_removed &&
	       chain_state_of(chain, at) == CHAIN_ENDED;
}

bool
chain_is_gone(const struct chain *chain, size_t at)
{
	switch (chain_kind(chain, at)) {
	case STAGE_COMMAND:
		return is_gone(chain, at) && is_gone(chain, at + 1);
	case STAGE_SOURCE:
		return is_gone(chain, at) && is_gone(chain, at - 1);
	default:
		return is_gone(chain, at);
	}
}

void
chain_drop(struct chain *chain, size_t at)
{
	size_t count = 1, index = chain_index(chain, at);
	enum stage_kind kind = chain_kind(chain, at);

	assert(chain->task_count == 0 && chain_is_gone(chain, at));
	if (kind <= STAGE_SOURCE) {
		at = chain_at(chain, STAGE_COMMAND, index);
		count = 2;
	}
	memmove(&chain->stage[at], &chain->stage[at + count],
	    (chain_stages(chain) - at - count) * sizeof(chain->stage[0]));
	if (kind == STAGE_SINK) {
		chain->sink_count--;
		return;
	}
	chain->source_count--;
	memmove(&chain->source[index], &chain->source[index + 1],
	    (chain->source_count - index) * sizeof(chain->source[0]));
}
