/*
 * What a configuration comes to, for people: the answer of `check`. It is a
 * YAML document that says the same as all files together, see document.h;
 * above that stand, as comments, the instances and their commands. A line
 * "#   $ COMMAND" is a command, which a shell can read.
 */
#ifndef SUPERVISOR_OUTLINE_H
#define SUPERVISOR_OUTLINE_H

#include "supervisor/command.h"
#include "supervisor/config.h"

#include <stdio.h>

/* Writes it to `out`. Returns 0, or -1 with errno set if it cannot be written.
 */
int outline_print(const struct config *config,
    const struct command_context *context, FILE *out);

#endif
