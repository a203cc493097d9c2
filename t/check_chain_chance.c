/*
 * The automaton of an instance: what holds whatever happens, in orders that
 * come by chance, with any number of sources and sinks.
 */
#include "t/chain_world.h"
#include "t/suite.h"

#include <check.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

/* Of each kind: enough for each of them to be the first, the last, or neither.
 */
#define MAX_COUNT 3

/* What the world knows of a stage's process. */
struct process {
	bool runs;
	bool was_killed;
	uint64_t starts; /* so many of it */
};

struct chances {
	struct chain_world w;
	struct process processes[CHAIN_MAX_STAGES];
};

static struct chain_rules
any_rules(void)
{
	return (struct chain_rules){
	    rand() % 2, (enum config_restart)(rand() % 3)};
}

static struct chain_source *
source_at(struct chances *c, size_t at)
{
	return &c->w.chain.source[chain_index(&c->w.chain, at)];
}

static bool
source_runs(const struct chances *c)
{
	for (size_t at = 0; at < chain_stages(&c->w.chain); at++)
		if (chain_kind(&c->w.chain, at) == STAGE_SOURCE &&
		    c->processes[at].runs)
			return true;
	return false;
}

/* Holds the start of a stage against what runs. */
static void
check_spawn(const struct chances *c, size_t at)
{
	const struct chain *chain = &c->w.chain;
	enum stage_kind kind = chain_kind(chain, at);
	size_t wal = chain_at(chain, STAGE_WAL, 0);

	/* Never two of a kind, nor one that was removed; and none once it is
	 * stopping, but for a source that has something left. */
	ck_assert(!c->processes[at].runs);
	ck_assert(!chain->stage[at].is_removed);
	if (kind != STAGE_WAL || !source_runs(c) ||
	    c->w.now_ns >= chain->stop_ns)
		ck_assert_int_le(chain->goal, CHAIN_FINISH);
	if (kind == STAGE_SOURCE)
		ck_assert_int_eq(chain->stage[wal].state, CHAIN_READY);
	if (kind == STAGE_COMMAND)
		ck_assert(c->processes[at + 1].runs);
}

/* Does what was asked for, and checks that it may be asked for. */
static void
obey(struct chances *c)
{
	struct chain_task task;

	while (chain_next(&c->w.chain, &task)) {
		struct process *process = &c->processes[task.at];

		if (task.action != CHAIN_SPAWN) {
			ck_assert(process->runs);
			process->was_killed |= task.action == CHAIN_KILL;
			continue;
		}
		check_spawn(c, task.at);
		process->starts++;
		if (rand() % 8 == 0) {
			chain_world_ended(&c->w, task.at, CHAIN_END_UNBORN);
			continue;
		}
		process->runs = true;
		process->was_killed = false;
	}
}

/* Opens `count` places for processes at `at`. */
static void
open_places(struct chances *c, size_t at, size_t count, size_t stages)
{
	memmove(&c->processes[at + count], &c->processes[at],
	    (stages - at) * sizeof(c->processes[0]));
	for (size_t i = at; i < at + count; i++)
		c->processes[i] = (struct process){.runs = false};
}

static void
add_source(struct chances *c, const struct chain_rules *rules)
{
	struct chain *chain = &c->w.chain;

	open_places(c, chain_at(chain, STAGE_WAL, 0), 2, chain_stages(chain));
	chain_add_source(chain, rules, c->w.now_ns);
}

static void
add_sink(struct chances *c)
{
	size_t stages = chain_stages(&c->w.chain);

	open_places(c, stages, 1, stages);
	chain_add_sink(&c->w.chain, c->w.now_ns);
}

/* Takes out what is gone. */
static void
drop_gone(struct chances *c)
{
	struct chain *chain = &c->w.chain;

	for (size_t at = chain_stages(chain); at-- > 0;) {
		size_t stages = chain_stages(chain), count = 1, first = at;

		if (!chain_is_gone(chain, at))
			continue;
		if (chain_kind(chain, at) == STAGE_SOURCE) {
			first--;
			count = 2;
		}
		chain_drop(chain, at);
		memmove(&c->processes[first], &c->processes[first + count],
		    (stages - first - count) * sizeof(c->processes[0]));
		at = first;
	}
}

/* Says how many of a kind were not removed. */
static size_t
count_wanted(const struct chain *chain, enum stage_kind kind)
{
	size_t wanted = 0;

	for (size_t i = 0; i < chain_count(chain, kind); i++)
		wanted += !chain->stage[chain_at(chain, kind, i)].is_removed;
	return wanted;
}

/* Adds or removes a source or a sink, as a reload would: one is always left. */
static void
change(struct chances *c, size_t at)
{
	struct chain *chain = &c->w.chain;
	enum stage_kind kind = chain_kind(chain, at);
	struct chain_rules rules = any_rules();

	if (kind == STAGE_WAL)
		return;
	if (kind == STAGE_COMMAND)
		kind = STAGE_SOURCE;
	if (chain_count(chain, kind) < MAX_COUNT && rand() % 2 == 0) {
		if (kind == STAGE_SINK)
			add_sink(c);
		else
			add_source(c, &rules);
	} else if (!chain->stage[at].is_removed &&
		   count_wanted(chain, kind) > 1) {
		chain_remove(chain, at, c->w.now_ns);
		ck_assert(chain->stage[at].is_removed);
	}
}

/* Lets the process of a stage come to its end. */
static void
end(struct chances *c, size_t at)
{
	struct process *process = &c->processes[at];
	enum chain_end end = CHAIN_END_GOOD;

	if (!process->runs)
		return;
	process->runs = false;
	if (rand() % 2 == 0 || process->was_killed)
		end = CHAIN_END_BAD;
	else if (chain_kind(&c->w.chain, at) == STAGE_SOURCE &&
		 rand() % 2 == 0 && source_at(c, at)->pipe == CHAIN_PIPE_USED)
		end = CHAIN_END_DRY;
	chain_world_ended(&c->w, at, end);
}

/* Lets one thing happen by chance. */
static void
chance(struct chances *c)
{
	struct chain *chain = &c->w.chain;
	size_t at = (size_t)rand() % chain_stages(chain);
	struct chain_rules rules = {0};

	switch (rand() % 10) {
	case 0:
	case 1:
		if (c->processes[at].runs &&
		    chain_kind(chain, at) != STAGE_COMMAND)
			chain_world_ready(&c->w, at);
		break;
	case 2:
	case 3:
		end(c, at);
		break;
	case 4:
		if (chain_kind(chain, at) <= STAGE_SOURCE) {
			rules = source_at(c, at)->rules;
			rules.has_command ^= rand() % 4 == 0;
			rules.restart = (enum config_restart)(rand() % 3);
		}
		chain_renew(chain, at, &rules, c->w.now_ns);
		break;
	case 5:
		change(c, at);
		break;
	default:
		chain_world_pass(
		    &c->w, rand() % 4 == 0 ? 40 * SECOND : rand() % (200 * MS));
		break;
	}
	obey(c);
	drop_gone(c);
}

/* One that runs is known to, and the other way; and none is taken for another,
 * whichever come and go. */
static void
check_known(const struct chances *c)
{
	bool is_over = c->w.chain.goal == CHAIN_OVER;

	for (size_t at = 0; at < chain_stages(&c->w.chain); at++) {
		ck_assert_int_eq(
		    c->processes[at].runs, chain_runs(&c->w.chain, at));
		ck_assert(!is_over || !c->processes[at].runs);
		ck_assert_uint_eq(
		    c->processes[at].starts, c->w.chain.stage[at].starts);
	}
}

/* Makes a chain of some sources and sinks, and turns it once. */
static void
begin(struct chances *c)
{
	struct chain_rules rules = any_rules();

	memset(c->processes, 0, sizeof(c->processes));
	chain_world_open(&c->w, 0, 0, &rules);
	for (int i = rand() % MAX_COUNT; i >= 0; i--) {
		rules = any_rules();
		add_source(c, &rules);
	}
	for (int i = rand() % MAX_COUNT; i >= 0; i--)
		add_sink(c);
	chain_turn(&c->w.chain, c->w.now_ns);
	obey(c);
}

/* Stops it, with processes that end only when they are killed. */
static void
check_end(struct chances *c)
{
	struct chain *chain = &c->w.chain;
	int64_t begin_ns = c->w.now_ns;

	chain_stop(chain, c->w.now_ns);
	obey(c);
	for (int i = 0; chain->goal != CHAIN_OVER; i++) {
		ck_assert_int_lt(i, 40);
		for (size_t at = 0; at < chain_stages(chain); at++) {
			if (!c->processes[at].was_killed ||
			    !c->processes[at].runs)
				continue;
			c->processes[at].runs = false;
			chain_world_ended(&c->w, at, CHAIN_END_BAD);
			obey(c);
		}
		if (chain->goal == CHAIN_OVER)
			break;
		/* There is always something that it waits for. */
		ck_assert_int_ne(chain_deadline_ns(chain), LOOP_NEVER);
		if (chain_deadline_ns(chain) > c->w.now_ns)
			c->w.now_ns = chain_deadline_ns(chain);
		chain_world_pass(&c->w, 0);
		obey(c);
	}
	for (size_t at = 0; at < chain_stages(chain); at++)
		ck_assert(!c->processes[at].runs);
	/* However many there are: command and source, the WAL, the sinks. */
	ck_assert_int_le(c->w.now_ns - begin_ns, TIMEOUT + 4 * 2 * SECOND);
}

START_TEST(test_whatever_happens)
{
	static struct chances c;

	for (unsigned seed = 1; seed <= 3000; seed++) {
		int steps;

		srand(seed);
		begin(&c);
		steps = rand() % 300;
		for (int i = 0; i < steps; i++) {
			chance(&c);
			check_known(&c);
		}
		check_end(&c);
	}
}
END_TEST

/* Lets a stage do what it is to: start, work, end when it is told to. */
static void
go_well(struct chances *c, size_t at)
{
	const struct chain *chain = &c->w.chain;
	enum chain_state state = chain->stage[at].state;
	enum stage_kind kind = chain_kind(chain, at);
	/* One whose command has ended comes to the end of its input. */
	bool is_at_end = kind == STAGE_SOURCE && state == CHAIN_READY &&
			 source_at(c, at)->pipe == CHAIN_PIPE_USED &&
			 !chain_runs(chain, at - 1);
	/* And one whose output nobody waits for ends some day. */
	bool is_left =
	    kind == STAGE_COMMAND && source_at(c, at)->pipe == CHAIN_PIPE_NONE;

	if (state == CHAIN_STARTING)
		chain_world_ready(&c->w, at);
	else if (is_at_end)
		chain_world_ended(&c->w, at, CHAIN_END_DRY);
	else if ((state > CHAIN_READY || is_left) && chain_runs(chain, at))
		chain_world_ended(&c->w, at, CHAIN_END_GOOD);
}

static bool
all_work(struct chances *c)
{
	const struct chain *chain = &c->w.chain;

	for (size_t at = 0; at < chain_stages(chain); at++)
		if (chain->stage[at].state != CHAIN_READY &&
		    (chain_kind(chain, at) != STAGE_COMMAND ||
			source_at(c, at)->rules.has_command))
			return false;
	return true;
}

/* Makes a source never come to an end of its own. */
static void
let_all_go_on(struct chances *c)
{
	for (size_t i = 0; i < c->w.chain.source_count; i++)
		c->w.chain.source[i].rules.restart = CONFIG_ALWAYS;
}

/* Left alone, with stages that start and never fail, it comes to where all of
 * them work, and what was removed is gone, from wherever it was. */
START_TEST(test_it_recovers)
{
	static struct chances c;
	int tried = 0;

	for (unsigned seed = 1; seed <= 2000; seed++) {
		srand(seed);
		begin(&c);
		let_all_go_on(&c);
		for (int i = 0; i < 100; i++) {
			chance(&c);
			let_all_go_on(&c);
		}
		if (c.w.chain.goal != CHAIN_RUN)
			continue;
		tried++;
		for (int i = 0; i < 40 && !all_work(&c); i++) {
			chain_world_pass(&c.w, 40 * SECOND);
			for (size_t at = 0; at < chain_stages(&c.w.chain); at++)
				go_well(&c, at);
			chain_world_gather(&c.w);
			c.w.done[0] = '\0';
			drop_gone(&c);
		}
		ck_assert_msg(all_work(&c), "seed %u", seed);
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
	tcase_set_timeout(tests, 600);
	tcase_add_test(tests, test_whatever_happens);
	tcase_add_test(tests, test_it_recovers);
	return suite_run(suite);
}
