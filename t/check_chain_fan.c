/*
 * The automaton of an instance with several sources and several sinks: each is
 * on its own, and some come and go while it runs.
 */
#include "t/chain_world.h"
#include "t/suite.h"

#include <check.h>
#include <string.h>

static const struct chain_rules plain = {false, CONFIG_ALWAYS};
static const struct chain_rules counted = {false, CONFIG_ON_FAILURE};
static const struct chain_rules command = {true, CONFIG_ALWAYS};

static size_t
at(const struct chain_world *w, enum stage_kind kind, size_t index)
{
	return chain_at(&w->chain, kind, index);
}

static enum chain_state
state(const struct chain_world *w, enum stage_kind kind, size_t index)
{
	return w->chain.stage[at(w, kind, index)].state;
}

static void
ended(struct chain_world *w, enum stage_kind kind, size_t index,
    enum chain_end end)
{
	chain_world_ended(w, at(w, kind, index), end);
}

static void
ready(struct chain_world *w, enum stage_kind kind, size_t index)
{
	chain_world_ready(w, at(w, kind, index));
}

START_TEST(test_positions)
{
	static const enum stage_kind kinds[] = {STAGE_COMMAND, STAGE_SOURCE,
	    STAGE_COMMAND, STAGE_SOURCE, STAGE_WAL, STAGE_SINK, STAGE_SINK,
	    STAGE_SINK};
	struct chain_world w;

	chain_world_open(&w, 2, 3, &plain);
	ck_assert_uint_eq(chain_stages(&w.chain), COUNT(kinds));
	for (size_t i = 0; i < COUNT(kinds); i++) {
		ck_assert_int_eq(chain_kind(&w.chain, i), kinds[i]);
		ck_assert_uint_eq(
		    at(&w, kinds[i], chain_index(&w.chain, i)), i);
	}
	/* One of each stands in the order of the kinds. */
	chain_world_open(&w, 1, 1, &plain);
	ck_assert_uint_eq(chain_stages(&w.chain), STAGE_KINDS);
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		ck_assert_uint_eq(at(&w, (enum stage_kind)kind, 0), kind);
}
END_TEST

START_TEST(test_start)
{
	struct chain_world w;

	chain_world_open(&w, 3, 3, &command);
	chain_turn(&w.chain, w.now_ns);
	ASKED(&w, "spawn wal, spawn sink0, spawn sink1, spawn sink2");
	ready(&w, STAGE_SINK, 1);
	ASKED(&w, "");
	ready(&w, STAGE_WAL, 0);
	ASKED(&w, "spawn source0, spawn source1, spawn source2");
	/* No command waits for another's source. */
	ready(&w, STAGE_SOURCE, 2);
	ASKED(&w, "spawn command2");
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_BAD);
	ready(&w, STAGE_SOURCE, 1);
	ASKED(&w, "spawn command1");
}
END_TEST

START_TEST(test_each_restarts_alone)
{
	static const struct {
		enum stage_kind kind;
		size_t index;
		const char *spawn;
	} table[] = {
	    {STAGE_SOURCE, 0, "spawn source0"},
	    {STAGE_SOURCE, 1, "spawn source1"},
	    {STAGE_SOURCE, 2, "spawn source2"},
	    {STAGE_WAL, 0, "spawn wal"},
	    {STAGE_SINK, 0, "spawn sink0"},
	    {STAGE_SINK, 1, "spawn sink1"},
	    {STAGE_SINK, 2, "spawn sink2"},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		struct chain_world w;

		chain_world_run_fan(&w, 3, 3, &plain);
		ended(&w, table[i].kind, table[i].index, CHAIN_END_BAD);
		chain_world_pass(&w, 99 * MS);
		ASKED(&w, "");
		chain_world_pass(&w, 1 * MS);
		ASKED(&w, table[i].spawn);
		/* The delay is its own. */
		for (size_t j = 0; j < chain_stages(&w.chain); j++)
			ck_assert_int_eq(w.chain.stage[j].delay_ms,
			    j == at(&w, table[i].kind, table[i].index) ? 100
								       : 0);
	}
}
END_TEST

/* Only when all sources have come to their end is the rest finished. */
START_TEST(test_finish)
{
	static const size_t order[] = {1, 2, 0};
	struct chain_world w;

	chain_world_run_fan(&w, 3, 3, &counted);
	for (size_t i = 0; i < COUNT(order); i++) {
		ASKED(&w, "");
		ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
		ended(&w, STAGE_SOURCE, order[i], CHAIN_END_GOOD);
		chain_world_pass(&w, 3600 * SECOND);
	}
	ASKED(&w, "drain wal");
	ck_assert_int_eq(w.chain.goal, CHAIN_FINISH);
	ended(&w, STAGE_SINK, 1, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn sink1");
	ended(&w, STAGE_WAL, 0, CHAIN_END_GOOD);
	ASKED(&w, "drain sink0, drain sink2");
	ended(&w, STAGE_SINK, 2, CHAIN_END_GOOD);
	ended(&w, STAGE_SINK, 0, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_FINISH);
	ready(&w, STAGE_SINK, 1);
	ASKED(&w, "drain sink1");
	ended(&w, STAGE_SINK, 1, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* One that has ended is not started again by what becomes of the others. */
START_TEST(test_a_source_that_has_ended_stays_so)
{
	struct chain_world w;

	chain_world_run_fan(&w, 2, 1, &counted);
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_GOOD);
	ended(&w, STAGE_WAL, 0, CHAIN_END_BAD);
	ended(&w, STAGE_SOURCE, 1, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
	ready(&w, STAGE_WAL, 0);
	ASKED(&w, "spawn source1");
	/* Unless its command is another. */
	chain_renew(&w.chain, at(&w, STAGE_SOURCE, 0), &counted, w.now_ns);
	chain_world_pass(&w, 0);
	ASKED(&w, "spawn source0");
}
END_TEST

/* All sources are told at once, and so are the sinks: one that is slow takes
 * none of the others' time. */
START_TEST(test_stop)
{
	struct chain_world w;

	chain_world_run_fan(&w, 3, 3, &plain);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term source0, term source1, term source2");
	ended(&w, STAGE_SOURCE, 2, CHAIN_END_GOOD);
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_GOOD);
	chain_world_pass(&w, TIMEOUT - 1);
	ASKED(&w, "");
	chain_world_pass(&w, 1);
	ASKED(&w, "kill source1");
	ended(&w, STAGE_SOURCE, 1, CHAIN_END_BAD);
	ASKED(&w, "drain wal");
	ended(&w, STAGE_WAL, 0, CHAIN_END_GOOD);
	ASKED(&w, "drain sink0, drain sink1, drain sink2");
	ended(&w, STAGE_SINK, 0, CHAIN_END_GOOD);
	ended(&w, STAGE_SINK, 2, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_STOP);
	ended(&w, STAGE_SINK, 1, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* Each source waits for its own command. */
START_TEST(test_stop_with_a_slow_command)
{
	struct chain_world w;

	chain_world_run_fan(&w, 2, 1, &command);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term command0, term command1");
	ended(&w, STAGE_COMMAND, 1, CHAIN_END_BAD);
	ASKED(&w, "drain source1");
	ended(&w, STAGE_SOURCE, 1, CHAIN_END_DRY);
	ASKED(&w, "");
	/* A WAL that dies is there again for the one that is left. */
	ended(&w, STAGE_WAL, 0, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
	ended(&w, STAGE_COMMAND, 0, CHAIN_END_BAD);
	ASKED(&w, "drain source0");
}
END_TEST

/* The WAL drains as long as one of the sinks is there. */
START_TEST(test_stop_without_some_sinks)
{
	struct chain_world w;

	chain_world_run_fan(&w, 1, 3, &plain);
	ended(&w, STAGE_SINK, 1, CHAIN_END_BAD);
	chain_stop(&w.chain, w.now_ns);
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_GOOD);
	ASKED(&w, "term source, drain wal");
	ended(&w, STAGE_SINK, 0, CHAIN_END_BAD);
	ASKED(&w, "");
	ended(&w, STAGE_SINK, 2, CHAIN_END_BAD);
	ASKED(&w, "term wal");
	ended(&w, STAGE_WAL, 0, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

START_TEST(test_final)
{
	for (size_t i = 0; i < 7; i++) {
		struct chain_world w;

		chain_world_run_fan(&w, 2, 2, &plain);
		if (chain_runs(&w.chain, i)) {
			chain_world_ended(&w, i, CHAIN_END_FINAL);
			ck_assert(w.chain.has_failed);
		} else {
			ck_assert_int_eq(
			    chain_kind(&w.chain, i), STAGE_COMMAND);
		}
	}
}
END_TEST

/* What is new starts, and nothing else does. */
START_TEST(test_add)
{
	struct chain_world w;

	chain_world_run_fan(&w, 1, 1, &plain);
	chain_add_source(&w.chain, &command, w.now_ns);
	chain_add_sink(&w.chain, w.now_ns);
	ASKED(&w, "");
	chain_world_pass(&w, 0);
	ASKED(&w, "spawn sink1, spawn source1");
	ready(&w, STAGE_SOURCE, 1);
	ASKED(&w, "spawn command1");
	ck_assert_int_eq(state(&w, STAGE_SOURCE, 0), CHAIN_READY);
	ck_assert_int_eq(state(&w, STAGE_WAL, 0), CHAIN_READY);
	ck_assert_int_eq(state(&w, STAGE_SINK, 0), CHAIN_READY);
}
END_TEST

/* What is removed ends in order, and nothing follows from that. */
START_TEST(test_remove)
{
	struct chain_world w;

	chain_world_run_fan(&w, 2, 2, &plain);
	chain_remove(&w.chain, at(&w, STAGE_SOURCE, 0), w.now_ns);
	chain_remove(&w.chain, at(&w, STAGE_SINK, 1), w.now_ns);
	ASKED(&w, "term source0, term sink1");
	ck_assert(!chain_is_gone(&w.chain, at(&w, STAGE_SOURCE, 0)));
	/* Whatever it says of its end. */
	ended(&w, STAGE_SINK, 1, CHAIN_END_FINAL);
	ck_assert(!w.chain.has_failed);
	ck_assert(chain_is_gone(&w.chain, at(&w, STAGE_SINK, 1)));
	chain_drop(&w.chain, at(&w, STAGE_SINK, 1));
	chain_world_pass(&w, TIMEOUT);
	ASKED(&w, "kill source0");
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_BAD);
	ck_assert(chain_is_gone(&w.chain, at(&w, STAGE_SOURCE, 0)));
	ck_assert(chain_is_gone(&w.chain, at(&w, STAGE_COMMAND, 0)));
	chain_drop(&w.chain, at(&w, STAGE_SOURCE, 0));
	chain_world_pass(&w, 3600 * SECOND);
	ASKED(&w, "");
	ck_assert_uint_eq(chain_stages(&w.chain), STAGE_KINDS);
	ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
	for (int kind = STAGE_SOURCE; kind < STAGE_KINDS; kind++)
		ck_assert_int_eq(
		    state(&w, (enum stage_kind)kind, 0), CHAIN_READY);
}
END_TEST

/* What does not run is gone at once. */
START_TEST(test_remove_what_waits)
{
	struct chain_world w;

	chain_world_run_fan(&w, 2, 2, &command);
	ended(&w, STAGE_SINK, 0, CHAIN_END_BAD);
	chain_remove(&w.chain, at(&w, STAGE_SINK, 0), w.now_ns);
	ASKED(&w, "");
	ck_assert(chain_is_gone(&w.chain, at(&w, STAGE_SINK, 0)));
	/* What its command has written is read, though. */
	chain_remove(&w.chain, at(&w, STAGE_SOURCE, 1), w.now_ns);
	ASKED(&w, "term command1, drain source1");
	ended(&w, STAGE_COMMAND, 1, CHAIN_END_BAD);
	ck_assert(!chain_is_gone(&w.chain, at(&w, STAGE_COMMAND, 1)));
	/* But not for ever. */
	chain_world_pass(&w, TIMEOUT);
	ASKED(&w, "term source1");
	ended(&w, STAGE_SOURCE, 1, CHAIN_END_GOOD);
	ck_assert(chain_is_gone(&w.chain, at(&w, STAGE_COMMAND, 1)));
}
END_TEST

/* What is back while it ends begins anew when it has. */
START_TEST(test_back_again)
{
	struct chain_world w;

	chain_world_run_fan(&w, 2, 2, &command);
	chain_remove(&w.chain, at(&w, STAGE_SINK, 0), w.now_ns);
	chain_remove(&w.chain, at(&w, STAGE_SOURCE, 0), w.now_ns);
	ASKED(&w, "term sink0, term command0, drain source0");
	chain_renew(&w.chain, at(&w, STAGE_SINK, 0), NULL, w.now_ns);
	chain_renew(&w.chain, at(&w, STAGE_SOURCE, 0), &command, w.now_ns);
	ASKED(&w, "");
	ended(&w, STAGE_SINK, 0, CHAIN_END_GOOD);
	ASKED(&w, "spawn sink0");
	ended(&w, STAGE_COMMAND, 0, CHAIN_END_BAD);
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_DRY);
	ASKED(&w, "spawn source0");
	/* Also where one of the two had ended. */
	ready(&w, STAGE_SOURCE, 0);
	chain_remove(&w.chain, at(&w, STAGE_SOURCE, 0), w.now_ns);
	ASKED(&w, "spawn command0, term command0, drain source0");
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_BAD);
	ASKED(&w, "");
	chain_renew(&w.chain, at(&w, STAGE_SOURCE, 0), &command, w.now_ns);
	chain_world_pass(&w, 0);
	ASKED(&w, "");
	ended(&w, STAGE_COMMAND, 0, CHAIN_END_BAD);
	ASKED(&w, "spawn source0");
}
END_TEST

/* The last source that works is removed: those that are left have ended. */
START_TEST(test_remove_the_last_that_works)
{
	struct chain_world w;

	chain_world_run_fan(&w, 2, 1, &counted);
	ended(&w, STAGE_SOURCE, 0, CHAIN_END_GOOD);
	chain_remove(&w.chain, at(&w, STAGE_SOURCE, 1), w.now_ns);
	ASKED(&w, "term source1");
	ended(&w, STAGE_SOURCE, 1, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	chain_drop(&w.chain, at(&w, STAGE_SOURCE, 1));
	ended(&w, STAGE_WAL, 0, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
}
END_TEST

/* A command that hangs, and was taken from its source, is waited for. */
START_TEST(test_a_command_that_is_left)
{
	struct chain_world w;

	chain_world_run_fan(&w, 1, 1, &command);
	chain_renew(&w.chain, STAGE_COMMAND, &counted, w.now_ns);
	ASKED(&w, "term command, drain source");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	chain_world_ready(&w, STAGE_SOURCE);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ASKED(&w, "spawn source, drain wal, drain sink");
	ck_assert_int_eq(w.chain.goal, CHAIN_FINISH);
	chain_world_pass(&w, TIMEOUT);
	ASKED(&w, "kill command");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* Counts the stages of a kind that run. */
static size_t
count_running(const struct chain_world *w, enum stage_kind kind)
{
	size_t running = 0;

	for (size_t i = 0; i < chain_count(&w->chain, kind); i++)
		running += chain_runs(&w->chain, at(w, kind, i));
	return running;
}

/* However often all are replaced by others while they hang, there is room. */
START_TEST(test_all_are_replaced_again_and_again)
{
	static struct chain_world w;

	chain_world_run_fan(&w, CHAIN_MAX_RUNNING, CHAIN_MAX_RUNNING, &plain);
	for (int round = 0; round < 5; round++) {
		for (size_t i = chain_stages(&w.chain); i-- > 0;) {
			enum stage_kind kind = chain_kind(&w.chain, i);

			if (kind == STAGE_COMMAND || kind == STAGE_WAL ||
			    w.chain.stage[i].is_removed)
				continue;
			chain_remove(&w.chain, i, w.now_ns);
			chain_world_gather(&w);
			if (chain_is_gone(&w.chain, i))
				chain_drop(&w.chain, i);
		}
		for (size_t i = 0; i < CHAIN_MAX_RUNNING; i++) {
			chain_add_source(&w.chain, &plain, w.now_ns);
			chain_add_sink(&w.chain, w.now_ns);
		}
		w.done[0] = '\0';
		chain_world_pass(&w, 0);
		/* The new ones wait for their places. */
		ASKED(&w, "");
		ck_assert_uint_eq(w.chain.source_count, CHAIN_MAX_OF_KIND);
		ck_assert_uint_eq(w.chain.sink_count, CHAIN_MAX_OF_KIND);
	}
	/* A place is free when the one that had it is forgotten. */
	ended(&w, STAGE_SOURCE, 3, CHAIN_END_GOOD);
	ended(&w, STAGE_SINK, 9, CHAIN_END_GOOD);
	chain_world_pass(&w, 0);
	ASKED(&w, "");
	chain_drop(&w.chain, at(&w, STAGE_SOURCE, 3));
	chain_world_pass(&w, 0);
	ASKED(&w, "spawn source31");
	chain_drop(&w.chain, at(&w, STAGE_SINK, 9));
	chain_world_pass(&w, 0);
	ASKED(&w, "spawn sink31");
	ck_assert_uint_eq(count_running(&w, STAGE_SOURCE), CHAIN_MAX_RUNNING);
	ck_assert_uint_eq(count_running(&w, STAGE_SINK), CHAIN_MAX_RUNNING);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chain_fan");
	TCase *tests = tcase_create("chain_fan");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_positions);
	tcase_add_test(tests, test_start);
	tcase_add_test(tests, test_each_restarts_alone);
	tcase_add_test(tests, test_finish);
	tcase_add_test(tests, test_a_source_that_has_ended_stays_so);
	tcase_add_test(tests, test_stop);
	tcase_add_test(tests, test_stop_with_a_slow_command);
	tcase_add_test(tests, test_stop_without_some_sinks);
	tcase_add_test(tests, test_final);
	tcase_add_test(tests, test_add);
	tcase_add_test(tests, test_remove);
	tcase_add_test(tests, test_remove_what_waits);
	tcase_add_test(tests, test_back_again);
	tcase_add_test(tests, test_remove_the_last_that_works);
	tcase_add_test(tests, test_a_command_that_is_left);
	tcase_add_test(tests, test_all_are_replaced_again_and_again);
	return suite_run(suite);
}
