/*
 * Sources that were removed: no other comes in their place, and what they sent
 * is read to the end before they are forgotten. Where the intake is stopped
 * that is not soon, and others may be removed meanwhile.
 */
#ifndef WALPROC_LEAVING_H
#define WALPROC_LEAVING_H

#include "walproc/streams.h"

#include <stdbool.h>
#include <stddef.h>

/* Those that are leaving hold so many descriptors, at most, while the intake is
 * stopped. A process has 1,024 of them where nobody has asked for more:
 * getrlimit(2). */
#define LEAVING_MAX_FDS ((size_t)128)

/* Notes whether a source is leaving: it has its place among them, or is named
 * again. */
void leaving_set(struct streams *streams, struct inlet *inlet, bool is_leaving);

/*
 * Frees those that are gone. While the intake is stopped it frees, where they
 * hold too many descriptors, those that left first too; what is lost by that
 * was not acked, and is logged.
 */
void leaving_drop(struct streams *streams, bool is_stopped);

#endif
