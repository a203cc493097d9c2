/* The supervisor's socket: what the server takes and answers. */
#include "stage/loop.h"
#include "stage/mem.h"
#include "supervisor/server.h"
#include "t/serving.h"
#include "t/suite.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static struct serving serving;

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

START_TEST(test_requests)
{
	static const struct {
		const char *text;
		enum request_verb verb;
	} table[] = {
	    {SERVING_STATUS, REQUEST_STATUS},
	    {"{\"command\":\"stop\"}\n", REQUEST_STOP},
	    {" { \"x\" : [1], \"command\" : \"reload\" } \r\n", REQUEST_RELOAD},
	    {SERVING_STATUS "what stands behind it is not read\n",
		REQUEST_STATUS},
	};

	for (size_t i = 0; i < COUNT(table); i++) {
		int fd = serving_ask(&serving, table[i].text);
		struct server_request request = serving_take(&serving);

		ck_assert_int_eq(request.verb, table[i].verb);
		serving_must_be_silent(&serving);
		server_answer(&serving.server, request.id, "{\"a\":1}");
		serving_must_hear(fd, "{\"a\":1}\n");
	}
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
}
END_TEST

START_TEST(test_refusals)
{
	static const char *const table[] = {
	    "\n",
	    "status\n",
	    "{\"command\":\"status\"\n",
	    "{\"command\":\"status\"}}\n",
	    "{\"command\":\"Status\"}\n",
	    "{\"command\":1}\n",
	    "{}\n",
	    "[\"status\"]\n",
	    "{\"command\":\"\xff\"}\n",
	};
	char text[512];

	for (size_t i = 0; i < COUNT(table); i++) {
		int fd = serving_ask(&serving, table[i]);

		serving_must_be_silent(&serving);
		ck_assert_int_gt(serving_hear(fd, text, sizeof(text)), 0);
		ck_assert_msg(
		    strncmp(text, "{\"error\":\"", 10) == 0, "%s", text);
		ck_assert_str_eq(text + strlen(text) - 3, "\"}\n");
		ck_assert_int_eq(serving_hear(fd, text, sizeof(text)), 0);
		(void)close(fd);
	}
}
END_TEST

/* A line of 4096 bytes is read, one byte more is too long, however long it
 * goes on; the client hears of it and is not reset. */
START_TEST(test_longest_request)
{
	static const size_t sizes[] = {4096, 4097, 30000};

	for (size_t i = 0; i < COUNT(sizes); i++) {
		char *line = mem_alloc(sizes[i] + 2);
		int fd;

		memset(line, ' ', sizes[i]);
		memcpy(line, SERVING_STATUS, sizeof(SERVING_STATUS) - 2);
		memcpy(line + sizes[i], "\n", 2);
		fd = serving_ask(&serving, line);
		free(line);
		if (sizes[i] <= REQUEST_MAX_BYTES) {
			server_answer(
			    &serving.server, serving_take(&serving).id, "{}");
			serving_must_hear(fd, "{}\n");
			continue;
		}
		serving_must_be_silent(&serving);
		serving_must_hear(
		    fd, "{\"error\":\"longer than a request may be\"}\n");
	}
}
END_TEST

START_TEST(test_cut_at_every_byte)
{
	int fd = serving_dial(&serving);

	serving_turn(&serving);
	for (size_t i = 0; i < sizeof(SERVING_STATUS) - 1; i++) {
		serving_must_be_silent(&serving);
		ck_assert_int_eq(send(fd, SERVING_STATUS + i, 1, 0), 1);
		serving_turn(&serving);
	}
	server_answer(&serving.server, serving_take(&serving).id, "{}");
	serving_must_hear(fd, "{}\n");
}
END_TEST

/* A client that says no more still hears; its end of file ends its line. */
START_TEST(test_half_closed)
{
	int fd = serving_dial(&serving);
	struct server_request request;

	serving_say(fd, "{\"command\":\"stop\"}");
	serving_turn(&serving);
	serving_turn(&serving);
	serving_must_be_silent(&serving);
	(void)shutdown(fd, SHUT_WR);
	serving_turn(&serving);
	request = serving_take(&serving);
	ck_assert_int_eq(request.verb, REQUEST_STOP);
	/* What is half closed does not wake anybody. */
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	ck_assert_uint_eq(serving_count_ready(&serving), 0);
	server_answer(&serving.server, request.id, "{}");
	serving_must_hear(fd, "{}\n");
}
END_TEST

/* Whoever has left in any state is forgotten, and its place is free. */
START_TEST(test_clients_that_leave)
{
	struct server_request request;
	char *json = serving_long_answer(4 << 20);
	int fd = serving_dial(&serving);

	serving_turn(&serving);
	(void)close(fd);
	serving_turn(&serving);
	serving_must_be_silent(&serving);

	fd = serving_ask(&serving, SERVING_STATUS);
	request = serving_take(&serving);
	ck_assert(server_is_awaited(&serving.server, request.id));
	(void)close(fd);
	serving_turn(&serving);
	ck_assert(!server_is_awaited(&serving.server, request.id));
	server_answer(&serving.server, request.id, "{}");

	fd = serving_ask(&serving, SERVING_STATUS);
	request = serving_take(&serving);
	(void)close(fd);
	server_answer(&serving.server, request.id, json);

	fd = serving_ask(&serving, SERVING_STATUS);
	request = serving_take(&serving);
	server_answer(&serving.server, request.id, json);
	(void)close(fd);
	serving_turn(&serving);
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		ck_assert_int_eq(serving.server.clients[i].life, SERVER_FREE);
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	free(json);
}
END_TEST

/* A request counts though its client has not waited for the answer. */
START_TEST(test_a_request_and_no_patience)
{
	int fd = serving_dial(&serving);

	serving_turn(&serving);
	serving_say(fd, "{\"command\":\"stop\"}\n");
	(void)close(fd);
	serving_turn(&serving);
	ck_assert_int_eq(serving_take(&serving).verb, REQUEST_STOP);
}
END_TEST

/* An answer goes to the client that it is for, and to no later one. */
START_TEST(test_answers_out_of_order)
{
	int fds[3];
	struct server_request requests[3];

	for (size_t i = 0; i < 3; i++) {
		fds[i] = serving_ask(&serving, SERVING_STATUS);
		requests[i] = serving_take(&serving);
	}
	(void)close(fds[1]);
	serving_turn(&serving);
	fds[1] = serving_ask(&serving, SERVING_STATUS);
	server_answer(&serving.server, requests[1].id, "{\"to\":\"nobody\"}");
	server_answer(&serving.server, requests[2].id, "{\"to\":2}");
	server_answer(&serving.server, requests[0].id, "{\"to\":0}");
	server_answer(&serving.server, serving_take(&serving).id, "{\"to\":1}");
	serving_must_hear(fds[0], "{\"to\":0}\n");
	serving_must_hear(fds[1], "{\"to\":1}\n");
	serving_must_hear(fds[2], "{\"to\":2}\n");
}
END_TEST

START_TEST(test_the_socket_is_private)
{
	struct stat st;

	server_close(&serving.server);
	(void)umask(0);
	ck_assert_int_eq(server_open(&serving.server, serving.dir_fd), 0);
	ck_assert_int_eq(umask(0), 0);
	ck_assert_int_eq(fstatat(serving.dir_fd, SERVER_SOCKET, &st, 0), 0);
	ck_assert(S_ISSOCK(st.st_mode));
	ck_assert_int_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(
	    fcntl(serving.server.fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}
END_TEST

/* Another user is refused, even where the file would let it in. */
START_TEST(test_another_user)
{
	static const char line[] =
	    "{\"error\":\"only its own user and root may ask this\"}\n";
	int status;
	pid_t child;

	if (geteuid() != 0)
		return;
	ck_assert_int_eq(fchmod(serving.dir_fd, 0755), 0);
	ck_assert_int_eq(fchmodat(serving.dir_fd, SERVER_SOCKET, 0777, 0), 0);
	child = fork();
	if (child == 0) {
		char text[256] = "";
		struct sockaddr_un address;
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		server_address(&address, serving.dir_fd);
		if (setuid(65534) == -1 ||
		    connect(fd, (struct sockaddr *)&address, sizeof(address)) ==
			-1)
			_exit(2);
		(void)send(fd, SERVING_STATUS, sizeof(SERVING_STATUS) - 1,
		    MSG_NOSIGNAL);
		(void)!recv(fd, text, sizeof(text) - 1, MSG_WAITALL);
		_exit(strcmp(text, line) == 0 ? 0 : 1);
	}
	(void)serving_watch(&serving);
	ck_assert_int_eq(loop_wait(&serving.loop), 0);
	server_turn(&serving.server, &serving.loop);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	serving_must_be_silent(&serving);
}
END_TEST

START_TEST(test_what_has_its_name_already)
{
	struct server second;
	int file;

	/* What a dead supervisor left: nobody listens on it any more. */
	(void)close(serving.server.fd);
	serving.server.fd = -1;
	ck_assert_int_eq(server_open(&second, serving.dir_fd), 0);
	(void)close(serving_dial(&serving));
	server_close(&second);
	server_close(&second);
	ck_assert_int_eq(faccessat(serving.dir_fd, SERVER_SOCKET, F_OK, 0), -1);

	/* Something else is somebody's, and stays. */
	file = openat(serving.dir_fd, SERVER_SOCKET, O_CREAT | O_RDWR, 0600);
	ck_assert_int_ne(file, -1);
	(void)close(file);
	ck_assert_int_eq(server_open(&second, serving.dir_fd), -1);
	ck_assert_int_eq(errno, EADDRINUSE);
	ck_assert_int_eq(second.fd, -1);
	ck_assert_int_eq(faccessat(serving.dir_fd, SERVER_SOCKET, F_OK, 0), 0);
}
END_TEST

/* A path that sockaddr_un has no room for. */
START_TEST(test_a_long_path)
{
	char name[201];
	struct server second;
	int sub_fd;

	memset(name, 'n', sizeof(name) - 1);
	name[sizeof(name) - 1] = '\0';
	ck_assert_int_eq(mkdirat(serving.dir_fd, name, 0700), 0);
	sub_fd = openat(serving.dir_fd, name, O_RDONLY | O_DIRECTORY);
	ck_assert_int_eq(server_open(&second, sub_fd), 0);
	ck_assert_int_eq(faccessat(sub_fd, SERVER_SOCKET, F_OK, 0), 0);
	server_close(&second);
	(void)close(sub_fd);
	ck_assert_int_eq(unlinkat(serving.dir_fd, name, AT_REMOVEDIR), 0);
}
END_TEST

/* Clients hear the end when the server closes, whatever they wait for. */
START_TEST(test_close_with_clients)
{
	int reading = serving_dial(&serving), owed;
	char text[8];

	serving_turn(&serving);
	owed = serving_ask(&serving, SERVING_STATUS);
	(void)serving_take(&serving);
	server_close(&serving.server);
	ck_assert_int_eq(serving_hear(reading, text, sizeof(text)), 0);
	ck_assert_int_eq(serving_hear(owed, text, sizeof(text)), 0);
	ck_assert_int_eq(serving_watch(&serving), LOOP_NEVER);
	(void)close(reading);
	(void)close(owed);
}
END_TEST

int
main(void)
{
	Suite *suite = suite_create("server");
	TCase *tests = tcase_create("server");

	mem_init();
	suite_add_tcase(suite, tests);
	tcase_add_checked_fixture(tests, set_up, tear_down);
	tcase_add_test(tests, test_requests);
	tcase_add_test(tests, test_refusals);
	tcase_add_test(tests, test_longest_request);
	tcase_add_test(tests, test_cut_at_every_byte);
	tcase_add_test(tests, test_half_closed);
	tcase_add_test(tests, test_clients_that_leave);
	tcase_add_test(tests, test_a_request_and_no_patience);
	tcase_add_test(tests, test_answers_out_of_order);
	tcase_add_test(tests, test_the_socket_is_private);
	tcase_add_test(tests, test_another_user);
	tcase_add_test(tests, test_what_has_its_name_already);
	tcase_add_test(tests, test_a_long_path);
	tcase_add_test(tests, test_close_with_clients);
	return suite_run(suite);
}
