/*
 * The start of one stage: all that it is given, its process, and the other ends
 * of its sockets to the neighbours that run.
 */
#ifndef SUPERVISOR_LAUNCH_H
#define SUPERVISOR_LAUNCH_H

#include "supervisor/crew.h"

/*
 * Starts a stage of the crew, which does not run. Returns 0; or -1 with errno
 * set, and nothing of it open: what program_find and child_spawn say, or what
 * there is too little of.
 */
int launch(struct crew *crew, size_t at);

#endif
