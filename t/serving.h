/*
 * A server of the supervisor's socket for tests: in a directory of its own,
 * driven turn by turn, with clients in the same process. What fails here is
 * the test's own trouble, and aborts it.
 */
#ifndef T_SERVING_H
#define T_SERVING_H

#include "stage/loop.h"
#include "supervisor/server.h"

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define SERVING_STATUS "{\"command\":\"status\"}\n"

struct serving {
	char path[64];
	int dir_fd;
	struct loop loop;
	struct server server;
};

/* Makes the directory and opens the server in it. */
void serving_open(struct serving *serving);

/* Closes the server and removes the directory. */
void serving_close(struct serving *serving);

/* States what is waited for, and returns the deadline. */
int64_t serving_watch(struct serving *serving);

/* One turn of the loop, which does not wait. */
void serving_turn(struct serving *serving);

/* Asks poll what is ready without doing it. Returns how much is. */
size_t serving_count_ready(struct serving *serving);

/* Connects to the server. The caller closes it. */
int serving_dial(const struct serving *serving);

/* Sends a text to the server. */
void serving_say(int fd, const char *text);

/* Connects; returns when the server has accepted that and read `text`. */
int serving_ask(struct serving *serving, const char *text);

/* Takes what has come: its length, 0 at the end of the stream, -1 if nothing
 * is there. `out` is NUL terminated. */
ssize_t serving_hear(int fd, char *out, size_t room);

/* The whole of what the client gets is this line; closes it. */
void serving_must_hear(int fd, const char *line);

/* Takes a request, which must be there. */
struct server_request serving_take(struct serving *serving);

/* No request is there. */
void serving_must_be_silent(struct serving *serving);

/* Returns an answer that no socket takes at once; the caller frees it. */
char *serving_long_answer(size_t bytes);

#endif
