/*
 * What is to be run: the configuration as its files have it, and what else
 * decides over the commands of the stages. It can be read again.
 */
#ifndef SUPERVISOR_PLAN_H
#define SUPERVISOR_PLAN_H

#include "supervisor/command.h"
#include "supervisor/config.h"
#include "supervisor/faults.h"

#include <stdbool.h>
#include <stddef.h>

/* Where a plan comes from. All borrowed. */
struct plan_source {
	const char *const *paths; /* files and directories */
	size_t path_count;
	const char *verbosity; /* for the stages: "-v", "-q" or NULL */
	bool is_live; /* stages run: what would wait for another is refused */
};

struct plan {
	struct config config;
	char *bin_dir;	 /* owned */
	char *state_dir; /* owned */
	struct command_context context;
};

/*
 * Reads the files, and checks them and what they name. Returns 0 with *plan to
 * be given to plan_fini; or -1, nothing to be freed, and at least one fault.
 * What is odd is added to `notes`.
 */
int plan_read(struct plan *plan, const struct plan_source *source,
    struct faults *faults, struct faults *notes);

/*
 * Reads only where things are, to ask a supervisor that runs already: bin_dir
 * and state_dir are set, no instance is. Faults in the files do not matter if
 * one says where the state is; they are added to `faults` all the same. Returns
 * 0 with *plan to be given to plan_fini; or -1, nothing to be freed, and at
 * least one fault.
 */
int plan_locate(
    struct plan *plan, const struct plan_source *source, struct faults *faults);

/* Frees it. */
void plan_fini(struct plan *plan);

#endif
