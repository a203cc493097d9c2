/*
 * The counters of a log, as walproc tells them: what became of the events that
 * were taken in. They are kept in the cursor (layout.h); pure.
 */
#ifndef WALPROC_COUNTS_H
#define WALPROC_COUNTS_H

#include "walproc/layout.h"

#include <cjson/cJSON.h>

#include <stdbool.h>
#include <stdint.h>

struct counts {
	uint64_t taken;
	uint64_t delivered;
	uint64_t stored;
	uint64_t dropped;	/* at a limit, too old, or at intake */
	uint64_t dead_lettered; /* refused, or rejected by the sink */
	uint64_t quarantined;
};

/* Finds the counters of a log whose cursor says `slot`, and whose last event
 * has the number `last_seq`. */
struct counts counts_of(const struct layout_cursor *slot, uint64_t last_seq);

/* Says whether each event that was taken is in one of the others. */
bool counts_add_up(const struct counts *counts);

/* Adds the counters to a JSON object, each under its name here. */
void counts_put(cJSON *json, const struct counts *counts);

/* Adds a number exactly: the library's own are doubles. */
void counts_put_number(cJSON *json, const char *name, uint64_t value);

#endif
