/*
 * The start of one stage: all that it is given, its process, and the other ends
 * of its sockets to the neighbours that run.
 */
#ifndef SUPERVISOR_LAUNCH_H
#define SUPERVISOR_LAUNCH_H

#include "supervisor/crew.h"

/*
 * Starts a stage of the crew, which does not run. One that cannot be started is
 * told of in the journal, and to the automaton (bury.h); nothing of it is open
 * then.
 */
void launch(struct crew *crew, size_t at);

#endif
