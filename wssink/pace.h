/*
 * The pace: how many events may leave now, so that no more than `rate` leave in
 * a second. Time that was not used is kept for a tenth of a second, so what
 * leaves at once is a tenth of the rate at most, or one event. Pure
 * bookkeeping; the caller says what time it is (CLOCK_MONOTONIC).
 */
#ifndef WSSINK_PACE_H
#define WSSINK_PACE_H

#include <stdbool.h>
#include <stdint.h>

/* Highest rate. */
#define PACE_RATE_MAX UINT64_C(1000000000)

struct pace {
	uint64_t rate;	/* events a second; 0: no limit */
	int64_t due_ns; /* when the next event would leave at an even pace */
};

/* Starts a pace of `rate` (0..PACE_RATE_MAX) events a second; 0 is no limit. */
void pace_init(struct pace *pace, uint64_t rate);

/* Says whether an event may leave now. */
bool pace_is_due(const struct pace *pace, int64_t now_ns);

/*
 * Returns when to look again after pace_is_due said no: some events later, if
 * the rate is high, so that they leave together.
 */
int64_t pace_wake_ns(const struct pace *pace);

/* Counts an event that leaves now. */
void pace_take(struct pace *pace, int64_t now_ns);

#endif
