/*
 * The automaton of an instance: what holds whatever happens, in orders that
 * come by chance.
 */
#include "t/chain_world.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>

/* What the world knows of a stage's process. */
struct process {
	bool runs;
	bool was_killed;
};

/* Does what was asked for, and checks that it may be asked for. */
static void
obey(struct chain_world *w, struct process processes[STAGE_KINDS])
{
	struct chain_task task;

	while (chain_next(&w->chain, &task)) {
		struct process *process = &processes[task.at];
		const struct chain_stage *stages = w->chain.stage;

		if (task.action != CHAIN_SPAWN) {
			ck_assert(process->runs);
			process->was_killed |= task.action == CHAIN_KILL;
			continue;
		}
		/* Never two of a kind; and none once it is stopping, but for a
		 * source that has something left. */
		ck_assert(!process->runs);
		if (task.at != STAGE_WAL || !processes[STAGE_SOURCE].runs ||
		    w->now_ns >= w->chain.stop_ns)
			ck_assert_int_le(w->chain.goal, CHAIN_FINISH);
		if (task.at == STAGE_SOURCE)
			ck_assert_int_eq(stages[STAGE_WAL].state, CHAIN_READY);
		if (task.at == STAGE_COMMAND)
			ck_assert(processes[STAGE_SOURCE].runs);
		if (rand() % 8 == 0) {
			chain_world_ended(w, task.at, CHAIN_END_UNBORN);
			continue;
		}
		*process = (struct process){.runs = true};
	}
}

/* Lets one thing happen by chance. */
static void
chance(struct chain_world *w, struct process processes[STAGE_KINDS])
{
	enum stage_kind kind = (enum stage_kind)(rand() % STAGE_KINDS);
	struct chain_rules rules = w->chain.source[0].rules;

	switch (rand() % 8) {
	case 0:
	case 1:
		if (processes[kind].runs && kind != STAGE_COMMAND)
			chain_world_ready(w, kind);
		break;
	case 2:
	case 3:
		if (!processes[kind].runs)
			break;
		processes[kind].runs = false;
		if (rand() % 2 == 0 || processes[kind].was_killed)
			chain_world_ended(w, kind, CHAIN_END_BAD);
		else if (kind == STAGE_SOURCE && rand() % 2 == 0 &&
			 w->chain.source[0].pipe == CHAIN_PIPE_USED)
			chain_world_ended(w, kind, CHAIN_END_DRY);
		else
			chain_world_ended(w, kind, CHAIN_END_GOOD);
		break;
	case 4:
		rules.has_command ^= rand() % 4 == 0;
		rules.restart = (enum config_restart)(rand() % 3);
		chain_renew(&w->chain, kind, &rules, w->now_ns);
		break;
	default:
		chain_world_pass(
		    w, rand() % 4 == 0 ? 40 * SECOND : rand() % (200 * MS));
		break;
	}
}

/* Stops it, with processes that end only when they are killed. */
static void
check_end(struct chain_world *w, struct process processes[STAGE_KINDS])
{
	obey(w, processes);
	chain_stop(&w->chain, w->now_ns);
	obey(w, processes);
	for (int i = 0; w->chain.goal != CHAIN_OVER; i++) {
		ck_assert_int_lt(i, 40);
		for (int kind = 0; kind < STAGE_KINDS; kind++) {
			if (!processes[kind].was_killed ||
			    !processes[kind].runs)
				continue;
			processes[kind].runs = false;
			chain_world_ended(
			    w, (enum stage_kind)kind, CHAIN_END_BAD);
			obey(w, processes);
		}
		if (w->chain.goal == CHAIN_OVER)
			break;
		/* There is always something that it waits for. */
		ck_assert_int_ne(chain_deadline_ns(&w->chain), LOOP_NEVER);
		if (chain_deadline_ns(&w->chain) > w->now_ns)
			w->now_ns = chain_deadline_ns(&w->chain);
		chain_world_pass(w, 0);
		obey(w, processes);
	}
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		ck_assert(!processes[kind].runs);
}

START_TEST(test_whatever_happens)
{
	for (unsigned seed = 1; seed <= 3000; seed++) {
		struct process processes[STAGE_KINDS] = {{0}};
		struct chain_world w;
		int steps;

		srand(seed);
		chain_world_start(
		    &w, rand() % 2, (enum config_restart)(rand() % 3));
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

/* Lets each stage do what it is to: start, work, end when it is told to. */
static void
go_well(struct chain_world *w)
{
	for (int i = 0; i < STAGE_KINDS; i++) {
		enum stage_kind kind = (enum stage_kind)i;
		enum chain_state state = w->chain.stage[i].state;
		/* One whose command has ended comes to the end of its input. */
		bool is_at_end = kind == STAGE_SOURCE && state == CHAIN_READY &&
				 w->chain.source[0].pipe == CHAIN_PIPE_USED &&
				 !chain_runs(&w->chain, STAGE_COMMAND);

		/* And one whose output nobody waits for ends some day. */
		bool is_left = kind == STAGE_COMMAND &&
			       w->chain.source[0].pipe == CHAIN_PIPE_NONE;

		if (state == CHAIN_STARTING)
			chain_world_ready(w, kind);
		else if (is_at_end)
			chain_world_ended(w, kind, CHAIN_END_DRY);
		else if ((state > CHAIN_READY || is_left) &&
			 chain_runs(&w->chain, kind))
			chain_world_ended(w, kind, CHAIN_END_GOOD);
	}
	chain_world_gather(w);
	w->done[0] = '\0';
}

static bool
all_work(const struct chain *chain)
{
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		if (chain->stage[kind].state != CHAIN_READY &&
		    (kind != STAGE_COMMAND ||
			chain->source[0].rules.has_command))
			return false;
	return true;
}

/* Left alone, with stages that start and never fail, it comes to where all of
 * them work, from wherever it was. */
START_TEST(test_it_recovers)
{
	int tried = 0;

	for (unsigned seed = 1; seed <= 2000; seed++) {
		struct process processes[STAGE_KINDS] = {{0}};
		struct chain_world w;

		srand(seed);
		chain_world_start(&w, rand() % 2, CONFIG_ALWAYS);
		for (int i = 0; i < 60; i++) {
			obey(&w, processes);
			chance(&w, processes);
			obey(&w, processes);
			w.chain.source[0].rules.restart = CONFIG_ALWAYS;
		}
		if (w.chain.goal != CHAIN_RUN)
			continue;
		tried++;
		for (int i = 0; i < 40 && !all_work(&w.chain); i++) {
			chain_world_pass(&w, 40 * SECOND);
			go_well(&w);
		}
		ck_assert_msg(all_work(&w.chain), "seed %u", seed);
	}
	ck_assert_int_gt(tried, 1000);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chain_chance");
	TCase *tests = tcase_create("chain_chance");

	suite_add_tcase(suite, tests);
	tcase_set_timeout(tests, 60);
	tcase_add_test(tests, test_whatever_happens);
	tcase_add_test(tests, test_it_recovers);
	return suite_run(suite);
}
