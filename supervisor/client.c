#include "supervisor/client.h"

#include "stage/buf.h"
#include "stage/lock.h"
#include "stage/loop.h"
#include "stage/mem.h"
#include "supervisor/server.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

/* How long the supervisor may hold its lock without a socket, how long a
 * connection may wait to be accepted, and how long its process may take to end
 * once its socket has. */
#define START_WAIT_NS (10 * LOOP_NS_PER_S)
#define START_POLL_NS (20 * LOOP_NS_PER_MS)
#define ACCEPT_WAIT_S 10
#define EXIT_WAIT_NS (10 * LOOP_NS_PER_S)

/* Bytes asked for in one read. */
#define READ_BYTES ((size_t)65536)

/* How long an answer is waited for; 0: as long as it takes. */
static const int64_t patience_ns[] = {
    [REQUEST_STATUS] = 10 * LOOP_NS_PER_S,
    [REQUEST_STOP] = 0,
    [REQUEST_RELOAD] = 60 * LOOP_NS_PER_S,
};
_Static_assert(sizeof(patience_ns) / sizeof(patience_ns[0]) == REQUEST_VERBS,
    "a patience is missing");

static const char ended_early[] = "the supervisor ended without an answer";
static const char too_late[] = "the supervisor did not answer in time";

/* Connects to the socket in `dir_fd`. Returns it, or -1 with errno set. */
static int
dial(int dir_fd)
{
	static const struct timeval limit = {.tv_sec = ACCEPT_WAIT_S};
	struct sockaddr_un address;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), saved;

	if (fd == -1)
		return -1;
	server_address(&address, dir_fd);
	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ==
		0 &&
	    connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
		return fd;
	saved = errno;
	(void)close(fd);
	errno = saved;
	return -1;
}

/* Says what it means that nobody could be reached, as errno has it. */
static enum client_result
explain(const char **why)
{
	if (errno == EACCES || errno == EPERM)
		return CLIENT_DENIED;
	if (errno == EAGAIN || errno == EWOULDBLOCK)
		*why = too_late;
	else
		*why = strerrordesc_np(errno);
	return CLIENT_FAILED;
}

/* Connects to the supervisor, waiting for one that is about to start. */
static enum client_result
reach(int dir_fd, int *fd, const char **why)
{
	const struct timespec pause = {.tv_nsec = START_POLL_NS};
	int64_t end_ns = loop_now_ns() + START_WAIT_NS;
	pid_t holder;

	while ((*fd = dial(dir_fd)) == -1) {
		if (errno != ENOENT && errno != ECONNREFUSED)
			return explain(why);
		if (lock_look(dir_fd, "LOCK", &holder) != 1)
			return CLIENT_ABSENT;
		if (loop_now_ns() >= end_ns) {
			*why = "a supervisor holds the lock, but has no socket";
			return CLIENT_FAILED;
		}
		(void)nanosleep(&pause, NULL);
	}
	return CLIENT_ANSWERED;
}

/* Waits until `fd` can be read. Returns false when `deadline_ns` is over. */
static bool
wait_readable(int fd, int64_t deadline_ns)
{
	struct pollfd poll_fd = {.fd = fd, .events = POLLIN};

	for (;;) {
		int64_t left_ns = deadline_ns - loop_now_ns();
		struct timespec left = {
		    .tv_sec = (time_t)(left_ns / LOOP_NS_PER_S),
		    .tv_nsec = (long)(left_ns % LOOP_NS_PER_S),
		};
		int n;

		if (left_ns < 0)
			return false;
		n = ppoll(&poll_fd, 1, deadline_ns == LOOP_NEVER ? NULL : &left,
		    NULL);
		if (n == 1)
			return true;
		if (n == -1 && errno != EINTR)
			return false;
	}
}

/*
 * Reads more of what the supervisor says. Returns false at its end, when the
 * time is over, or when it says too much; *why is then set.
 */
static bool
read_more(int fd, struct buf *in, int64_t deadline_ns, const char **why)
{
	uint8_t *to;
	ssize_t n;

	if (!wait_readable(fd, deadline_ns)) {
		*why = too_late;
		return false;
	}
	to = buf_reserve(in, READ_BYTES);
	if (to == NULL) {
		*why = "the supervisor's answer is too long";
		return false;
	}
	n = recv(fd, to, READ_BYTES, MSG_DONTWAIT);
	if (n == -1 && (errno == EAGAIN || errno == EINTR))
		return true;
	if (n <= 0) {
		*why = ended_early;
		return false;
	}
	buf_commit(in, (size_t)n);
	return true;
}

/* Waits for one line; see client_ask. */
static enum client_result
read_line(int fd, int64_t deadline_ns, char **answer, const char **why)
{
	enum client_result result = CLIENT_FAILED;
	size_t searched = 0;
	struct buf in;

	buf_init(&in, CLIENT_ANSWER_BYTES);
	while (read_more(fd, &in, deadline_ns, why)) {
		const uint8_t *from = buf_front(&in) + searched;
		const uint8_t *end =
		    memchr(from, '\n', buf_bytes(&in) - searched);

		searched = buf_bytes(&in);
		if (end == NULL)
			continue;
		*answer = mem_strndup((const char *)buf_front(&in),
		    (size_t)(end - buf_front(&in)));
		result = CLIENT_ANSWERED;
		break;
	}
	buf_fini(&in);
	return result;
}

/* Returns a descriptor of the supervisor's process, or -1: it cannot be
 * watched from here. */
static int
open_process(int fd)
{
	struct ucred peer;
	socklen_t bytes = sizeof(peer);

	if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &bytes) == -1 ||
	    peer.pid <= 0 || peer.pid == getpid())
		return -1;
	return pidfd_open(peer.pid, 0);
}

/* Waits until the supervisor has closed the socket, and until its process has
 * ended: only then is its lock free. */
static void
wait_for_end(int fd, int process_fd)
{
	char rest[256];
	ssize_t n;

	do
		n = recv(fd, rest, sizeof(rest), 0);
	while (n > 0 || (n == -1 && errno == EINTR));
	if (process_fd != -1)
		(void)wait_readable(process_fd, loop_now_ns() + EXIT_WAIT_NS);
}

/* Sends the request on a connection and reads the answer. */
static enum client_result
converse(int fd, enum request_verb verb, char **answer, const char **why)
{
	const char *line = request_line(verb);
	int64_t deadline_ns = patience_ns[verb] == 0
				  ? LOOP_NEVER
				  : loop_now_ns() + patience_ns[verb];
	int process_fd = verb == REQUEST_STOP ? open_process(fd) : -1;
	enum client_result result;

	/* A failure shows when the answer is read, which may say why. */
	(void)!send(fd, line, strlen(line), MSG_NOSIGNAL);
	result = read_line(fd, deadline_ns, answer, why);
	if (verb == REQUEST_STOP)
		wait_for_end(fd, process_fd);
	if (process_fd != -1)
		(void)close(process_fd);
	return result;
}

enum client_result
client_ask(const char *state_dir, enum request_verb verb, char **answer,
    const char **why)
{
	int dir_fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), fd;
	enum client_result result;

	if (dir_fd == -1)
		return errno == ENOENT || errno == ENOTDIR ? CLIENT_ABSENT
							   : explain(why);
	result = reach(dir_fd, &fd, why);
	(void)close(dir_fd);
	if (result != CLIENT_ANSWERED)
		return result;
	result = converse(fd, verb, answer, why);
	(void)close(fd);
	return result;
}
