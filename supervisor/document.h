/*
 * A configuration of any number of files as one YAML document that says the
 * same: what was given and no default, paths as they were resolved, secrets as
 * they were written. Read again from any directory it comes to the same.
 */
#ifndef SUPERVISOR_DOCUMENT_H
#define SUPERVISOR_DOCUMENT_H

#include "supervisor/config.h"

#include <stdio.h>

/* Writes a configuration without faults to `out`, whose error flag tells of
 * failure. */
void document_print(const struct config *config, FILE *out);

#endif
