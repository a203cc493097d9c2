#include "supervisor/chain_parts.h"

/* Says what the end of what makes the events means: whether another run
 * follows. */
static enum chain_event
judge_end_of_stream(const struct chain_source *source, enum chain_end end)
{
	switch (source->rules.restart) {
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
judge_source(struct chain *chain, size_t at, enum chain_end end)
{
	struct chain_source *source = &chain->source[chain_index(chain, at)];

	if (source->pipe == CHAIN_PIPE_NONE)
		return judge_end_of_stream(source, end);
	/* Else there is something left for another. */
	if (end != CHAIN_END_DRY)
		return CHAIN_EVENT_FAIL;
	source->pipe = CHAIN_PIPE_NONE;
	return chain_state_of(chain, at - 1) == CHAIN_ENDED ? CHAIN_EVENT_END
							    : CHAIN_EVENT_AGAIN;
}

/* Says what the end of a stage means that was not told to end. */
static enum chain_event
judge_by_kind(struct chain *chain, size_t at, enum chain_end end)
{
	size_t wal = chain_at(chain, STAGE_WAL, 0);
	const struct chain_source *source;

	switch (chain_kind(chain, at)) {
	case STAGE_COMMAND:
		source = &chain->source[chain_index(chain, at)];
		if (!source->rules.has_command)
			return CHAIN_EVENT_END;
		return judge_end_of_stream(source, end);
	case STAGE_SOURCE:
		return judge_source(chain, at, end);
	case STAGE_WAL:
		return chain_state_of(chain, wal) == CHAIN_DRAINING &&
			       end == CHAIN_END_GOOD
			   ? CHAIN_EVENT_END
			   : CHAIN_EVENT_FAIL;
	default:
		return chain_state_of(chain, wal) == CHAIN_ENDED
			   ? CHAIN_EVENT_END
			   : CHAIN_EVENT_FAIL;
	}
}

/* Says what the end of a stage means, by what it was to do. */
static enum chain_event
judge(struct chain *chain, size_t at, enum chain_end end)
{
	const struct chain_stage *stage = &chain->stage[at];
	bool is_wal = chain_kind(chain, at) == STAGE_WAL;

	if (is_wal && stage->state == CHAIN_DRAINING)
		chain->is_drained = end == CHAIN_END_GOOD;
	/* Whatever it came to: nobody wants it any more. */
	if (stage->is_removed)
		return CHAIN_EVENT_END;
	if (end == CHAIN_END_FINAL || end == CHAIN_END_BURIED) {
		chain->has_failed = true;
		return CHAIN_EVENT_END;
	}
	if (chain->goal == CHAIN_STOP)
		return is_wal && chain_needs_wal(chain) ? CHAIN_EVENT_FAIL
							: CHAIN_EVENT_END;
	if (stage->is_again)
		return CHAIN_EVENT_AGAIN;
	if (end == CHAIN_END_UNBORN)
		return CHAIN_EVENT_FAIL;
	return judge_by_kind(chain, at, end);
}

/* Returns what becomes of the pipe of a source whose stage at `at` has ended.
 */
static enum chain_pipe
pipe_after(const struct chain *chain, size_t at, enum chain_event event,
    bool is_unborn)
{
	enum stage_kind kind = chain_kind(chain, at);

	/* A command that never ran has not used it. */
	if (kind == STAGE_COMMAND && is_unborn)
		return CHAIN_PIPE_FRESH;
	/* What was read of it is not read again: the next run of the source
	 * has another. */
	if (kind == STAGE_SOURCE &&
	    (event == CHAIN_EVENT_AGAIN || chain->stage[at].is_removed))
		return CHAIN_PIPE_NONE;
	return chain->source[chain_index(chain, at)].pipe;
}

void
chain_ended(struct chain *chain, size_t at, enum chain_end end, int64_t now_ns)
{
	bool is_unborn = end == CHAIN_END_UNBORN || end == CHAIN_END_BURIED;
	enum chain_event event;

	chain->now_ns = now_ns;
	event = judge(chain, at, end);
	if (chain_kind(chain, at) <= STAGE_SOURCE)
		chain->source[chain_index(chain, at)].pipe =
		    pipe_after(chain, at, event, is_unborn);
	(void)chain_happen(chain, at, event);
	chain_settle(chain);
}
