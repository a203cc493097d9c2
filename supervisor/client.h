/*
 * The other end of the supervisor's socket (server.h): sends one request and
 * waits for its answer. What the answer says is for the caller.
 */
#ifndef SUPERVISOR_CLIENT_H
#define SUPERVISOR_CLIENT_H

#include "supervisor/request.h"

/* The longest answer taken. */
#define CLIENT_ANSWER_BYTES ((size_t)64 << 20)

enum client_result {
	CLIENT_ANSWERED, /* *answer is set */
	CLIENT_ABSENT,	 /* no supervisor runs with that directory */
	CLIENT_DENIED,	 /* we may not ask; errno says why */
	CLIENT_FAILED,	 /* *why says why; perhaps better later */
};

/*
 * Asks the supervisor of the state directory `state_dir`. One that is about to
 * start, so that it holds the lock and has no socket yet, is waited for up to
 * 10 s. A status is waited for up to 10 s, a reload up to 60 s, a stop as long
 * as it takes; then also for the end of the supervisor's process, so that
 * another may start at once (for that, up to 10 s from the end of its socket).
 * CLIENT_ANSWERED: *answer is one line without its newline, NUL terminated,
 * not checked, the caller's to free. Any other result leaves it; CLIENT_FAILED
 * sets *why to a constant string.
 */
enum client_result client_ask(const char *state_dir, enum request_verb verb,
    char **answer, const char **why);

#endif
