/*
 * The commit: what was taken is made safe, as the options ask, and then acked
 * to its source. It may go on while other events are taken.
 */
#ifndef WALPROC_COMMIT_H
#define WALPROC_COMMIT_H

#include "walproc/walproc.h"

/*
 * Acks what was taken and is safe by now, and begins to make safe what is not.
 * Returns 0, or -1 when that failed; logged.
 */
int commit_turn(struct walproc *walproc);

/* The same for all that was taken, to the end. */
int commit_all(struct walproc *walproc);

#endif
