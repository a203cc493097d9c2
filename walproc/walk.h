/*
 * A walk through all events of a log from outside, in order, with the damage
 * that is met (reader.h says what that is). While a walproc runs on the log,
 * or ran meanwhile, damage is told only if a second look, taken behind the
 * first, finds the same; events that were ended and unlinked meanwhile are
 * passed over, and what was written behind the end since the walk began is not
 * looked at.
 *
 * Damage in a tail that is not proven durable is no damage but where the power
 * went, or where the walproc is writing: there the walk ends.
 */
#ifndef WALPROC_WALK_H
#define WALPROC_WALK_H

#include "walproc/look.h"
#include "walproc/reader.h"

struct walk {
	struct look *look;    /* borrowed; looked at again as need be */
	struct reader reader; /* only looking */
	uint64_t last_seq;    /* where it ends */
	uint64_t torn_seq;    /* the tail is not whole from here on; 0: it is */
	uint64_t doubt_seq;   /* of the damage that is looked at again, or 0 */
	uint64_t doubt_count; /* events in that damage */
	unsigned int doubts;  /* looks taken at it so far */
};

enum walk_status {
	WALK_EVENT,
	WALK_DAMAGE,
	WALK_END,
	WALK_ERROR, /* logged */
};

/* Stands before the event `first_seq`; the walk ends with `last_seq`, which is
 * at most the look's last. */
void walk_init(struct walk *walk, struct look *look, uint64_t first_seq,
    uint64_t last_seq);

/* Frees the memory; the look stays open. */
void walk_fini(struct walk *walk);

/*
 * Goes on by one event, or one piece of damage. *event is as reader_next gives
 * it, and valid until the next call; its segment is one of walk->look's.
 */
enum walk_status walk_next(struct walk *walk, struct reader_event *event);

/*
 * Says whether the damaged bytes can all be read: 1 (also if there are none),
 * 0, or -1 with errno set.
 */
int walk_is_readable(
    const struct walk *walk, const struct reader_event *damage);

#endif
