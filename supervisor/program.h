/*
 * Where a program is, as a shell would find it.
 */
#ifndef SUPERVISOR_PROGRAM_H
#define SUPERVISOR_PROGRAM_H

#include <stdbool.h>

/*
 * Returns the path of the program `name`: itself if it has a slash, else the
 * first in $PATH that can be executed, as execvp(3) finds it. The caller frees
 * it. NULL with errno set (ENOENT, EACCES) if there is none.
 */
char *program_find(const char *name);

/* Says whether the file `path` is one that can be executed; sets errno if it
 * is not. */
bool program_can_run(const char *path);

#endif
