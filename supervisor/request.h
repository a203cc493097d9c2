/*
 * What is asked over the supervisor's socket, one line each way:
 *
 *   {"command":"status"}   how all stands
 *   {"command":"stop"}     stop in order; the answer comes when that is done
 *   {"command":"reload"}   read the configuration anew
 *
 * The answer is one JSON object on one line; {"error":"..."} is that of a
 * request that was refused. Pure bytes: no descriptor.
 */
#ifndef SUPERVISOR_REQUEST_H
#define SUPERVISOR_REQUEST_H

#include <stddef.h>
#include <stdint.h>

enum request_verb {
	REQUEST_STATUS,
	REQUEST_STOP,
	REQUEST_RELOAD,
	REQUEST_VERBS,
};

/* The longest request read, without its newline. */
#define REQUEST_MAX_BYTES ((size_t)4096)

/*
 * Reads a request, without its newline. Other members than the command are
 * ignored. Returns 0 with *verb set, or -1 with *why saying what is wrong with
 * it (a constant string).
 */
int request_parse(const uint8_t *in, size_t in_bytes, enum request_verb *verb,
    const char **why);

/* Returns the request as a line with its newline; a constant string. */
const char *request_line(enum request_verb verb);

/* Returns the answer, without a newline, that says why a request was refused.
 * `why` is UTF-8. The caller frees it. */
char *request_error(const char *why);

#endif
