/*
 * A chain (supervisor/chain.h) for tests: its clock, which stands still until
 * it is told to go on, and what it has asked for.
 */
#ifndef T_CHAIN_WORLD_H
#define T_CHAIN_WORLD_H

#include "stage/loop.h"
#include "supervisor/chain.h"

#include <check.h>
#include <stdbool.h>
#include <stdint.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define MS LOOP_NS_PER_MS
#define SECOND LOOP_NS_PER_S
/* The shutdown_timeout of each. */
#define TIMEOUT (5 * SECOND)

struct chain_world {
	struct chain chain;
	int64_t now_ns;
	char done[8192]; /* "spawn wal, spawn sink": what it asked for since
			  * that was looked at */
};

/* Makes one of so many sources and sinks, all by the same rules, that was never
 * turned. */
void chain_world_open(struct chain_world *w, size_t sources, size_t sinks,
    const struct chain_rules *rules);

/* Makes one of a source and a sink that is to run, and turns it once. */
void chain_world_start(
    struct chain_world *w, bool has_command, enum config_restart restart);

/* Makes one whose stages are all at work; nothing stands in `done`. */
void chain_world_run(
    struct chain_world *w, bool has_command, enum config_restart restart);

/* The same of several. */
void chain_world_run_fan(struct chain_world *w, size_t sources, size_t sinks,
    const struct chain_rules *rules);

/* Adds to `done` what it asks for. */
void chain_world_gather(struct chain_world *w);

/* Tells it what becomes of the stage at `at`; with one source and one sink that
 * is its kind. */
void chain_world_ready(struct chain_world *w, size_t at);
void chain_world_ended(struct chain_world *w, size_t at, enum chain_end end);

/* Lets time pass. */
void chain_world_pass(struct chain_world *w, int64_t ns);

/* Says that this was asked for, in this order, and no more. */
#define ASKED(w, text) \
	do { \
		chain_world_gather(w); \
		ck_assert_str_eq((w)->done, text); \
		(w)->done[0] = '\0'; \
	} while (0)

#endif
