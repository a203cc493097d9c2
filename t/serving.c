#include "t/serving.h"

#include "stage/mem.h"

#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

void
serving_open(struct serving *serving)
{
	static const int signals[] = {SIGUSR1};

	(void)snprintf(
	    serving->path, sizeof(serving->path), "%s", "/tmp/serving.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(serving->path));
	serving->dir_fd =
	    open(serving->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ne(serving->dir_fd, -1);
	ck_assert_int_eq(loop_open(&serving->loop, signals, 1), 0);
	ck_assert_int_eq(server_open(&serving->server, serving->dir_fd), 0);
}

void
serving_close(struct serving *serving)
{
	server_close(&serving->server);
	loop_close(&serving->loop);
	(void)unlinkat(serving->dir_fd, SERVER_SOCKET, 0);
	(void)close(serving->dir_fd);
	ck_assert_int_eq(rmdir(serving->path), 0);
}

int64_t
serving_watch(struct serving *serving)
{
	loop_begin(&serving->loop);
	server_watch(&serving->server, &serving->loop);
	return serving->loop.deadline_ns;
}

void
serving_turn(struct serving *serving)
{
	(void)serving_watch(serving);
	loop_until(&serving->loop, 0);
	ck_assert_int_eq(loop_wait(&serving->loop), 0);
	server_turn(&serving->server, &serving->loop);
}

size_t
serving_count_ready(struct serving *serving)
{
	size_t count = 0;

	(void)serving_watch(serving);
	loop_until(&serving->loop, 0);
	ck_assert_int_eq(loop_wait(&serving->loop), 0);
	for (size_t i = 0; i < serving->loop.count; i++)
		count += serving->loop.fds[i].revents != 0 ? 1 : 0;
	return count;
}

int
serving_dial(const struct serving *serving)
{
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	server_address(&address, serving->dir_fd);
	ck_assert_int_eq(
	    connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
	return fd;
}

void
serving_say(int fd, const char *text)
{
	ck_assert_int_eq(
	    send(fd, text, strlen(text), MSG_NOSIGNAL), (ssize_t)strlen(text));
}

int
serving_ask(struct serving *serving, const char *text)
{
	int fd = serving_dial(serving);

	serving_turn(serving);
	serving_say(fd, text);
	serving_turn(serving);
	return fd;
}

ssize_t
serving_hear(int fd, char *out, size_t room)
{
	ssize_t n = recv(fd, out, room - 1, MSG_DONTWAIT);

	if (n == -1)
		ck_assert_int_eq(errno, EAGAIN);
	out[n > 0 ? n : 0] = '\0';
	return n;
}

void
serving_must_hear(int fd, const char *line)
{
	char text[8192];

	ck_assert_int_gt(serving_hear(fd, text, sizeof(text)), 0);
	ck_assert_str_eq(text, line);
	ck_assert_int_eq(serving_hear(fd, text, sizeof(text)), 0);
	(void)close(fd);
}

struct server_request
serving_take(struct serving *serving)
{
	struct server_request request;

	ck_assert(server_next(&serving->server, &request));
	return request;
}

void
serving_must_be_silent(struct serving *serving)
{
	struct server_request request;

	ck_assert(!server_next(&serving->server, &request));
}

char *
serving_long_answer(size_t bytes)
{
	char *json = mem_alloc(bytes + 1);

	memset(json, 'x', bytes);
	json[bytes] = '\0';
	return json;
}
