/*
 * The automaton of an instance: commands of onramps, and stages that are
 * started anew since their commands have changed.
 */
#include "t/chain_world.h"
#include "t/suite.h"

#include <check.h>
#include <string.h>

/* A command that ends is followed by another, with another pipe. */
START_TEST(test_command_always)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_GOOD);
	ASKED(&w, "");
	/* The rest of its output comes first, however long that takes. */
	chain_world_pass(&w, 100 * SECOND);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
	ck_assert_int_eq(w.chain.source[0].pipe, CHAIN_PIPE_FRESH);
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
	/* The other way round: the delay is what takes long. */
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ck_assert_int_eq(w.chain.source[0].pipe, CHAIN_PIPE_NONE);
	ASKED(&w, "");
	chain_world_pass(&w, 200 * MS);
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
		struct chain_world w;

		chain_world_run(&w, true, table[i].restart);
		chain_world_ended(&w, STAGE_COMMAND, table[i].end);
		chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
		ASKED(&w, table[i].is_over ? "drain wal" : "");
		ck_assert_int_eq(
		    w.chain.goal, table[i].is_over ? CHAIN_FINISH : CHAIN_RUN);
	}
}
END_TEST

/* A command that could not be started is none that has ended. */
START_TEST(test_command_unborn)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_NEVER);
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_UNBORN);
	ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn command");
	ck_assert_int_eq(w.chain.source[0].pipe, CHAIN_PIPE_USED);
}
END_TEST

/* A command that closes its output and runs on: its source has nothing more to
 * do, and another comes when the command has ended. */
START_TEST(test_command_that_closes_its_output)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	chain_world_pass(&w, 100 * SECOND);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.source[0].pipe, CHAIN_PIPE_NONE);
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_GOOD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn source");
	/* And where there will be no other. */
	chain_world_run(&w, true, CONFIG_NEVER);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	chain_world_pass(&w, 100 * SECOND);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	ck_assert_int_eq(w.chain.goal, CHAIN_FINISH);
}
END_TEST

/* A source that was told to end by somebody else has left something to read,
 * whether its command runs or not. */
START_TEST(test_source_that_ends_before_its_input)
{
	for (int runs = 0; runs < 2; runs++) {
		struct chain_world w;

		chain_world_run(&w, true, CONFIG_NEVER);
		if (!runs)
			chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_GOOD);
		chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
		ck_assert_int_eq(w.chain.source[0].pipe, CHAIN_PIPE_USED);
		chain_world_pass(&w, 100 * MS);
		ASKED(&w, "spawn source");
	}
}
END_TEST

/* The source is killed, its command lives on: the same pipe. */
START_TEST(test_command_outlives_its_source)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	ck_assert_int_eq(w.chain.source[0].pipe, CHAIN_PIPE_USED);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "");
	/* Both at once: first what is left in the pipe. */
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	chain_world_pass(&w, 10 * SECOND);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
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
		struct chain_world w;

		chain_world_run(&w, false, CONFIG_ALWAYS);
		chain_renew(&w.chain, table[i].kind, &w.chain.source[0].rules,
		    w.now_ns);
		ASKED(&w, table[i].term);
		chain_world_ended(&w, table[i].kind, CHAIN_END_GOOD);
		ASKED(&w, table[i].spawn);
		ck_assert_int_eq(w.chain.goal, CHAIN_RUN);
		/* One that hangs is killed. */
		chain_world_ready(&w, table[i].kind);
		chain_renew(&w.chain, table[i].kind, &w.chain.source[0].rules,
		    w.now_ns);
		chain_world_pass(&w, TIMEOUT);
		chain_world_ended(&w, table[i].kind, CHAIN_END_BAD);
		chain_world_gather(&w);
		ck_assert_ptr_nonnull(strstr(w.done, "kill"));
		ck_assert_ptr_nonnull(strstr(w.done, table[i].spawn));
		w.done[0] = '\0';
		/* One that waits for its turn does not wait any more. */
		chain_world_ended(&w, table[i].kind, CHAIN_END_BAD);
		ASKED(&w, "");
		chain_renew(&w.chain, table[i].kind, &w.chain.source[0].rules,
		    w.now_ns);
		ASKED(&w, "");
		chain_world_pass(&w, 0);
		ASKED(&w, table[i].spawn);
	}
}
END_TEST

/* One that was never turned starts nothing, whatever is asked of it. */
START_TEST(test_renew_before_the_first_turn)
{
	struct chain_rules rules = {false, CONFIG_ALWAYS};

	for (int kind = STAGE_SOURCE; kind < STAGE_KINDS; kind++) {
		struct chain_world w;

		chain_world_open(&w, 1, 1, &rules);
		chain_renew(&w.chain, (enum stage_kind)kind, &rules, w.now_ns);
		ASKED(&w, "");
		chain_world_pass(&w, 0);
		ASKED(&w, "spawn wal, spawn sink");
	}
}
END_TEST

START_TEST(test_renew_a_command)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_renew(
	    &w.chain, STAGE_COMMAND, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "term command, drain source");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
}
END_TEST

/* Another change leaves a source alone that reads what is left; and so does one
 * that does away with the command. */
START_TEST(test_renew_while_the_source_drains)
{
	struct chain_rules plain = {false, CONFIG_ALWAYS};
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_renew(
	    &w.chain, STAGE_COMMAND, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "term command, drain source");
	chain_renew(
	    &w.chain, STAGE_COMMAND, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "");
	chain_renew(&w.chain, STAGE_COMMAND, &plain, w.now_ns);
	ASKED(&w, "");
	chain_renew(&w.chain, STAGE_SOURCE, &plain, w.now_ns);
	ASKED(&w, "");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
}
END_TEST

/* A source that cannot be told yet to read what is left is told so when it can
 * be. */
START_TEST(test_renew_before_the_source_is_ready)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_BAD);
	chain_world_pass(&w, 100 * MS);
	ASKED(&w, "spawn source");
	chain_renew(
	    &w.chain, STAGE_COMMAND, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "term command");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "drain source");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
}
END_TEST

/* Nothing is left of a command that could not be started: there is nothing to
 * wait for. */
START_TEST(test_renew_a_command_unborn)
{
	struct chain_world w;

	chain_world_run(&w, true, CONFIG_ALWAYS);
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_GOOD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	chain_world_pass(&w, 100 * MS);
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn source, spawn command");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_UNBORN);
	ASKED(&w, "");
	chain_renew(
	    &w.chain, STAGE_COMMAND, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "term source");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
}
END_TEST

START_TEST(test_renew_into_another_kind_of_source)
{
	struct chain_rules plain = {false, CONFIG_ALWAYS};
	struct chain_rules command = {true, CONFIG_ALWAYS};
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_renew(&w.chain, STAGE_SOURCE, &command, w.now_ns);
	ASKED(&w, "term source");
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "spawn command");
	chain_renew(&w.chain, STAGE_COMMAND, &plain, w.now_ns);
	ASKED(&w, "term command, drain source");
	chain_world_ended(&w, STAGE_COMMAND, CHAIN_END_BAD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_DRY);
	ASKED(&w, "spawn source");
	chain_world_ready(&w, STAGE_SOURCE);
	ASKED(&w, "");
	ck_assert_int_eq(w.chain.stage[STAGE_COMMAND].state, CHAIN_ENDED);
}
END_TEST

/* What stands behind a source that has ended starts anew; the source does not.
 */
START_TEST(test_renew_while_finishing)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_NEVER);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "drain wal");
	chain_renew(&w.chain, STAGE_SOURCE, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "");
	chain_renew(&w.chain, STAGE_WAL, &w.chain.source[0].rules, w.now_ns);
	chain_renew(&w.chain, STAGE_SINK, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "term wal, term sink");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ASKED(&w, "spawn wal, spawn sink");
	chain_world_ready(&w, STAGE_SINK);
	chain_world_ready(&w, STAGE_WAL);
	ASKED(&w, "drain wal");
	chain_world_ended(&w, STAGE_WAL, CHAIN_END_GOOD);
	ASKED(&w, "drain sink");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	ck_assert_int_eq(w.chain.goal, CHAIN_OVER);
}
END_TEST

/* What is asked for while it stops is forgotten. */
START_TEST(test_no_renewal_while_stopping)
{
	struct chain_world w;

	chain_world_run(&w, false, CONFIG_ALWAYS);
	chain_renew(&w.chain, STAGE_SINK, &w.chain.source[0].rules, w.now_ns);
	chain_stop(&w.chain, w.now_ns);
	chain_renew(&w.chain, STAGE_WAL, &w.chain.source[0].rules, w.now_ns);
	ASKED(&w, "term sink, term source");
	chain_world_ended(&w, STAGE_SINK, CHAIN_END_GOOD);
	chain_world_ended(&w, STAGE_SOURCE, CHAIN_END_GOOD);
	ASKED(&w, "term wal");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("chain_command");
	TCase *tests = tcase_create("chain_command");

	suite_add_tcase(suite, tests);
	tcase_add_test(tests, test_command_always);
	tcase_add_test(tests, test_command_that_ends_for_good);
	tcase_add_test(tests, test_command_unborn);
	tcase_add_test(tests, test_command_that_closes_its_output);
	tcase_add_test(tests, test_source_that_ends_before_its_input);
	tcase_add_test(tests, test_command_outlives_its_source);
	tcase_add_test(tests, test_renew);
	tcase_add_test(tests, test_renew_before_the_first_turn);
	tcase_add_test(tests, test_renew_a_command);
	tcase_add_test(tests, test_renew_while_the_source_drains);
	tcase_add_test(tests, test_renew_before_the_source_is_ready);
	tcase_add_test(tests, test_renew_a_command_unborn);
	tcase_add_test(tests, test_renew_into_another_kind_of_source);
	tcase_add_test(tests, test_renew_while_finishing);
	tcase_add_test(tests, test_no_renewal_while_stopping);
	return suite_run(suite);
}
