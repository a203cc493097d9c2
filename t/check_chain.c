/*
 * The automaton of an instance, on its own: what follows from what, in each
 * order, and what holds whatever happens.
 */
#include "supervisor/chain.h"

#include "stage/loop.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))
#define MS LOOP_NS_PER_MS
#define SECOND LOOP_NS_PER_S
#define TIMEOUT (5 * SECOND)

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

/* A chain and its clock, and what it asked for since that was looked at. */
struct world {
	struct chain chain;
	int64_t now_ns;
	char done[1024];
};

/* Writes what the chain asks for as "spawn wal, spawn sink". */
static void
gather(struct world *w)
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

/* Says that this was asked for, in this order, and no more. */
#define ASKED(w, text) \
	do { \
		gather(w); \
		ck_assert_str_eq((w)->done, text); \
		(w)->done[0] = '\0'; \
	} while (0)

static void
start(struct world *w, bool has_command, enum config_restart restart)
{
	struct chain_rules rules = {has_command, restart, TIMEOUT};

	*w = (struct world){.now_ns = 1000 * SECOND};
	chain_init(&w->chain, &rules, w->now_ns);
	chain_turn(&w->chain, w->now_ns);
}

static void
ready(struct world *w, enum stage_kind kind)
{
	chain_ready(&w->chain, kind, w->now_ns);
}

static void
ended(struct world *w, enum stage_kind kind, enum chain_end end)
{
	chain_ended(&w->chain, kind, end, w->now_ns);
}

/* Lets time pass. */
static void
pass(struct world *w, int64_t ns)
{
	w->now_ns += ns;
	chain_turn(&w->chain, w->now_ns);
}

/* A chain with all its stages at work. */
static void
run(struct world *w, bool has_command, enum config_restart restart)
{
	start(w, has_command, restart);
	ready(w, STAGE_SINK);
	ready(w, STAGE_WAL);
	ready(w, STAGE_SOURCE);
	gather(w);
	w->done[0] = '\0';
}

START_TEST(test_start_by_readiness)
{
	struct world w;

	start(&w, true, CONFIG_ALWAYS);
	ASKED(&w, "spawn wal, spawn sink");
	ready(&w, STAGE_SINK);
	ASKED(&w, "");
	ready(&w, STAGE_WAL);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
	pass(&w, 3600 * SECOND);
	ASKED(&w, "");
	ck_assert_int_eq(chain_deadline_ns(&w.chain), LOOP_NEVER);
}
END_TEST

/* Events are taken in while the sink cannot start. */
START_TEST(test_the_source_does_not_wait_for_the_sink)
{
	struct world w;

	start(&w, false, CONFIG_ALWAYS);
	ASKED(&w, "spawn wal, spawn sink");
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ready(&w, STAGE_WAL);
	ASKED(&w, "spawn source");
	pass(&w, 100 * MS);
	ASKED(&w, "spawn sink");
}
END_TEST

START_TEST(test_each_stage_restarts_alone)
{
	static const struct {
		enum stage_kind kind;
		const char *spawn;
	} table[] = {
	    {STAGE_SOURCE, "spawn source"},
	    {STAGE_WAL, "spawn wal"},
	    {STAGE_SINK, "spawn sink"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct world w;

		run(&w, false, CONFIG_ALWAYS);
		ended(&w, table[i].kind, CHAIN_END_BAD);
		ASKED(&w, "");
		pass(&w, 99 * MS);
		ASKED(&w, "");
		pass(&w, 1 * MS);
		ASKED(&w, table[i].spawn);
		ready(&w, table[i].kind);
		ASKED(&w, "");
	}
}
END_TEST

/* Exit status 0 is no reason to stay away, where there is work. */
START_TEST(test_a_good_end_at_the_wrong_time_is_none)
{
	static const enum stage_kind kinds[] = {
	    STAGE_SOURCE, STAGE_WAL, STAGE_SINK};

	for (size_t i = 0; i < COUNT(kinds); i++) {
		struct world w;

		run(&w, false, CONFIG_ALWAYS);
		ended(&w, kinds[i], CHAIN_END_GOOD);
		ck_assert_int_eq(w.chain.stage[kinds[i]].state, CHAIN_WAITING);
		ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
	}
}
END_TEST

/* A source that died while there was no WAL waits for that. */
START_TEST(test_the_source_waits_for_the_wal)
{
	struct world w;

	run(&w, false, CONFIG_ALWAYS);
	ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	ended(&w, STAGE_WAL, CHAIN_END_BAD);
	pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
	pass(&w, 10 * SECOND);
	ASKED(&w, "");
	ready(&w, STAGE_WAL);
	ASKED(&w, "spawn source");
}
END_TEST

START_TEST(test_delays)
{
	static const int64_t wanted[] = {
	    100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
	struct world w;

	start(&w, false, CONFIG_ALWAYS);
	for (size_t i = 0; i < COUNT(wanted); i++) {
		gather(&w);
		ended(&w, STAGE_SINK, CHAIN_END_BAD);
		ck_assert_int_eq(w.chain.stage[STAGE_SINK].delay_ms, wanted[i]);
		ck_assert_int_eq(
		    chain_deadline_ns(&w.chain), w.now_ns + wanted[i] * MS);
		pass(&w, wanted[i] * MS);
		ck_assert_int_eq(
		    w.chain.stage[STAGE_SINK].state, CHAIN_STARTING);
	}
	/* A run of a minute makes it forget. */
	pass(&w, 60 * SECOND);
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.stage[STAGE_SINK].delay_ms, 100);
	ck_assert_int_eq(chain_delay_ms(400, 59999), 800);
	ck_assert_int_eq(chain_delay_ms(400, 60000), 100);
}
END_TEST

/* One that could not be started is tried again like one that died. */
START_TEST(test_unborn)
{
	struct world w;

	start(&w, false, CONFIG_ALWAYS);
	gather(&w);
	w.done[0] = '\0';
	ended(&w, STAGE_WAL, CHAIN_END_UNBORN);
	ck_assert(!w.chain.has_failed);
	pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
}
END_TEST

START_TEST(test_final)
{
	static const enum chain_end ends[] = {
	    CHAIN_END_FINAL, CHAIN_END_BURIED};

	for (int kind = STAGE_SOURCE; kind < STAGE_KINDS; kind++) {
		for (size_t i = 0; i < COUNT(ends); i++) {
			struct world w;

			run(&w, false, CONFIG_ALWAYS);
			ended(&w, (enum stage_kind)kind, ends[i]);
			ck_assert(w.chain.has_failed);
			pass(&w, 3600 * SECOND);
			ck_assert_int_eq(
			    w.chain.stage[kind].state, CHAIN_ENDED);
		}
	}
}
END_TEST

/* The source ends, the WAL drains, then the sink. */
START_TEST(test_finish)
{
	struct world w;

	run(&w, false, CONFIG_ON_FAILURE);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	ck_assert_int_eq(w.chain.goal, CHAIN_FINISH);
	/* For as long as it takes. */
	pass(&w, 24 * 3600 * SECOND);
	ASKED(&w, "");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
	ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
	ASKED(&w, "");
}
END_TEST

/* Who dies on the way to the end comes again, but for the source. */
START_TEST(test_finish_with_deaths)
{
	struct world w;

	run(&w, false, CONFIG_ON_FAILURE);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ended(&w, STAGE_WAL, CHAIN_END_BAD);
	pass(&w, 100 * MS);
	ASKED(&w, "spawn wal, spawn sink");
	ready(&w, STAGE_WAL);
	ASKED(&w, "drain wal");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "");
	ready(&w, STAGE_SINK);
	ASKED(&w, "drain sink");
	/* All is confirmed: how it ends does not matter. */
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
	ck_assert(!w.chain.has_failed);
}
END_TEST

START_TEST(test_finish_without_a_sink)
{
	struct world w;

	run(&w, false, CONFIG_ON_FAILURE);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain wal, drain sink");
	pass(&w, 2 * SECOND);
	ASKED(&w, "term sink");
	pass(&w, TIMEOUT);
	ASKED(&w, "kill sink");
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* A source that counts is not done when it failed. */
START_TEST(test_a_source_that_failed_is_not_done)
{
	struct world w;

	run(&w, false, CONFIG_ON_FAILURE);
	ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	pass(&w, 100 * MS);
	ASKED(&w, "spawn source");
}
END_TEST

START_TEST(test_stop_in_order)
{
	struct world w;

	run(&w, true, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term command");
	ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	/* Its input has ended: it ends by itself. */
	ASKED(&w, "drain source");
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
	ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* What is not delivered in time stays. */
START_TEST(test_stop_with_the_server_away)
{
	struct world w;

	run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term source");
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	pass(&w, TIMEOUT - 1);
	ASKED(&w, "");
	pass(&w, 1);
	ASKED(&w, "term wal");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "term sink");
	ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* Each that hangs is killed when its time is over, and the rest goes on. */
START_TEST(test_stop_with_all_hanging)
{
	struct world w;

	run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term source");
	pass(&w, TIMEOUT);
	ASKED(&w, "kill source");
	ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	ASKED(&w, "drain wal");
	pass(&w, 0);
	ASKED(&w, "term wal");
	pass(&w, 2 * SECOND);
	ASKED(&w, "kill wal");
	ended(&w, STAGE_WAL, CHAIN_END_BAD);
	ASKED(&w, "term sink");
	pass(&w, 2 * SECOND);
	ASKED(&w, "kill sink");
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* With nobody to drain to, the WAL is not left to wait. */
START_TEST(test_stop_without_a_sink)
{
	struct world w;

	run(&w, false, CONFIG_ALWAYS);
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	chain_stop(&w.chain, w.now_ns);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term source, term wal");

	run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term source, drain wal");
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ASKED(&w, "term wal");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

START_TEST(test_stop_while_waiting)
{
	struct world w;

	start(&w, true, CONFIG_ALWAYS);
	gather(&w);
	w.done[0] = '\0';
	ended(&w, STAGE_WAL, CHAIN_END_BAD);
	ended(&w, STAGE_SINK, CHAIN_END_BAD);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

START_TEST(test_kill)
{
	struct world w;

	run(&w, true, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	chain_kill(&w.chain, w.now_ns);
	ASKED(&w, "term command, kill command, kill source, kill wal, "
		  "kill sink");
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		ended(&w, (enum stage_kind)kind, CHAIN_END_BAD);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* A command that ends is followed by another, with another pipe. */
START_TEST(test_command_always)
{
	struct world w;

	run(&w, true, CONFIG_ALWAYS);
	ended(&w, STAGE_COMMAND, CHAIN_END_GOOD);
	ASKED(&w, "");
	/* The rest of its output comes first, however long that takes. */
	pass(&w, 100 * SECOND);
	ASKED(&w, "");
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "spawn source");
	ck_assert_int_eq(w.chain.pipe, CHAIN_PIPE_FRESH);
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
	/* The other way round: the delay is what takes long. */
	ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.pipe, CHAIN_PIPE_NONE);
	ASKED(&w, "");
	pass(&w, 200 * MS);
	ASKED(&w, "spawn source");
}
END_TEST

START_TEST(test_command_that_ends_for_good)
{
	static const struct {
		enum config_restart restart;
		enum chain_end end;
		bool is_over;
	} table[] = {
	    {CONFIG_NEVER, CHAIN_END_GOOD, true},
	    {CONFIG_NEVER, CHAIN_END_BAD, true},
	    {CONFIG_ON_FAILURE, CHAIN_END_GOOD, true},
	    {CONFIG_ON_FAILURE, CHAIN_END_BAD, false},
	    {CONFIG_ALWAYS, CHAIN_END_GOOD, false},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct world w;

		run(&w, true, table[i].restart);
		ended(&w, STAGE_COMMAND, table[i].end);
		ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
		ASKED(&w, table[i].is_over ? "drain wal" : "");
		ck_assert_int_eq(
		    w.chain.goal, table[i].is_over ? CHAIN_FINISH : CHAIN_RUN);
	}
}
END_TEST

/* A command that could not be started is none that has ended. */
START_TEST(test_command_unborn)
{
	struct world w;

	run(&w, true, CONFIG_NEVER);
	ended(&w, STAGE_COMMAND, CHAIN_END_UNBORN);
	ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
	pass(&w, 100 * MS);
	ASKED(&w, "spawn command");
	ck_assert_int_eq(w.chain.pipe, CHAIN_PIPE_USED);
}
END_TEST

/* The source is killed, its command lives on: the same pipe. */
START_TEST(test_command_outlives_its_source)
{
	struct world w;

	run(&w, true, CONFIG_ALWAYS);
	ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.pipe, CHAIN_PIPE_USED);
	pass(&w, 100 * MS);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "");
	/* Both at once: first what is left in the pipe. */
	ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	pass(&w, 10 * SECOND);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "");
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
}
END_TEST

/* Only what has changed ends, and starts at once. */
START_TEST(test_renew)
{
	static const struct {
		enum stage_kind kind;
		const char *term, *spawn;
	} table[] = {
	    {STAGE_SOURCE, "term source", "spawn source"},
	    {STAGE_WAL, "term wal", "spawn wal"},
	    {STAGE_SINK, "term sink", "spawn sink"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct world w;

		run(&w, false, CONFIG_ALWAYS);
		chain_renew(&w.chain, table[i].kind, &w.chain.rules, w.now_ns);
		ASKED(&w, table[i].term);
		ended(&w, table[i].kind, CHAIN_END_GOOD);
		ASKED(&w, table[i].spawn);
		ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
		/* One that hangs is killed. */
		ready(&w, table[i].kind);
		chain_renew(&w.chain, table[i].kind, &w.chain.rules, w.now_ns);
		pass(&w, TIMEOUT);
		ended(&w, table[i].kind, CHAIN_END_BAD);
		gather(&w);
		ck_assert_ptr_nonnull(strstr(w.done, "kill"));
		ck_assert_ptr_nonnull(strstr(w.done, table[i].spawn));
		w.done[0] = '\0';
		/* One that waits for its turn does not wait any more. */
		ended(&w, table[i].kind, CHAIN_END_BAD);
		ASKED(&w, "");
		chain_renew(&w.chain, table[i].kind, &w.chain.rules, w.now_ns);
		ASKED(&w, "");
		pass(&w, 0);
		ASKED(&w, table[i].spawn);
	}
}
END_TEST

/* One that was never turned starts nothing, whatever is asked of it. */
START_TEST(test_renew_before_the_first_turn)
{
	struct chain_rules rules = {false, CONFIG_ALWAYS, TIMEOUT};

	for (int kind = STAGE_SOURCE; kind < STAGE_KINDS; kind++) {
		struct world w = {.now_ns = SECOND};

		chain_init(&w.chain, &rules, w.now_ns);
		chain_renew(&w.chain, (enum stage_kind)kind, &rules, w.now_ns);
		ASKED(&w, "");
		pass(&w, 0);
		ASKED(&w, "spawn wal, spawn sink");
	}
}
END_TEST

START_TEST(test_renew_a_command)
{
	struct world w;

	run(&w, true, CONFIG_ALWAYS);
	chain_renew(&w.chain, STAGE_COMMAND, &w.chain.rules, w.now_ns);
	ASKED(&w, "term command, drain source");
	ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	ASKED(&w, "");
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
}
END_TEST

START_TEST(test_renew_into_another_kind_of_source)
{
	struct chain_rules plain = {false, CONFIG_ALWAYS, TIMEOUT};
	struct chain_rules command = {true, CONFIG_ALWAYS, TIMEOUT};
	struct world w;

	run(&w, false, CONFIG_ALWAYS);
	chain_renew(&w.chain, STAGE_SOURCE, &command, w.now_ns);
	ASKED(&w, "term source");
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
	chain_renew(&w.chain, STAGE_COMMAND, &plain, w.now_ns);
	ASKED(&w, "term command, drain source");
	ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "spawn source");
	ready(&w, STAGE_SOURCE);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.stage[STAGE_COMMAND].state, CHAIN_ENDED);
}
END_TEST

/* What stands behind a source that has ended starts anew; the source does not.
 */
START_TEST(test_renew_while_finishing)
{
	struct world w;

	run(&w, false, CONFIG_NEVER);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	chain_renew(&w.chain, STAGE_SOURCE, &w.chain.rules, w.now_ns);
	ASKED(&w, "");
	chain_renew(&w.chain, STAGE_WAL, &w.chain.rules, w.now_ns);
	chain_renew(&w.chain, STAGE_SINK, &w.chain.rules, w.now_ns);
	ASKED(&w, "term wal, term sink");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ASKED(&w, "spawn wal, spawn sink");
	ready(&w, STAGE_SINK);
	ready(&w, STAGE_WAL);
	ASKED(&w, "drain wal");
	ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
	ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* What is asked for while it stops is forgotten. */
START_TEST(test_no_renewal_while_stopping)
{
	struct world w;

	run(&w, false, CONFIG_ALWAYS);
	chain_renew(&w.chain, STAGE_SINK, &w.chain.rules, w.now_ns);
	chain_stop(&w.chain, w.now_ns);
	chain_renew(&w.chain, STAGE_WAL, &w.chain.rules, w.now_ns);
	ASKED(&w, "term sink, term source");
	ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term wal");
}
END_TEST

/* ---- whatever happens ---------------------------------------------------- */

/* What the world knows of a stage's process. */
struct process {
	bool runs;
	bool was_killed;
};

/* Does what was asked for, and checks that it may be asked for. */
static void
obey(struct world *w, struct process processes[STAGE_KINDS])
{
	struct chain_task task;

	while (chain_next(&w->chain, &task)) {
		struct process *process = &processes[task.kind];
		const struct chain_stage *stages = w->chain.stage;

		if (task.action != CHAIN_SPAWN) {
			ck_assert(process->runs);
			process->was_killed |= task.action == CHAIN_KILL;
			continue;
		}
		/* Never two of a kind; and none once it is stopping. */
		ck_assert(!process->runs);
		ck_assert_int_le(w->chain.goal, CHAIN_FINISH);
		if (task.kind == STAGE_SOURCE)
			ck_assert_int_eq(stages[STAGE_WAL].state, CHAIN_READY);
		if (task.kind == STAGE_COMMAND)
			ck_assert(processes[STAGE_SOURCE].runs);
		if (rand() % 8 == 0) {
			ended(w, task.kind, CHAIN_END_UNBORN);
			continue;
		}
		*process = (struct process){.runs = true};
	}
}

/* Lets one thing happen by chance. */
static void
chance(struct world *w, struct process processes[STAGE_KINDS])
{
	enum stage_kind kind = (enum stage_kind)(rand() % STAGE_KINDS);
	struct chain_rules rules = w->chain.rules;

	switch (rand() % 8) {
	case 0:
	case 1:
		if (processes[kind].runs && kind != STAGE_COMMAND)
			ready(w, kind);
		break;
	case 2:
	case 3:
		if (!processes[kind].runs)
			break;
		processes[kind].runs = false;
		ended(w, kind,
		    rand() % 2 == 0 && !processes[kind].was_killed
			? CHAIN_END_GOOD
			: CHAIN_END_BAD);
		break;
	case 4:
		rules.has_command ^= rand() % 4 == 0;
		rules.restart = (enum config_restart)(rand() % 3);
		chain_renew(&w->chain, kind, &rules, w->now_ns);
		break;
	default:
		pass(w, rand() % 4 == 0 ? 40 * SECOND : rand() % (200 * MS));
		break;
	}
}

/* Stops it, with processes that end only when they are killed. */
static void
check_end(struct world *w, struct process processes[STAGE_KINDS])
{
	obey(w, processes);
	chain_stop(&w->chain, w->now_ns);
	obey(w, processes);
	for (int i = 0; w->chain.goal != CHAIN_OVER; i++) {
		ck_assert_int_lt(i, 20);
		for (int kind = 0; kind < STAGE_KINDS; kind++) {
			if (!processes[kind].was_killed ||
			    !processes[kind].runs)
				continue;
			processes[kind].runs = false;
			ended(w, (enum stage_kind)kind, CHAIN_END_BAD);
			obey(w, processes);
		}
		if (w->chain.goal == CHAIN_OVER)
			break;
		/* There is always something that it waits for. */
		ck_assert_int_ne(chain_deadline_ns(&w->chain), LOOP_NEVER);
		if (chain_deadline_ns(&w->chain) > w->now_ns)
			w->now_ns = chain_deadline_ns(&w->chain);
		pass(w, 0);
		obey(w, processes);
	}
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		ck_assert(!processes[kind].runs);
}

START_TEST(test_whatever_happens)
{
	for (unsigned seed = 1; seed <= 3000; seed++) {
		struct process processes[STAGE_KINDS] = {{0}};
		struct world w;
		int steps;

		srand(seed);
		start(&w, rand() % 2, (enum config_restart)(rand() % 3));
		steps = rand() % 200;
		for (int i = 0; i < steps; i++) {
			obey(&w, processes);
			chance(&w, processes);
			obey(&w, processes);
			/* One that runs is known to, and the other way. */
			for (int kind = 0; kind < STAGE_KINDS; kind++)
				ck_assert_int_eq(processes[kind].runs,
				    chain_runs(
					&w.chain, (enum stage_kind)kind));
		}
		check_end(&w, processes);
	}
}
END_TEST

/* Left alone, with stages that start and never fail, it comes to where all of
 * them work, from wherever it was. */
START_TEST(test_it_recovers)
{
	for (unsigned seed = 1; seed <= 2000; seed++) {
		struct process processes[STAGE_KINDS] = {{0}};
		struct world w;
		bool is_up = false;

		srand(seed);
		start(&w, rand() % 2, CONFIG_ALWAYS);
		for (int i = 0; i < 60; i++) {
			obey(&w, processes);
			chance(&w, processes);
			obey(&w, processes);
			w.chain.rules.restart = CONFIG_ALWAYS;
		}
		if (w.chain.goal != CHAIN_RUN)
			continue;
		for (int i = 0; i < 40 && !is_up; i++) {
			struct chain_task task;

			pass(&w, 40 * SECOND);
			for (int k = 0; k < STAGE_KINDS; k++) {
				enum chain_state state = w.chain.stage[k].state;
				enum stage_kind kind = (enum stage_kind)k;

				if (state == CHAIN_STARTING)
					ready(&w, kind);
				/* One told to end does; so does a source
				 * whose command has. */
				if (state > CHAIN_READY &&
				    chain_runs(&w.chain, kind))
					ended(&w, kind, CHAIN_END_GOOD);
				if (kind == STAGE_SOURCE &&
				    state == CHAIN_READY &&
				    w.chain.pipe == CHAIN_PIPE_USED &&
				    !chain_runs(&w.chain, STAGE_COMMAND))
					ended(&w, kind, CHAIN_END_GOOD);
			}
			while (chain_next(&w.chain, &task))
				continue;
			is_up =
			    w.chain.stage[STAGE_SOURCE].state == CHAIN_READY &&
			    w.chain.stage[STAGE_WAL].state == CHAIN_READY &&
			    w.chain.stage[STAGE_SINK].state == CHAIN_READY &&
			    (!w.chain.rules.has_command ||
				w.chain.stage[STAGE_COMMAND].state ==
				    CHAIN_READY);
		}
		ck_assert_msg(is_up, "seed %u", seed);
	}
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chain");
	TCase *tests = tcase_create("chain");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_start_by_readiness);
	tcase_add_test(tests, test_the_source_does_not_wait_for_the_sink);
	tcase_add_test(tests, test_each_stage_restarts_alone);
	tcase_add_test(tests, test_a_good_end_at_the_wrong_time_is_none);
	tcase_add_test(tests, test_the_source_waits_for_the_wal);
	tcase_add_test(tests, test_delays);
	tcase_add_test(tests, test_unborn);
	tcase_add_test(tests, test_final);
	tcase_add_test(tests, test_finish);
	tcase_add_test(tests, test_finish_with_deaths);
	tcase_add_test(tests, test_finish_without_a_sink);
	tcase_add_test(tests, test_a_source_that_failed_is_not_done);
	tcase_add_test(tests, test_stop_in_order);
	tcase_add_test(tests, test_stop_with_the_server_away);
	tcase_add_test(tests, test_stop_with_all_hanging);
	tcase_add_test(tests, test_stop_without_a_sink);
	tcase_add_test(tests, test_stop_while_waiting);
	tcase_add_test(tests, test_kill);
	tcase_add_test(tests, test_command_always);
	tcase_add_test(tests, test_command_that_ends_for_good);
	tcase_add_test(tests, test_command_unborn);
	tcase_add_test(tests, test_command_outlives_its_source);
	tcase_add_test(tests, test_renew);
	tcase_add_test(tests, test_renew_before_the_first_turn);
	tcase_add_test(tests, test_renew_a_command);
	tcase_add_test(tests, test_renew_into_another_kind_of_source);
	tcase_add_test(tests, test_renew_while_finishing);
	tcase_add_test(tests, test_no_renewal_while_stopping);
	tcase_add_test(tests, test_whatever_happens);
	tcase_add_test(tests, test_it_recovers);
	return suite_run(suite);
}
