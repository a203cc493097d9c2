/* The supervisor's socket: time, places and descriptors, all of them limited.
 */
#include "stage/loop.h"
#include "stage/mem.h"
#include "supervisor/server.h"
#include "t/serving.h"
#include "t/suite.h"

#include <check.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static struct serving serving;

/* The clock can be moved on. */
static int64_t passed_ns;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = __real_clock_gettime(clock, now);

	now->tv_sec += (time_t)(passed_ns / LOOP_NS_PER_S);
	return result;
}

static void
set_up(void)
{
	passed_ns = 0;
	serving_open(&serving);
}

static void
tear_down(void)
{
	serving_close(&serving);
}

START_TEST(test_a_client_that_says_nothing)
{
	int fd = serving_dial(&serving);
	char text[8];

	serving_turn(&serving);
	ck_assert_int_le(
	    serving_watch(&serving), loop_now_ns() + SERVER_PATIENCE_NS);
	passed_ns = SERVER_PATIENCE_NS - LOOP_NS_PER_S;
	serving_say(fd, "{");
	serving_turn(&serving);
	ck_assert_int_eq(serving_hear(fd, text, sizeof(text)), -1);
	/* Saying a little at a time does not help. */
	passed_ns = SERVER_PATIENCE_NS;
	serving_turn(&serving);
	ck_assert_int_eq(serving_hear(fd, text, sizeof(text)), 0);
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	(void)close(fd);
}
END_TEST

/* An answer may take as long as it needs. */
START_TEST(test_no_deadline_while_an_answer_is_owed)
{
	int fd = serving_ask(&serving, SERVING_STATUS);
	struct server_request request = serving_take(&serving);

	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	passed_ns = 100 * SERVER_PATIENCE_NS;
	serving_turn(&serving);
	server_answer(&serving.server, request.id, "{}");
	serving_must_hear(fd, "{}\n");
}
END_TEST

START_TEST(test_a_client_that_does_not_read)
{
	char *json = serving_long_answer(4 << 20);
	int fd = serving_ask(&serving, SERVING_STATUS);

	server_answer(&serving.server, serving_take(&serving).id, json);
	ck_assert(server_is_answering(&serving.server));
	serving_turn(&serving);
	ck_assert(server_is_answering(&serving.server));
	passed_ns = SERVER_PATIENCE_NS;
	serving_turn(&serving);
	ck_assert(!server_is_answering(&serving.server));
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	(void)close(fd);
	free(json);
}
END_TEST

/* One that reads slowly has its patience anew with each piece. */
START_TEST(test_a_client_that_reads_slowly)
{
	size_t bytes = 4 << 20, heard = 0;
	char *json = serving_long_answer(bytes), *text = mem_alloc(bytes + 2);
	int fd = serving_ask(&serving, SERVING_STATUS);

	server_answer(&serving.server, serving_take(&serving).id, json);
	for (int i = 0; i < 1000 && heard <= bytes; i++) {
		ssize_t n =
		    recv(fd, text + heard, bytes + 1 - heard, MSG_DONTWAIT);

		ck_assert_int_gt(n, 0);
		heard += (size_t)n;
		passed_ns += SERVER_PATIENCE_NS / 2;
		serving_turn(&serving);
		/* There is no room for more again. */
		serving_turn(&serving);
	}
	ck_assert_uint_eq(heard, bytes + 1);
	ck_assert_mem_eq(text, json, bytes);
	ck_assert_int_eq(text[bytes], '\n');
	ck_assert_int_eq(recv(fd, text, 1, MSG_DONTWAIT), 0);
	(void)close(fd);
	free(json);
	free(text);
}
END_TEST

/* One more than there is room for waits, and wakes nobody. */
START_TEST(test_more_clients_than_there_is_room_for)
{
	int fds[SERVER_CLIENTS + 1];
	struct server_request requests[SERVER_CLIENTS], request;
	char text[8];

	for (size_t i = 0; i <= SERVER_CLIENTS; i++) {
		fds[i] = serving_dial(&serving);
		serving_say(fds[i], SERVING_STATUS);
	}
	serving_turn(&serving);
	serving_turn(&serving);
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		ck_assert(server_next(&serving.server, &requests[i]));
	serving_must_be_silent(&serving);
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	ck_assert_uint_eq(serving_count_ready(&serving), 0);
	ck_assert_int_eq(
	    serving_hear(fds[SERVER_CLIENTS], text, sizeof(text)), -1);
	server_answer(&serving.server, requests[0].id, "{}");
	serving_turn(&serving);
	serving_turn(&serving);
	request = serving_take(&serving);
	server_answer(&serving.server, request.id, "{}");
	serving_must_hear(fds[0], "{}\n");
	serving_must_hear(fds[SERVER_CLIENTS], "{}\n");
	for (size_t i = 1; i < SERVER_CLIENTS; i++)
		(void)close(fds[i]);
}
END_TEST

/* Without a descriptor for who waits, nothing spins; it is tried again after a
 * while, or when a client has left. */
START_TEST(test_no_descriptor_left)
{
	struct rlimit limit, tight;
	struct server_request request;
	int first = serving_ask(&serving, SERVING_STATUS), second, third;

	request = serving_take(&serving);
	second = serving_dial(&serving);
	third = serving_dial(&serving);
	serving_say(second, SERVING_STATUS);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	tight = limit;
	tight.rlim_cur = (rlim_t)third + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	/* There may be a gap in the numbers; fill it. */
	while (dup(third) != -1)
		;
	serving_turn(&serving);
	ck_assert_int_ne(serving.server.pause_ns, 0);
	ck_assert_int_le(
	    serving_watch(&serving), loop_now_ns() + LOOP_NS_PER_S);
	ck_assert_uint_eq(serving_count_ready(&serving), 0);

	/* A client that leaves makes room for one. */
	server_answer(&serving.server, request.id, "{}");
	ck_assert_int_eq(serving.server.pause_ns, 0);
	serving_turn(&serving);
	serving_turn(&serving);
	server_answer(&serving.server, serving_take(&serving).id, "{}");
	serving_must_hear(second, "{}\n");
	(void)close(first);

	/* And so may time. */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &tight), 0);
	while (dup(third) != -1)
		;
	serving_turn(&serving);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	serving_say(third, SERVING_STATUS);
	serving_turn(&serving);
	passed_ns = LOOP_NS_PER_S;
	serving_turn(&serving);
	serving_turn(&serving);
	serving_turn(&serving);
	server_answer(&serving.server, serving_take(&serving).id, "{}");
	serving_must_hear(third, "{}\n");
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("server limits");
	TCase *tests = tcase_create("server limits");

	mem_init();
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_a_client_that_says_nothing);
	tcase_add_test(tests, test_no_deadline_while_an_answer_is_owed);
	tcase_add_test(tests, test_a_client_that_does_not_read);
	tcase_add_test(tests, test_a_client_that_reads_slowly);
	tcase_add_test(tests, test_more_clients_than_there_is_room_for);
	tcase_add_test(tests, test_no_descriptor_left);
	return suite_run(suite);
}
