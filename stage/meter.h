/*
 * A rate: events a second over the last METER_SECONDS, or since the first of
 * them, from counts that are added as they come. Pure; it needs no timer, so
 * that nothing wakes up for it.
 */
#ifndef STAGE_METER_H
#define STAGE_METER_H

#include <stdint.h>

#define METER_SECONDS 10

/* Zero it to begin with. */
struct meter {
	int64_t first;	/* second of the first count; 0: none came */
	int64_t second; /* of the newest slot, CLOCK_MONOTONIC / 1 s */
	uint64_t slots[METER_SECONDS + 1]; /* counts, by second modulo size */
};

/* Adds `count` events at `now_ns` (CLOCK_MONOTONIC). */
void meter_add(struct meter *meter, uint64_t count, int64_t now_ns);

/* Returns events a second over the whole seconds that ended last before
 * `now_ns`: METER_SECONDS of them, or as many as there were since the first
 * count, one at least. */
double meter_rate(struct meter *meter, int64_t now_ns);

#endif
