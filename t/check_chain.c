/*
 * The automaton of an instance, on its own: what follows from what, in each
 * order, for stages of our own.
 */
#include "t/chain_world.h"
#include "t/suite.h"

#include <check.h>

START_TEST(test_start_by_readiness)
{
	struct chain_world w;

	chain_world_start(&w, true, CONFIG_ALWAYS);
	ASKED(&w, "spawn wal, spawn sink");
	chain_world_ready(&w, STAGE_SINK);
	ASKED(&w, "");
	chain_world_ready(&w, STAGE_WAL);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
	chain_world_pass(&w, 3600 * SECOND);
	ASKED(&w, "");
	ck_assert_int_eq(chain_deadline_ns(&w.chain), LOOP_NEVER);
}
END_TEST

/* Events are taken in while the sink cannot start. */
START_TEST(test_the_source_does_not_wait_for_the_sink)
{
	struct chain_world w;

	chain_world_start(&w, false, CONFIG_ALWAYS);
	ASKED(&w, "spawn wal, spawn sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	chain_world_ready(&w, STAGE_WAL);
	ASKED(&w, "spawn source");
	chain_world_pass(&w, 100 * MS);
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
		struct chain_world w;

		chain_world_run(&w, false, CONFIG_ALWAYS);
		chain_world_ended(&w, table[i].kind, CHAIN_END_BAD);
		ASKED(&w, "");
		chain_world_pass(&w, 99 * MS);
		ASKED(&w, "");
		chain_world_pass(&w, 1 * MS);
		ASKED(&w, table[i].spawn);
		chain_world_ready(&w, table[i].kind);
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
		struct chain_world w;

		chain_world_run(&w, false, CONFIG_ALWAYS);
		chain_world_ended(&w, kinds[i], CHAIN_END_GOOD);
		ck_assert_int_eq(w.chain.stage[kinds[i]].state, CHAIN_WAITING);
		ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
	}
}
END_TEST

/* A source that died while there was no WAL waits for that. */
START_TEST(test_the_source_waits_for_the_wal)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
	chain_world_pass(&w, 10 * SECOND);
	ASKED(&w, "");
	chain_world_ready(&w, STAGE_WAL);
	ASKED(&w, "spawn source");
}
END_TEST

START_TEST(test_delays)
{
	static const int64_t wanted[] = {
	    100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000, 30000};
	struct chain_world w;

	chain_world_start(&w, false, CONFIG_ALWAYS);
	for (size_t i = 0; i < COUNT(wanted); i++) {
		chain_world_gather(&w);
		chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
		ck_assert_int_eq(w.chain.stage[STAGE_SINK].delay_ms, wanted[i]);
		ck_assert_int_eq(
		    chain_deadline_ns(&w.chain), w.now_ns + wanted[i] * MS);
		chain_world_pass(&w, wanted[i] * MS);
		ck_assert_int_eq(
		    w.chain.stage[STAGE_SINK].state, CHAIN_STARTING);
	}
	/* A run of a minute makes it forget. */
	chain_world_pass(&w, 60 * SECOND);
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.stage[STAGE_SINK].delay_ms, 100);
	ck_assert_int_eq(chain_delay_ms(400, 59999), 800);
	ck_assert_int_eq(chain_delay_ms(400, 60000), 100);
}
END_TEST

/* One that could not be started is tried again like one that died. */
START_TEST(test_unborn)
{
	struct chain_world w;

	chain_world_start(&w, false, CONFIG_ALWAYS);
	chain_world_gather(&w);
	w.done[0] = '\0';
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_UNBORN);
	ck_assert(!w.chain.has_failed);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
}
END_TEST

START_TEST(test_final)
{
	static const enum chain_end ends[] = {
	    CHAIN_END_FINAL, CHAIN_END_BURIED};

	for (int kind = STAGE_SOURCE; kind < STAGE_KINDS; kind++) {
		for (size_t i = 0; i < COUNT(ends); i++) {
			struct chain_world w;

			chain_world_run(&w, false, CONFIG_ALWAYS);
			chain_world_ended(&w, (enum stage_kind)kind, ends[i]);
			ck_assert(w.chain.has_failed);
			chain_world_pass(&w, 3600 * SECOND);
			ck_assert_int_eq(
			    w.chain.stage[kind].state, CHAIN_ENDED);
		}
	}
}
END_TEST

/* The source ends, the WAL drains, then the sink. */
START_TEST(test_finish)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ON_FAILURE);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	ck_assert_int_eq(w.chain.goal, CHAIN_FINISH);
	/* For as long as it takes. */
	chain_world_pass(&w, 24 * 3600 * SECOND);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
	ASKED(&w, "");
}
END_TEST

/* Who dies on the way to the end comes again, but for the source. */
START_TEST(test_finish_with_deaths)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ON_FAILURE);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn wal, spawn sink");
	chain_world_ready(&w, STAGE_WAL);
	ASKED(&w, "drain wal");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "");
	chain_world_ready(&w, STAGE_SINK);
	ASKED(&w, "drain sink");
	/* All is confirmed: how it ends does not matter. */
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
	ck_assert(!w.chain.has_failed);
}
END_TEST

START_TEST(test_finish_without_a_sink)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ON_FAILURE);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain wal, drain sink");
	chain_world_pass(&w, 2 * SECOND);
	ASKED(&w, "term sink");
	chain_world_pass(&w, TIMEOUT);
	ASKED(&w, "kill sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* A source that counts is not done when it failed. */
START_TEST(test_a_source_that_failed_is_not_done)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ON_FAILURE);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn source");
}
END_TEST

START_TEST(test_stop_in_order)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term command");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	/* Its input has ended: it ends by itself. */
	ASKED(&w, "drain source");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* What is not delivered in time stays. */
START_TEST(test_stop_with_the_server_away)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term source");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	chain_world_pass(&w, TIMEOUT - 1);
	ASKED(&w, "");
	chain_world_pass(&w, 1);
	ASKED(&w, "term wal");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "term sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* Each that hangs is killed when its time is over, and the rest goes on. */
START_TEST(test_stop_with_all_hanging)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term source");
	chain_world_pass(&w, TIMEOUT);
	ASKED(&w, "kill source");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	ASKED(&w, "drain wal");
	chain_world_pass(&w, 0);
	ASKED(&w, "term wal");
	chain_world_pass(&w, 2 * SECOND);
	ASKED(&w, "kill wal");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
	ASKED(&w, "term sink");
	chain_world_pass(&w, 2 * SECOND);
	ASKED(&w, "kill sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* With nobody to drain to, the WAL is not left to wait. */
START_TEST(test_stop_without_a_sink)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	chain_stop(&w.chain, w.now_ns);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term source, term wal");

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term source, drain wal");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	ASKED(&w, "term wal");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

START_TEST(test_stop_while_waiting)
{
	struct chain_world w;

	chain_world_start(&w, true, CONFIG_ALWAYS);
	chain_world_gather(&w);
	w.done[0] = '\0';
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_BAD);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* A source that runs needs a WAL to give away what it has: as long as there is
 * time, whenever that died. */
START_TEST(test_stop_without_a_wal)
{
	for (int is_before = 0; is_before < 2; is_before++) {
		struct chain_world w;

		chain_world_run(&w, false, CONFIG_ALWAYS);
		if (is_before)
			chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
		chain_stop(&w.chain, w.now_ns);
		if (!is_before)
			chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
		ASKED(&w, "term source");
		chain_world_pass(&w, 100 * MS);
		ASKED(&w, "spawn wal");
		chain_world_ready(&w, STAGE_WAL);
		ASKED(&w, "");
		chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
		ASKED(&w, "drain wal");
		/* With the source gone it is not needed again. */
		chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
		ASKED(&w, "term sink");
	}
}
END_TEST

/* Nor does it matter who has ended it. */
START_TEST(test_stop_while_the_wal_is_renewed)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_renew(&w.chain, STAGE_WAL, &w.chain.source[0].rules, w.now_ns);
	chain_stop(&w.chain, w.now_ns);
	ASKED(&w, "term wal, term source");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn wal");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term wal");
}
END_TEST

/* But not when the time is over. */
START_TEST(test_stop_without_a_wal_or_time)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	chain_world_pass(&w, TIMEOUT - 50 * MS);
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
	ASKED(&w, "term source");
	chain_world_pass(&w, 50 * MS);
	ASKED(&w, "kill source");
	chain_world_pass(&w, SECOND);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	ASKED(&w, "term sink");

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_BAD);
	chain_stop(&w.chain, w.now_ns);
	chain_kill(&w.chain, w.now_ns);
	chain_world_pass(&w, SECOND);
	ASKED(&w, "term source, kill source, kill sink");
}
END_TEST

START_TEST(test_kill)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_stop(&w.chain, w.now_ns);
	chain_kill(&w.chain, w.now_ns);
	ASKED(&w, "term command, kill command, kill source, kill wal, "
		  "kill sink");
	for (int kind = 0; kind < STAGE_KINDS; kind++)
		chain_world_ended(&w, (enum stage_kind)kind, CHAIN_END_BAD);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chain");
	TCase *tests = tcase_create("chain");

	suite_add_tcase(suite, tests);
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
	tcase_add_test(tests, test_stop_without_a_wal);
	tcase_add_test(tests, test_stop_while_the_wal_is_renewed);
	tcase_add_test(tests, test_stop_without_a_wal_or_time);
	tcase_add_test(tests, test_kill);
	return suite_run(suite);
}
