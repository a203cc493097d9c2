/*
 * What is answered to who asks over the supervisor's socket: the fleet as JSON.
 */
#ifndef SUPERVISOR_ANSWER_H
#define SUPERVISOR_ANSWER_H

#include "supervisor/fleet.h"

#include <stdint.h>

/* What else a status tells. All borrowed. */
struct answer_about {
	const char *state; /* of the supervisor */
	const char *state_dir;
	int state_dir_fd;
	int64_t since_ns; /* CLOCK_REALTIME: when it started */
};

/* Both return a line without its newline; the caller frees it. */

/* How all stands, by the last reports: status.h. */
char *answer_status(
    const struct fleet *fleet, const struct answer_about *about);

/* What was left where, now that all is stopped: {"stopped":true,"instances":[
 * {"instance","pipeline","directory","left"}]}; `left` is null if the log did
 * not say. */
char *answer_stopped(const struct fleet *fleet);

#endif
