#include "t/chain_world.h"

#include <string.h>

static const char *const kind_names[] = {
    [STAGE_COMMAND] = "command",
    [STAGE_SOURCE] = "source",
    [STAGE_WAL] = "wal",
    [STAGE_SINK] = "sink",
};

static const char *const action_names[] = {
    [CHAIN_SPAWN] = "spawn",
    [CHAIN_DRAIN] = "drain",
    [CHAIN_TERM] = "term",
    [CHAIN_KILL] = "kill",
};

void
chain_world_gather(struct chain_world *w)
{
	struct chain_task task;

	while (chain_next(&w->chain, &task)) {
		if (w->done[0] != '\0')
			strcat(w->done, ", ");
		strcat(w->done, action_names[task.action]);
		strcat(w->done, " ");
		strcat(w->done, kind_names[task.kind]);
	}
}

void
chain_world_start(
    struct chain_world *w, bool has_command, enum config_restart restart)
{
	struct chain_rules rules = {has_command, restart, TIMEOUT};

	*w = (struct chain_world){.now_ns = 1000 * SECOND};
	chain_init(&w->chain, &rules, w->now_ns);
	chain_turn(&w->chain, w->now_ns);
}

void
chain_world_ready(struct chain_world *w, enum stage_kind kind)
{
	chain_ready(&w->chain, kind, w->now_ns);
}

void
chain_world_ended(
    struct chain_world *w, enum stage_kind kind, enum chain_end end)
{
	chain_ended(&w->chain, kind, end, w->now_ns);
}

void
chain_world_pass(struct chain_world *w, int64_t ns)
{
	w->now_ns += ns;
	chain_turn(&w->chain, w->now_ns);
}

void
chain_world_run(
    struct chain_world *w, bool has_command, enum config_restart restart)
{
	chain_world_start(w, has_command, restart);
	chain_world_ready(w, STAGE_SINK);
	chain_world_ready(w, STAGE_WAL);
	chain_world_ready(w, STAGE_SOURCE);
	chain_world_gather(w);
	w->done[0] = '\0';
}
