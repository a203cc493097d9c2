#include "walproc/counts.h"

#include <inttypes.h>
#include <stdio.h>

struct counts
counts_of(const struct layout_cursor *slot, uint64_t last_seq)
{
	/* A log that is looked at from outside may say less than its cursor. */
	uint64_t stored =
	    last_seq < slot->acked_seq ? 0 : last_seq - slot->acked_seq;

	return (struct counts){
	    .taken = last_seq + slot->refused + slot->dropped_newest,
	    .delivered = slot->delivered,
	    .stored = stored,
	    .dropped = slot->dropped + slot->dropped_newest,
	    .dead_lettered = slot->rejected + slot->refused,
	    .quarantined = slot->quarantined,
	};
}

bool
counts_add_up(const struct counts *counts)
{
	return counts->taken == counts->delivered + counts->stored +
				    counts->dropped + counts->dead_lettered +
				    counts->quarantined;
}

void
counts_put_number(cJSON *json, const char *name, uint64_t value)
{
	char text[24];

	(void)snprintf(text, sizeof(text), "%" PRIu64, value);
	(void)cJSON_AddRawToObject(json, name, text);
}

void
counts_put(cJSON *json, const struct counts *counts)
{
	counts_put_number(json, "taken", counts->taken);
	counts_put_number(json, "delivered", counts->delivered);
	counts_put_number(json, "stored", counts->stored);
	counts_put_number(json, "dropped", counts->dropped);
	counts_put_number(json, "dead_lettered", counts->dead_lettered);
	counts_put_number(json, "quarantined", counts->quarantined);
}
