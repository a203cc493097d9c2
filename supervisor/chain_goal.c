#include "supervisor/chain_parts.h"

static size_t
wal_of(const struct chain *chain)
{
	return chain_at(chain, STAGE_WAL, 0);
}

/* Says whether all stages of a kind are ended. */
static bool
have_ended(const struct chain *chain, enum stage_kind kind)
{
	for (size_t i = 0; i < chain_count(chain, kind); i++)
		if (chain_state_of(chain, chain_at(chain, kind, i)) !=
		    CHAIN_ENDED)
			return false;
	return true;
}

/* Says whether a sink runs that is to work. */
static bool
has_running_sink(const struct chain *chain)
{
	for (size_t i = 0; i < chain->sink_count; i++) {
		size_t at = chain_at(chain, STAGE_SINK, i);

		if (chain_runs(chain, at) && !chain->stage[at].is_removed)
			return true;
	}
	return false;
}

/* Says whether one more of a kind may run beside those that do; what runs of a
 * source and its command counts as one. One that was removed has its place
 * until it is dropped: the WAL may still have something of it to read. */
static bool
has_room(const struct chain *chain, enum stage_kind kind)
{
	size_t running = 0;

	if (chain_count(chain, kind) <= CHAIN_MAX_RUNNING)
		return true;
	for (size_t i = 0; i < chain_count(chain, kind); i++) {
		size_t at = chain_at(chain, kind, i);

		if (chain->stage[at].is_removed || chain_runs(chain, at) ||
		    (kind == STAGE_SOURCE && chain_runs(chain, at - 1)))
			running++;
	}
	return running < CHAIN_MAX_RUNNING;
}

/* Starts a source if it may. */
static bool
start_source(struct chain *chain, size_t index)
{
	struct chain_source *source = &chain->source[index];
	size_t at = chain_at(chain, STAGE_SOURCE, index);
	bool is_dry =
	    source->rules.has_command && source->pipe == CHAIN_PIPE_NONE;

	if (chain_state_of(chain, wal_of(chain)) != CHAIN_READY)
		return false;
	/* Before its command it would only wait, unless it is to read what an
	 * earlier one has left. */
	if (is_dry && chain_state_of(chain, at - 1) != CHAIN_IDLE)
		return false;
	/* Where its command runs, it has its place. */
	if (!chain_runs(chain, at - 1) && !has_room(chain, STAGE_SOURCE))
		return false;
	if (!chain_happen(chain, at, CHAIN_EVENT_START))
		return false;
	if (is_dry)
		source->pipe = CHAIN_PIPE_FRESH;
	return true;
}

static bool
start_command(struct chain *chain, size_t index)
{
	struct chain_source *source = &chain->source[index];
	size_t at = chain_at(chain, STAGE_COMMAND, index);

	if (chain_state_of(chain, at + 1) != CHAIN_READY ||
	    source->pipe != CHAIN_PIPE_FRESH ||
	    !chain_happen(chain, at, CHAIN_EVENT_START))
		return false;
	source->pipe = CHAIN_PIPE_USED;
	/* Nobody asks it to be so: a command is what the user made it. */
	(void)chain_happen(chain, at, CHAIN_EVENT_READY);
	return true;
}

bool
chain_drain_source(struct chain *chain, size_t index)
{
	size_t at = chain_at(chain, STAGE_SOURCE, index);

	return chain_state_of(chain, at) == CHAIN_READY &&
	       chain->stage[at].is_again &&
	       chain_happen(chain, at, CHAIN_EVENT_DRAIN);
}

/* Ends a source that has read all that its command wrote, once it is clear that
 * there will be no other. */
static bool
end_source(struct chain *chain, size_t index)
{
	struct chain_source *source = &chain->source[index];
	size_t at = chain_at(chain, STAGE_SOURCE, index);

	return source->rules.has_command && source->pipe == CHAIN_PIPE_NONE &&
	       chain_state_of(chain, at - 1) == CHAIN_ENDED &&
	       chain_state_of(chain, at) == CHAIN_IDLE &&
	       chain_happen(chain, at, CHAIN_EVENT_STOP);
}

/* Starts the WAL, and each sink, if they may. */
static bool
start_rest(struct chain *chain)
{
	if (chain_happen(chain, wal_of(chain), CHAIN_EVENT_START))
		return true;
	for (size_t i = 0; i < chain->sink_count; i++)
		if (has_room(chain, STAGE_SINK) &&
		    chain_happen(chain, chain_at(chain, STAGE_SINK, i),
			CHAIN_EVENT_START))
			return true;
	return false;
}

static bool
settle_run(struct chain *chain)
{
	if (have_ended(chain, STAGE_SOURCE)) {
		chain->goal = CHAIN_FINISH;
		return true;
	}
	if (start_rest(chain))
		return true;
	for (size_t i = 0; i < chain->source_count; i++)
		if (start_source(chain, i) || start_command(chain, i) ||
		    chain_drain_source(chain, i) || end_source(chain, i))
			return true;
	return false;
}

/* Ends a sink for which nothing will come any more. */
static bool
finish_sink(struct chain *chain, size_t at)
{
	/* All was confirmed: one that does not run is not needed any more. */
	return chain_happen(chain, at,
	    chain_runs(chain, at) ? CHAIN_EVENT_DRAIN : CHAIN_EVENT_STOP);
}

/* Says whether a command runs on without its source, from which it was taken;
 * it was told to end. */
static bool
has_left_command(const struct chain *chain)
{
	for (size_t i = 0; i < chain->source_count; i++)
		if (chain_runs(chain, chain_at(chain, STAGE_COMMAND, i)))
			return true;
	return false;
}

static bool
settle_finish(struct chain *chain)
{
	size_t wal = wal_of(chain);

	if (chain_state_of(chain, wal) != CHAIN_ENDED)
		return start_rest(chain) ||
		       chain_happen(chain, wal, CHAIN_EVENT_DRAIN);
	for (size_t i = 0; i < chain->sink_count; i++)
		if (finish_sink(chain, chain_at(chain, STAGE_SINK, i)))
			return true;
	if (!have_ended(chain, STAGE_SINK) || has_left_command(chain))
		return false;
	chain->goal = CHAIN_OVER;
	return true;
}

/* Goes on with the end of one stage, whose turn it is. Returns whether that
 * changed anything. */
static bool
stop_one(struct chain *chain, size_t at)
{
	enum stage_kind kind = chain_kind(chain, at);
	bool has_sink = has_running_sink(chain);

	switch (chain_state_of(chain, at)) {
	case CHAIN_ENDING:
	case CHAIN_KILLED:
	case CHAIN_ENDED:
		return false;
	case CHAIN_DRAINING:
		/* There is nobody left to drain to. */
		return kind == STAGE_WAL && !has_sink &&
		       chain_happen(chain, at, CHAIN_EVENT_STOP);
	default:
		break;
	}
	/* Its input has ended: it ends when all of that is stored. */
	if (kind == STAGE_SOURCE &&
	    chain->source[chain_index(chain, at)].pipe == CHAIN_PIPE_USED &&
	    chain_happen(chain, at, CHAIN_EVENT_DRAIN))
		return true;
	if (kind == STAGE_WAL && has_sink &&
	    chain_happen(chain, at, CHAIN_EVENT_DRAIN))
		return true;
	if (kind == STAGE_SINK && chain->is_drained &&
	    chain_happen(chain, at, CHAIN_EVENT_DRAIN))
		return true;
	return chain_happen(chain, at, CHAIN_EVENT_STOP);
}

/* Goes on with the end of a source, which comes behind that of its command. */
static bool
stop_source(struct chain *chain, size_t index)
{
	size_t at = chain_at(chain, STAGE_SOURCE, index);

	return stop_one(chain, at - 1) ||
	       (chain_state_of(chain, at - 1) == CHAIN_ENDED &&
		   stop_one(chain, at));
}

bool
chain_needs_wal(const struct chain *chain)
{
	if (chain->now_ns >= chain->stop_ns)
		return false;
	for (size_t i = 0; i < chain->source_count; i++)
		if (chain_runs(chain, chain_at(chain, STAGE_SOURCE, i)))
			return true;
	return false;
}

static bool
settle_stop(struct chain *chain)
{
	size_t wal = wal_of(chain);

	for (size_t i = 0; i < chain->source_count; i++)
		if (stop_source(chain, i))
			return true;
	/* Each kind waits for the one before it. */
	if (!have_ended(chain, STAGE_COMMAND) ||
	    !have_ended(chain, STAGE_SOURCE))
		return chain_needs_wal(chain) &&
		       chain_happen(chain, wal, CHAIN_EVENT_START);
	if (stop_one(chain, wal))
		return true;
	if (chain_state_of(chain, wal) != CHAIN_ENDED)
		return false;
	for (size_t i = 0; i < chain->sink_count; i++)
		if (stop_one(chain, chain_at(chain, STAGE_SINK, i)))
			return true;
	if (!have_ended(chain, STAGE_SINK))
		return false;
	chain->goal = CHAIN_OVER;
	return true;
}

void
chain_settle(struct chain *chain)
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
