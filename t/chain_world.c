#include "t/chain_world.h"

#include <stdio.h>
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

/* Adds the name of a stage to what was asked for: "sink", or "sink1" where
 * there are several. */
static void
put_name(struct chain_world *w, size_t at)
{
	enum stage_kind kind = chain_kind(&w->chain, at);
	size_t end = strlen(w->done);

	if (chain_count(&w->chain, kind) == 1)
		(void)snprintf(w->done + end, sizeof(w->done) - end, "%s",
		    kind_names[kind]);
	else
		(void)snprintf(w->done + end, sizeof(w->done) - end, "%s%zu",
		    kind_names[kind], chain_index(&w->chain, at));
}

void
chain_world_gather(struct chain_world *w)
{
	struct chain_task task;

	while (chain_next(&w->chain, &task)) {
		if (w->done[0] != '\0')
			strcat(w->done, ", ");
		strcat(w->done, action_names[task.action]);
		strcat(w->done, " ");
		put_name(w, task.at);
	}
}

void
chain_world_open(struct chain_world *w, size_t sources, size_t sinks,
    const struct chain_rules *rules)
{
	*w = (struct chain_world){.now_ns = 1000 * SECOND};
	chain_init(&w->chain, TIMEOUT, w->now_ns);
	for (size_t i = 0; i < sources; i++)
		chain_add_source(&w->chain, rules, w->now_ns);
	for (size_t i = 0; i < sinks; i++)
		chain_add_sink(&w->chain, w->now_ns);
}

void
chain_world_start(
    struct chain_world *w, bool has_command, enum config_restart restart)
{
	struct chain_rules rules = {has_command, restart};

	chain_world_open(w, 1, 1, &rules);
	chain_turn(&w->chain, w->now_ns);
}

void
chain_world_ready(struct chain_world *w, size_t at)
{
	chain_ready(&w->chain, at, w->now_ns);
}

void
chain_world_ended(struct chain_world *w, size_t at, enum chain_end end)
{
	chain_ended(&w->chain, at, end, w->now_ns);
}

void
chain_world_pass(struct chain_world *w, int64_t ns)
{
	w->now_ns += ns;
	chain_turn(&w->chain, w->now_ns);
}

/* Brings all to work of one that has been started. */
static void
bring_up(struct chain_world *w)
{
	for (size_t at = chain_stages(&w->chain); at-- > 0;)
		if (chain_kind(&w->chain, at) >= STAGE_WAL)
			chain_world_ready(w, at);
	for (size_t at = 0; at < chain_stages(&w->chain); at++)
		if (chain_kind(&w->chain, at) == STAGE_SOURCE)
			chain_world_ready(w, at);
	chain_world_gather(w);
	w->done[0] = '\0';
}

void
chain_world_run(
    struct chain_world *w, bool has_command, enum config_restart restart)
{
	chain_world_start(w, has_command, restart);
	bring_up(w);
}

void
chain_world_run_fan(struct chain_world *w, size_t sources, size_t sinks,
    const struct chain_rules *rules)
{
	chain_world_open(w, sources, sinks, rules);
	chain_turn(&w->chain, w->now_ns);
	bring_up(w);
}
