#include "supervisor/backlog.h"

#include "stage/buf.h"
#include "stage/loop.h"
#include "stage/mem.h"

#include <cjson/cJSON.h>

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

/* What inspect prints has a part for each segment: much, at worst. */
#define ANSWER_BYTES ((size_t)64 << 20)
#define READ_BYTES ((size_t)65536)

/* Starts `walproc inspect` with its output going to `out_fd`. Returns 0 with
 * *pid set, or an error's number. */
static int
spawn(const char *bin_dir, const char *directory, int out_fd, pid_t *pid)
{
	char *program = mem_printf("%s/walproc", bin_dir);
	char *path = mem_strdup(directory);
	char word[] = "inspect", option[] = "--json";
	char *const argv[] = {program, word, option, path, NULL};
	posix_spawn_file_actions_t actions;
	int error = posix_spawn_file_actions_init(&actions);

	if (error == 0) {
		error = posix_spawn_file_actions_addopen(
		    &actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
		if (error == 0)
			error = posix_spawn_file_actions_adddup2(
			    &actions, out_fd, STDOUT_FILENO);
		if (error == 0)
			error = posix_spawn(
			    pid, program, &actions, NULL, argv, environ);
		(void)posix_spawn_file_actions_destroy(&actions);
	}
	free(program);
	free(path);
	return error;
}

/* Reads all from `fd`. Returns 0, or -1: too much, or not in time. */
static int
read_all(int fd, int64_t deadline_ns, struct buf *in)
{
	for (;;) {
		int64_t left_ns = deadline_ns - loop_now_ns();
		struct pollfd poll_fd = {.fd = fd, .events = POLLIN};
		uint8_t *to = buf_reserve(in, READ_BYTES);
		ssize_t n;

		if (left_ns < 0 || to == NULL)
			return -1;
		if (poll(&poll_fd, 1, (int)(left_ns / LOOP_NS_PER_MS) + 1) < 1)
			continue;
		n = read(fd, to, READ_BYTES);
		if (n == 0)
			return 0;
		if (n == -1 && errno != EINTR)
			return -1;
		if (n > 0)
			buf_commit(in, (size_t)n);
	}
}

/* Reads a whole number that is a member. Returns 0, or -1 if it is none. */
static int
get_number(const cJSON *json, const char *name, uint64_t *number)
{
	const cJSON *value = cJSON_GetObjectItemCaseSensitive(json, name);

	if (!cJSON_IsNumber(value) || !(value->valuedouble >= 0) ||
	    value->valuedouble > (double)(INT64_MAX / 2))
		return -1;
	*number = (uint64_t)value->valuedouble;
	return 0;
}

static int
parse(const struct buf *in, struct backlog *backlog)
{
	cJSON *json =
	    cJSON_ParseWithLength((const char *)buf_front(in), buf_bytes(in));
	struct backlog found;
	int result = get_number(json, "elements", &found.stored);

	if (result == 0)
		result = get_number(json, "bytes", &found.bytes);
	if (result == 0)
		*backlog = found;
	cJSON_Delete(json);
	return result;
}

int
backlog_look(const char *bin_dir, const char *directory, int64_t deadline_ns,
    struct backlog *backlog)
{
	int out[2], status = 0, result = -1;
	struct buf in;
	pid_t pid;

	if (loop_now_ns() >= deadline_ns || pipe2(out, O_CLOEXEC) == -1)
		return -1;
	if (spawn(bin_dir, directory, out[1], &pid) != 0) {
		(void)close(out[0]);
		(void)close(out[1]);
		return -1;
	}
	(void)close(out[1]);
	buf_init(&in, ANSWER_BYTES);
	result = read_all(out[0], deadline_ns, &in);
	(void)close(out[0]);
	/* Nothing it does is left half done: it only looks. */
	if (result == -1)
		(void)kill(pid, SIGKILL);
	while (waitpid(pid, &status, 0) == -1 && errno == EINTR)
		;
	if (result == 0 && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
		result = -1;
	if (result == 0)
		result = parse(&in, backlog);
	buf_fini(&in);
	return result;
}
