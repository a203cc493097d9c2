/*
 * The intake: from the source's stream into the log, or into the dead letters.
 * Where the disk is full it stops, and goes on when there is room; where the
 * log is, it does so too, or drops events (block.h). What was taken is made
 * safe, and then acked, by commit.h.
 */
#ifndef WALPROC_INTAKE_H
#define WALPROC_INTAKE_H

#include "walproc/walproc.h"

/*
 * Takes what is ready, up to some MiB; walproc->is_behind then says whether
 * whole events are left, is_over of each inlet whether its stream has ended and
 * all of it is taken. Nothing is durable yet. Returns 0, or -1 when the disk
 * failed; that is logged.
 */
int intake_take(struct walproc *walproc);

/*
 * The last of a run: bytes of a pipe that are here and were not taken go to the
 * dead letters, since their source cannot send them again. Returns 0, or -1 if
 * even that failed and they are lost; logged.
 */
int intake_leave(struct walproc *walproc);

#endif
