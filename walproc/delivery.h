/*
 * The delivery: from the log to a sink, as far as its window allows, and its
 * answers back into the log: what has ended, what it rejects.
 */
#ifndef WALPROC_DELIVERY_H
#define WALPROC_DELIVERY_H

#include "walproc/walproc.h"

/* Says in the log, at most once a second, that events are damaged. */
void delivery_tell_damage(
    struct walproc *walproc, const struct reader_event *damage);

/* Says whether there is something that the sink may be given now. */
bool delivery_is_due(
    const struct walproc *walproc, const struct outlet *outlet);

/* Gives the sink what the window and its queue allow. Returns 0, or -1 when
 * the log cannot be read; logged. */
int delivery_give(struct walproc *walproc, struct outlet *outlet);

/*
 * Takes what the sinks have answered and ends in the log what they have ended.
 * Returns 0, or -1 when the answers make no sense or the disk failed; logged.
 */
int delivery_take_answers(struct walproc *walproc);

/* Says whether the sink has left, and so can neither take nor answer. */
bool delivery_has_lost_sink(
    const struct walproc *walproc, const struct outlet *outlet);

/* Where damage waits for room to be quarantined: lets it be tried again, and
 * returns true. */
bool delivery_let_damage_pass(struct walproc *walproc);

#endif
