/*
 * The commands of the stages: configuration in, argument vector out. Pure. The
 * options are plain ones, so that what ps(1) and the log show can be repeated
 * in a shell; no secret is among them.
 */
#ifndef SUPERVISOR_COMMAND_H
#define SUPERVISOR_COMMAND_H

#include "supervisor/config.h"
#include "supervisor/link.h"

#include <stdbool.h>
#include <stddef.h>

struct command {
	char **argv; /* owned, as are the strings; NULL ends it */
	size_t count;
};

/* What all commands of a supervisor share. */
struct command_context {
	const char *bin_dir;   /* borrowed; where the programs are */
	const char *state_dir; /* borrowed */
	const char *verbosity; /* borrowed; "-v", "-q" or NULL */
	bool is_sandboxed;     /* the stages confine themselves */
};

/* Returns how many stages of a kind an instance has by its configuration: one
 * STAGE_COMMAND for each onramp, whether that has a command or not. */
size_t command_stages(
    enum stage_kind kind, const struct config_instance *instance);

/* Returns the id that the configuration gave to the stage of a kind at `index`,
 * 0..command_stages() - 1, in the order of the links. */
const char *command_stage_id(
    enum stage_kind kind, size_t index, const struct config_instance *instance);

/*
 * Makes the command of the stage of a kind at `index`; give it to
 * command_fini. That of
 * STAGE_COMMAND is the words of the user, the first of which is an absolute
 * path or a name to be found in PATH; it has none where the onramp is not of
 * type exec.
 */
void command_init(struct command *command, enum stage_kind kind, size_t index,
    const struct config_instance *instance,
    const struct command_context *context);

/* Frees the arguments. */
void command_fini(struct command *command);

/*
 * Returns the name of a variable that the arguments want from the environment,
 * as ${env:NAME}, and that is not set here, so that the program would end at
 * once. The caller frees it. NULL if there is none.
 */
char *command_unset_variable(const struct command *command);

/*
 * Returns the command as one line for a POSIX shell, each argument quoted where
 * it needs to be; those with control characters, or that are no text, as
 * $'...'. The caller frees it.
 */
char *command_quote(const struct command *command);

#endif
