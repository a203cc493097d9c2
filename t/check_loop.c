#include "stage/loop.h"
#include "t/suite.h"

#include <check.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <unistd.h>

static const int signals[] = {SIGTERM, SIGUSR1};

static struct loop loop;
static int pair[2];

static void
set_up(void)
{
	ck_assert_int_eq(loop_open(&loop, signals, 2), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
}

static void
tear_down(void)
{
	loop_close(&loop);
}

START_TEST(test_turn_ends_when_a_descriptor_is_ready)
{
	size_t in, out;

	loop_begin(&loop);
	in = loop_watch(&loop, pair[0], POLLIN);
	out = loop_watch(&loop, pair[0], POLLOUT);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(loop_ready(&loop, in), 0);
	ck_assert_int_eq(loop_ready(&loop, out), POLLOUT);

	ck_assert_int_eq(write(pair[1], "x", 1), 1);
	loop_begin(&loop);
	in = loop_watch(&loop, pair[0], POLLIN);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(loop_ready(&loop, in), POLLIN);
}
END_TEST

START_TEST(test_hang_up_shows_without_being_asked_for)
{
	size_t slot;

	(void)close(pair[1]);
	loop_begin(&loop);
	slot = loop_watch(&loop, pair[0], 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_ne(loop_ready(&loop, slot) & POLLHUP, 0);
}
END_TEST

START_TEST(test_turn_ends_at_its_earliest_deadline)
{
	int64_t start = loop_now_ns();

	loop_begin(&loop);
	loop_until(&loop, start + 3600 * LOOP_NS_PER_S);
	loop_until(&loop, start + 20 * LOOP_NS_PER_MS);
	loop_until(&loop, LOOP_NEVER);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_ge(loop_now_ns() - start, 20 * LOOP_NS_PER_MS);
}
END_TEST

START_TEST(test_deadline_in_the_past_does_not_wait)
{
	loop_begin(&loop);
	loop_until(&loop, 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	loop_begin(&loop);
	loop_until(&loop, INT64_MIN / 2);
	ck_assert_int_eq(loop_wait(&loop), 0);
}
END_TEST

/* Interest is stated anew each turn: nothing of the last one is left. */
START_TEST(test_begin_forgets_the_last_turn)
{
	loop_begin(&loop);
	(void)loop_watch(&loop, pair[0], POLLOUT);
	loop_until(&loop, 0);
	loop_begin(&loop);
	ck_assert_uint_eq(loop.count, 1);
	ck_assert_int_eq(loop.deadline_ns, LOOP_NEVER);
}
END_TEST

START_TEST(test_no_descriptor_is_never_ready)
{
	size_t slot;

	loop_begin(&loop);
	slot = loop_watch(&loop, -1, POLLIN | POLLOUT);
	/* Nor does it count against the limit of poll(2). */
	ck_assert_uint_eq(loop.count, 1);
	loop_until(&loop, 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(loop_ready(&loop, slot), 0);
}
END_TEST

/* Slot 0 stands for none, also while a signal is there. */
START_TEST(test_slot_0_is_never_ready)
{
	ck_assert_int_eq(raise(SIGTERM), 0);
	loop_begin(&loop);
	ck_assert_uint_gt(loop_watch(&loop, pair[0], 0), 0);
	ck_assert_uint_eq(loop_watch(&loop, -1, 0), 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(loop_ready(&loop, 0), 0);
}
END_TEST

START_TEST(test_more_descriptors_than_at_first)
{
	size_t slots[100];

	loop_begin(&loop);
	for (size_t i = 0; i < 100; i++)
		slots[i] =
		    loop_watch(&loop, i % 2 == 0 ? pair[0] : -1, POLLOUT);
	ck_assert_int_eq(loop_wait(&loop), 0);
	for (size_t i = 0; i < 100; i++)
		ck_assert_int_eq(
		    loop_ready(&loop, slots[i]), i % 2 == 0 ? POLLOUT : 0);
}
END_TEST

START_TEST(test_signals_arrive_in_the_loop)
{
	bool term = false, usr1 = false;
	int signal;

	ck_assert_int_eq(raise(SIGTERM), 0);
	ck_assert_int_eq(raise(SIGUSR1), 0);
	loop_begin(&loop);
	ck_assert_int_eq(loop_wait(&loop), 0);
	while ((signal = loop_signal(&loop)) != 0) {
		term = term || signal == SIGTERM;
		usr1 = usr1 || signal == SIGUSR1;
	}
	ck_assert(term && usr1);
	ck_assert_int_eq(loop_signal(&loop), 0);
}
END_TEST

START_TEST(test_no_signal_without_a_wait)
{
	loop_begin(&loop);
	loop_until(&loop, 0);
	ck_assert_int_eq(loop_wait(&loop), 0);
	ck_assert_int_eq(loop_signal(&loop), 0);
}
END_TEST

static void
on_alarm(int number)
{
	(void)number;
}

/* A signal that is not the loop's interrupts the turn; nothing is ready. */
START_TEST(test_interrupted_wait_finds_nothing_ready)
{
	struct sigaction action = {.sa_handler = on_alarm};
	struct sigaction ignored;
	size_t slot;

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	loop_begin(&loop);
	slot = loop_watch(&loop, pair[0], POLLIN);
	(void)ualarm(20000, 20000);
	ck_assert_int_eq(loop_wait(&loop), 0);
	(void)ualarm(0, 0);
	ck_assert_int_eq(loop_ready(&loop, slot), 0);
	ck_assert_int_eq(loop_signal(&loop), 0);
	ck_assert_int_eq(sigaction(SIGPIPE, NULL, &ignored), 0);
	ck_assert_ptr_eq(ignored.sa_handler, SIG_IGN);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("loop");
	TCase *tests = tcase_create("loop");

	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_turn_ends_when_a_descriptor_is_ready);
	tcase_add_test(tests, test_hang_up_shows_without_being_asked_for);
	tcase_add_test(tests, test_turn_ends_at_its_earliest_deadline);
	tcase_add_test(tests, test_deadline_in_the_past_does_not_wait);
	tcase_add_test(tests, test_begin_forgets_the_last_turn);
	tcase_add_test(tests, test_no_descriptor_is_never_ready);
	tcase_add_test(tests, test_slot_0_is_never_ready);
	tcase_add_test(tests, test_more_descriptors_than_at_first);
	tcase_add_test(tests, test_signals_arrive_in_the_loop);
	tcase_add_test(tests, test_no_signal_without_a_wait);
	tcase_add_test(tests, test_interrupted_wait_finds_nothing_ready);
	return suite_run(suite);
}
