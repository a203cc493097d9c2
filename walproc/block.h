/*
 * What stops the intake: a log that is at its limits, or a full disk. The
 * sources are told, and told again when it goes on; the log says so too.
 */
#ifndef WALPROC_BLOCK_H
#define WALPROC_BLOCK_H

#include "walproc/walproc.h"

/* Stops the intake for `block`. */
void block_set(struct walproc *walproc, enum walproc_block block);

/* Fills the message that tells a source that the intake is stopped, which it
 * is, and why. */
void block_put(const struct walproc *walproc, struct msg *msg);

/* Lets the intake go on if it is stopped and can. Returns 0, or -1 when the
 * disk failed otherwise than by being full; logged. */
int block_lift(struct walproc *walproc);

#endif
