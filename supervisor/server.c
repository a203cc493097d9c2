#include "supervisor/server.h"

#include "stage/mem.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where accept fails, for want of descriptors say, it is tried again after
 * this time, or when a client has left. */
#define PAUSE_NS LOOP_NS_PER_S

/* How much is taken at most of what a client says beyond its request. */
#define REST_READS 16

void
server_address(struct sockaddr_un *address, int dir_fd)
{
	*address = (struct sockaddr_un){.sun_family = AF_UNIX};
	(void)snprintf(address->sun_path, sizeof(address->sun_path),
	    "/proc/self/fd/%d/" SERVER_SOCKET, dir_fd);
}

/* Removes the socket that a dead supervisor left; nothing else. */
static void
remove_socket(int dir_fd)
{
	struct stat st;

	if (fstatat(dir_fd, SERVER_SOCKET, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISSOCK(st.st_mode))
		(void)unlinkat(dir_fd, SERVER_SOCKET, 0);
}

/* Gives the socket its name, with mode 0600. 0, or -1 with errno set. */
static int
bind_private(int fd, int dir_fd)
{
	struct sockaddr_un address;
	mode_t mask;
	int result;

	server_address(&address, dir_fd);
	mask = umask(0177);
	result = bind(fd, (struct sockaddr *)&address, sizeof(address));
	(void)umask(mask);
	return result;
}

int
server_open(struct server *server, int dir_fd)
{
	int saved;

	*server = (struct server){.fd = -1, .dir_fd = dir_fd};
	for (size_t i = 0; i < SERVER_CLIENTS; i++) {
		server->clients[i].fd = -1;
		buf_init(&server->clients[i].in, REQUEST_MAX_BYTES + 1);
	}
	server->fd =
	    socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (server->fd == -1)
		return -1;
	remove_socket(dir_fd);
	if (bind_private(server->fd, dir_fd) == 0 &&
	    listen(server->fd, SERVER_CLIENTS) == 0)
		return 0;
	saved = errno;
	(void)close(server->fd);
	server->fd = -1;
	errno = saved;
	return -1;
}

/* Takes what the client has sent and nobody reads: with that in its queue, a
 * connection ends by a reset, for both ends. */
static void
take_rest(int fd)
{
	char rest[REQUEST_MAX_BYTES];

	for (int i = 0; i < REST_READS; i++)
		if (recv(fd, rest, sizeof(rest), MSG_DONTWAIT) <= 0)
			return;
}

static void
drop(struct server *server, struct server_client *client)
{
	take_rest(client->fd);
	(void)close(client->fd);
	client->fd = -1;
	client->life = SERVER_FREE;
	client->slot = 0;
	buf_fini(&client->in);
	free(client->out);
	client->out = NULL;
	/* There is a descriptor to be had again. */
	server->pause_ns = 0;
}

/* Writes what the client takes of its answer; drops it after the last byte. */
static void
write_answer(struct server *server, struct server_client *client)
{
	ssize_t n;

	do
		n = send(client->fd, client->out + client->sent_bytes,
		    client->out_bytes - client->sent_bytes,
		    MSG_DONTWAIT | MSG_NOSIGNAL);
	while (n == -1 && errno == EINTR);
	if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	if (n > 0) {
		client->sent_bytes += (size_t)n;
		client->deadline_ns = loop_now_ns() + SERVER_PATIENCE_NS;
	}
	if (n == -1 || client->sent_bytes == client->out_bytes)
		drop(server, client);
}

static void
answer(struct server *server, struct server_client *client, const char *json)
{
	client->out = mem_printf("%s\n", json);
	client->out_bytes = strlen(client->out);
	client->sent_bytes = 0;
	client->life = SERVER_ANSWERING;
	client->deadline_ns = loop_now_ns() + SERVER_PATIENCE_NS;
	write_answer(server, client);
}

static void
refuse(struct server *server, struct server_client *client, const char *why)
{
	char *text = request_error(why);

	answer(server, client, text);
	free(text);
}

/* Says whether the client may ask. The mode of the file says so already, but
 * whoever opens the directory to others may not mean to give this away. */
static bool
is_allowed(int fd)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == -1)
		return false;
	return peer.uid == 0 || peer.uid == geteuid();
}

static void
welcome(struct server *server, struct server_client *client, int fd)
{
	client->fd = fd;
	client->id = server->next_id++;
	client->life = SERVER_READING;
	client->deadline_ns = loop_now_ns() + SERVER_PATIENCE_NS;
	client->slot = 0;
	if (!is_allowed(fd))
		refuse(
		    server, client, "only its own user and root may ask this");
}

/* Returns an entry without a client, or NULL. */
static struct server_client *
find_free(struct server *server)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		if (server->clients[i].life == SERVER_FREE)
			return &server->clients[i];
	return NULL;
}

static void
accept_all(struct server *server)
{
	struct server_client *client;

	while ((client = find_free(server)) != NULL) {
		int fd = accept4(
		    server->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

		if (fd != -1) {
			welcome(server, client, fd);
			continue;
		}
		if (errno == EINTR || errno == ECONNABORTED)
			continue;
		/* The one that waits would wake us at once, again and again. */
		if (errno != EAGAIN && errno != EWOULDBLOCK)
			server->pause_ns = loop_now_ns() + PAUSE_NS;
		return;
	}
}

/* Judges the first `bytes` that the client has sent, which are its request. */
static void
take_request(struct server *server, struct server_client *client, size_t bytes)
{
	const char *why;

	if (request_parse(buf_front(&client->in), bytes, &client->verb, &why) ==
	    -1) {
		refuse(server, client, why);
		return;
	}
	client->life = SERVER_ASKED;
	client->deadline_ns = LOOP_NEVER;
}

static void
read_request(struct server *server, struct server_client *client)
{
	size_t had = buf_bytes(&client->in), room = buf_left(&client->in);
	uint8_t *to = buf_reserve(&client->in, room);
	const uint8_t *end;
	ssize_t n;

	do
		n = recv(client->fd, to, room, MSG_DONTWAIT);
	while (n == -1 && errno == EINTR);
	if (n == -1 && (errno == EAGAIN || errno == EWOULDBLOCK))
		return;
	/* The end of what it sends ends a line too: it may still read. */
	if (n <= 0) {
		if (n == -1 || had == 0)
			drop(server, client);
		else
			take_request(server, client, had);
		return;
	}
	buf_commit(&client->in, (size_t)n);
	end = memchr(to, '\n', (size_t)n);
	if (end != NULL)
		take_request(
		    server, client, (size_t)(end - buf_front(&client->in)));
	else if (buf_left(&client->in) == 0)
		take_request(server, client, buf_bytes(&client->in));
}

/* What poll is asked for, by life. Where nothing is asked, it still tells of a
 * client that has left altogether. */
static short
wanted(enum server_life life)
{
	if (life == SERVER_READING)
		return POLLIN;
	return life == SERVER_ANSWERING ? POLLOUT : 0;
}

void
server_watch(struct server *server, struct loop *loop)
{
	bool is_open = server->fd != -1 && server->pause_ns == 0 &&
		       find_free(server) != NULL;

	server->slot = loop_watch(loop, is_open ? server->fd : -1, POLLIN);
	if (server->fd != -1 && server->pause_ns != 0)
		loop_until(loop, server->pause_ns);
	for (size_t i = 0; i < SERVER_CLIENTS; i++) {
		struct server_client *client = &server->clients[i];

		client->slot = 0;
		if (client->life == SERVER_FREE)
			continue;
		client->slot =
		    loop_watch(loop, client->fd, wanted(client->life));
		loop_until(loop, client->deadline_ns);
	}
}

static void
turn_client(struct server *server, struct server_client *client, short ready)
{
	if (ready != 0 && client->life == SERVER_READING)
		read_request(server, client);
	else if (ready != 0 && client->life == SERVER_ANSWERING)
		write_answer(server, client);
	else if ((ready & (POLLHUP | POLLERR)) != 0)
		drop(server, client);
	else if (loop_now_ns() >= client->deadline_ns)
		drop(server, client);
}

void
server_turn(struct server *server, const struct loop *loop)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++) {
		struct server_client *client = &server->clients[i];

		if (client->life != SERVER_FREE)
			turn_client(
			    server, client, loop_ready(loop, client->slot));
	}
	if (server->pause_ns != 0 && loop_now_ns() >= server->pause_ns)
		server->pause_ns = 0;
	if (server->fd != -1 && loop_ready(loop, server->slot) != 0)
		accept_all(server);
}

bool
server_next(struct server *server, struct server_request *request)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++) {
		struct server_client *client = &server->clients[i];

		if (client->life != SERVER_ASKED)
			continue;
		client->life = SERVER_OWED;
		*request = (struct server_request){client->verb, client->id};
		return true;
	}
	return false;
}

void
server_answer(struct server *server, uint64_t id, const char *json)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++) {
		struct server_client *client = &server->clients[i];

		if (client->life == SERVER_OWED && client->id == id) {
			answer(server, client, json);
			return;
		}
	}
}

bool
server_is_awaited(const struct server *server, uint64_t id)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		if (server->clients[i].life == SERVER_OWED &&
		    server->clients[i].id == id)
			return true;
	return false;
}

bool
server_is_answering(const struct server *server)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		if (server->clients[i].life == SERVER_ANSWERING)
			return true;
	return false;
}

void
server_hide(const struct server *server)
{
	if (server->fd != -1)
		remove_socket(server->dir_fd);
}

bool
server_has_clients(const struct server *server, const struct loop *loop)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		if (server->clients[i].life != SERVER_FREE)
			return true;
	return loop_ready(loop, server->slot) != 0;
}

void
server_close(struct server *server)
{
	for (size_t i = 0; i < SERVER_CLIENTS; i++)
		if (server->clients[i].life != SERVER_FREE)
			drop(server, &server->clients[i]);
	if (server->fd == -1)
		return;
	remove_socket(server->dir_fd);
	(void)close(server->fd);
	server->fd = -1;
}
