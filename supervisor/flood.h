/*
 * How many lines of one stage the log takes: a token bucket, which fills by
 * time and not by a timer. Pure arithmetic: the clock is an argument.
 *
 * When it is empty it stays shut until a second's worth is back, so that what
 * was held back is told once a second and not between any two lines.
 */
#ifndef SUPERVISOR_FLOOD_H
#define SUPERVISOR_FLOOD_H

#include <stdbool.h>
#include <stdint.h>

/* Lines a second in the long run, and at once. */
#define FLOOD_RATE 100
#define FLOOD_BURST 1000

/* One bucket; zeroed it is full. */
struct flood {
	int64_t full_ns;    /* when it will be full again */
	unsigned long held; /* lines held back and not told of yet */
	bool is_shut;
};

/*
 * Says whether a line may pass at `now_ns` (CLOCK_MONOTONIC, never running
 * backwards). If not, it is counted in `held`, which the caller tells and sets
 * to 0.
 */
bool flood_passes(struct flood *flood, int64_t now_ns);

#endif
