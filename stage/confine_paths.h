/*
 * The part of a confinement that is about files and ports: Landlock, through
 * its three system calls (landlock(7)). For confine.c only.
 */
#ifndef STAGE_CONFINE_PATHS_H
#define STAGE_CONFINE_PATHS_H

#include "stage/confine.h"

#include <stdbool.h>

/*
 * Refuses to this thread, and to those it starts, all files but the `count`
 * paths, to bind TCP sockets, to connect them unless `may_connect`, and to
 * reach abstract sockets or signal processes outside: as much of it as the
 * kernel can. Needs PR_SET_NO_NEW_PRIVS. Returns 0; or -1 if something that the
 * kernel has did not work; logged.
 */
int confine_paths(
    const struct confine_path *paths, size_t count, bool may_connect);

#endif
