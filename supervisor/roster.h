/*
 * The streams of an instance's walproc by name: it is told of all there may be
 * (CTLMSG_STREAMS) before any of them is attached, and again when one was added
 * or removed.
 *
 * A source that was removed stays on the list until it has ended, so that its
 * stream is read to the end. A sink that was removed does not: what it has not
 * taken is not kept for it.
 */
#ifndef SUPERVISOR_ROSTER_H
#define SUPERVISOR_ROSTER_H

#include "supervisor/crew.h"

/* Tells walproc its streams, if it runs and they are not those that it knows.
 * One that does not take that is killed: it is of no use any more. */
void roster_tell(struct crew *crew);

/* Forgets what walproc was told: another has been started. */
void roster_forget(struct crew *crew);

#endif
