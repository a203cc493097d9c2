/* The client of the supervisor's socket, with a server in a process of its
 * own, as it is. */
#include "stage/lock.h"
#include "stage/loop.h"
#include "stage/mem.h"
#include "supervisor/client.h"
#include "t/serving.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Longer than anything here takes that does not hang. */
#define PATIENCE_S 30

static struct serving serving;

/* The clock jumps when SIGALRM says so. */
static volatile sig_atomic_t passed_s;

int __real_clock_gettime(clockid_t clock, struct timespec *now);
int __wrap_clock_gettime(clockid_t clock, struct timespec *now);

int
__wrap_clock_gettime(clockid_t clock, struct timespec *now)
{
	int result = __real_clock_gettime(clock, now);

	now->tv_sec += passed_s;
	return result;
}

static void
jump(int number)
{
	(void)number;
	passed_s += 20;
}

static void
set_up(void)
{
	serving_open(&serving);
}

static void
tear_down(void)
{
	serving_close(&serving);
}

static void
nap(long ms)
{
	struct timespec time = {.tv_nsec = ms * LOOP_NS_PER_MS};

	(void)nanosleep(&time, NULL);
}

/* Waits for a request, as the server. */
static struct server_request
wait_for_request(void)
{
	struct server_request request;

	for (;;) {
		(void)serving_watch(&serving);
		if (loop_wait(&serving.loop) == -1)
			_exit(3);
		server_turn(&serving.server, &serving.loop);
		if (server_next(&serving.server, &request))
			return request;
	}
}

/* Writes all answers out, and lets the client go. */
static void
finish(void)
{
	while (server_is_answering(&serving.server)) {
		(void)serving_watch(&serving);
		if (loop_wait(&serving.loop) == -1)
			_exit(3);
		server_turn(&serving.server, &serving.loop);
	}
	server_close(&serving.server);
}

/* Says to whoever started this process that it has come so far. */
static void
tell_started(int fd)
{
	if (write(fd, ".", 1) != 1)
		_exit(3);
}

/*
 * Runs `serve` in a process that ends with what it returns, or by a signal when
 * it takes too long; returns when it has told that it has started. Its argument
 * is where to tell that. This process has no server any more.
 */
static pid_t
start(int (*serve)(int started_fd))
{
	int started[2];
	pid_t child;
	char byte;

	server_close(&serving.server);
	ck_assert_int_eq(pipe(started), 0);
	child = fork();
	ck_assert_int_ne(child, -1);
	if (child == 0) {
		(void)alarm(PATIENCE_S);
		_exit(serve(started[1]));
	}
	(void)close(started[1]);
	ck_assert_int_eq(read(started[0], &byte, 1), 1);
	(void)close(started[0]);
	return child;
}

/* Opens the server in the process that is it. */
static void
begin(int started_fd)
{
	if (server_open(&serving.server, serving.dir_fd) == -1)
		_exit(3);
	tell_started(started_fd);
}

static void
must_end_well(pid_t child)
{
	int status;

	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
}

static enum client_result
ask(enum request_verb verb, char **answer)
{
	const char *why = NULL;
	enum client_result result =
	    client_ask(serving.path, verb, answer, &why);

	ck_assert((why != NULL) == (result == CLIENT_FAILED));
	return result;
}

static int
answer_status(int started_fd)
{
	struct server_request request;

	begin(started_fd);
	request = wait_for_request();
	if (request.verb != REQUEST_STATUS)
		return 1;
	server_answer(&serving.server, request.id, "{\"a\":1}");
	/* It goes on, and the client has what it wants. */
	(void)pause();
	return 0;
}

START_TEST(test_status)
{
	pid_t child = start(answer_status);
	char *answer = NULL;

	ck_assert_int_eq(ask(REQUEST_STATUS, &answer), CLIENT_ANSWERED);
	ck_assert_str_eq(answer, "{\"a\":1}");
	free(answer);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
}
END_TEST

static int
answer_at_length(int started_fd)
{
	char *text = serving_long_answer(3 << 20);

	begin(started_fd);
	server_answer(&serving.server, wait_for_request().id, text);
	finish();
	return 0;
}

START_TEST(test_long_answer)
{
	pid_t child = start(answer_at_length);
	char *answer = NULL;

	ck_assert_int_eq(ask(REQUEST_RELOAD, &answer), CLIENT_ANSWERED);
	ck_assert_uint_eq(strlen(answer), 3 << 20);
	free(answer);
	must_end_well(child);
}
END_TEST

/* Holds the lock, and lives on for a while when all is closed. */
static int
stop_slowly(int started_fd)
{
	struct server_request request;
	pid_t holder;
	int fd;

	if (lock_take(serving.dir_fd, "LOCK", &fd, &holder) != LOCK_TAKEN)
		return 2;
	begin(started_fd);
	request = wait_for_request();
	if (request.verb != REQUEST_STOP)
		return 1;
	nap(50);
	server_answer(&serving.server, request.id, "{\"stopped\":true}");
	finish();
	nap(100);
	return 0;
}

/* Whoever has heard of the stop can take the lock. */
START_TEST(test_stop_waits_for_the_end)
{
	pid_t child = start(stop_slowly), holder;
	char *answer = NULL;
	int fd;

	ck_assert_int_eq(ask(REQUEST_STOP, &answer), CLIENT_ANSWERED);
	ck_assert_str_eq(answer, "{\"stopped\":true}");
	ck_assert_int_eq(
	    lock_take(serving.dir_fd, "LOCK", &fd, &holder), LOCK_TAKEN);
	(void)close(fd);
	free(answer);
	must_end_well(child);
	(void)unlinkat(serving.dir_fd, "LOCK", 0);
}
END_TEST

static int
die_early(int started_fd)
{
	begin(started_fd);
	(void)wait_for_request();
	return 0;
}

START_TEST(test_no_answer)
{
	pid_t child = start(die_early);
	char *answer = NULL;

	ck_assert_int_eq(ask(REQUEST_STOP, &answer), CLIENT_FAILED);
	ck_assert_ptr_null(answer);
	must_end_well(child);
}
END_TEST

static int
never_answer(int started_fd)
{
	begin(started_fd);
	(void)wait_for_request();
	(void)pause();
	return 0;
}

/* The time is over by the clock, not by any waiting of this test. */
START_TEST(test_too_late)
{
	struct itimerval soon = {{0, 50000}, {0, 50000}};
	struct sigaction action = {.sa_handler = jump};
	pid_t child = start(never_answer);
	char *answer = NULL;

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
	ck_assert_int_eq(ask(REQUEST_STATUS, &answer), CLIENT_FAILED);
	ck_assert_int_ge(passed_s, 10);
	passed_s = 0;
	ck_assert_int_eq(ask(REQUEST_RELOAD, &answer), CLIENT_FAILED);
	ck_assert_int_ge(passed_s, 60);
	soon = (struct itimerval){{0, 0}, {0, 0}};
	ck_assert_int_eq(setitimer(ITIMER_REAL, &soon, NULL), 0);
	(void)kill(child, SIGKILL);
	(void)waitpid(child, NULL, 0);
}
END_TEST

START_TEST(test_nobody_there)
{
	char *answer = NULL;
	const char *why = NULL;

	/* The socket of one that is dead. */
	(void)close(serving.server.fd);
	serving.server.fd = -1;
	ck_assert_int_eq(ask(REQUEST_STATUS, &answer), CLIENT_ABSENT);
	/* None, in a directory that is there. */
	ck_assert_int_eq(unlinkat(serving.dir_fd, SERVER_SOCKET, 0), 0);
	ck_assert_int_eq(ask(REQUEST_STOP, &answer), CLIENT_ABSENT);
	ck_assert_int_eq(
	    client_ask("/nonexistent/dir", REQUEST_STOP, &answer, &why),
	    CLIENT_ABSENT);
	ck_assert_int_eq(client_ask("/dev/null", REQUEST_STOP, &answer, &why),
	    CLIENT_ABSENT);
}
END_TEST

/* Has the lock for a while before it listens. */
static int
start_slowly(int started_fd)
{
	pid_t holder;
	int fd;

	if (lock_take(serving.dir_fd, "LOCK", &fd, &holder) != LOCK_TAKEN)
		return 2;
	tell_started(started_fd);
	nap(100);
	if (server_open(&serving.server, serving.dir_fd) == -1)
		return 3;
	server_answer(&serving.server, wait_for_request().id, "{}");
	finish();
	return 0;
}

START_TEST(test_one_that_is_about_to_start)
{
	pid_t child = start(start_slowly);
	char *answer = NULL;

	ck_assert_int_eq(ask(REQUEST_STATUS, &answer), CLIENT_ANSWERED);
	free(answer);
	must_end_well(child);
	(void)unlinkat(serving.dir_fd, "LOCK", 0);
}
END_TEST

/* Asks as a user who may not. */
static void
ask_as_nobody(void)
{
	const char *why = NULL;
	char *answer = NULL;
	pid_t child = fork();

	if (child == 0) {
		if (setuid(65534) == -1)
			_exit(2);
		if (client_ask(serving.path, REQUEST_STATUS, &answer, &why) !=
		    CLIENT_DENIED)
			_exit(1);
		_exit(errno == EACCES ? 0 : 3);
	}
	must_end_well(child);
}

START_TEST(test_one_who_may_not)
{
	if (geteuid() != 0)
		return;
	ask_as_nobody();
	/* The directory is open to all, the socket is not. */
	ck_assert_int_eq(fchmod(serving.dir_fd, 0755), 0);
	ask_as_nobody();
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("client");
	TCase *tests = tcase_create("client");

	mem_init();
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_set_timeout(tests, 2 * PATIENCE_S);
	tcase_add_test(tests, test_status);
	tcase_add_test(tests, test_long_answer);
	tcase_add_test(tests, test_stop_waits_for_the_end);
	tcase_add_test(tests, test_no_answer);
	tcase_add_test(tests, test_too_late);
	tcase_add_test(tests, test_nobody_there);
	tcase_add_test(tests, test_one_that_is_about_to_start);
	tcase_add_test(tests, test_one_who_may_not);
	return suite_run(suite);
}
