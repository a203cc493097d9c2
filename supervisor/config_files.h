/*
 * Where a configuration comes from: files and directories, opened and given to
 * config.h, and the files that it names. It writes nothing.
 */
#ifndef SUPERVISOR_CONFIG_FILES_H
#define SUPERVISOR_CONFIG_FILES_H

#include "supervisor/config.h"
#include "supervisor/faults.h"

#include <stdbool.h>

/* The longest file. */
#define CONFIG_FILE_BYTES ((size_t)1 << 20)

/*
 * Adds the file `path`, or if it is a directory its *.yaml, *.yml and *.trickle
 * files in byte order, hidden ones left out. A *.trickle file is a query, whose
 * name without the ending is the pipeline's id. A file that cannot be read or
 * is too long, and a directory without any, is a fault at line 1, column 1. So
 * is what is no regular file, as a pipe, which could be waited for without end:
 * in a directory, and if `is_live` as `path` itself. `path` is borrowed while
 * the configuration lives.
 */
void config_files_add(struct config *config, const char *path, bool is_live,
    struct faults *faults);

/*
 * Checks that the files which the configuration names (certificates and the
 * like) can be read, and that a command which stands at a path can be executed,
 * so that a stage will not fail over one of them.
 */
void config_files_check(const struct config *config, struct faults *faults);

#endif
