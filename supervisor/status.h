/*
 * The answer to a status request: plain structs in, one line of JSON out. Pure.
 * What stands in it is told in supervisor(1).
 *
 * The numbers of an instance's flow come from the last reports of its stages.
 * What is not known, as a report is missing, is null.
 */
#ifndef SUPERVISOR_STATUS_H
#define SUPERVISOR_STATUS_H

#include "supervisor/link.h"
#include "supervisor/orphans.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

/* All pointers are borrowed for the call. Texts may hold any bytes; those that
 * are not UTF-8 are escaped. */
struct status_stage {
	enum stage_kind kind;
	bool is_removed; /* it is on its way to its end */
	const char *id;
	const char *program;
	pid_t pid; /* 0: it does not run */
	const char *state;
	int64_t since_ns; /* CLOCK_REALTIME: in that state */
	uint64_t restarts;
	const char *last_exit; /* NULL: it has not ended yet */
	const cJSON *report;   /* an object; NULL: none */
};

struct status_instance {
	const char *instance;
	const char *pipeline;
	const char *binding;
	const char *state;
	const char *directory; /* of its log */
	const struct status_stage *stages;
	size_t stage_count;
};

struct status {
	pid_t pid;
	const char *state;
	const char *state_dir;
	int64_t since_ns; /* CLOCK_REALTIME: of the start */
	const struct status_instance *instances;
	size_t instance_count;
	const struct orphans *orphans; /* NULL: none */
};

/* Returns the status without a newline; the caller frees it. */
char *status_put(const struct status *status);

#endif
