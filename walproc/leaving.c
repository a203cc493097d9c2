#include "walproc/leaving.h"

#include "stage/log.h"

#include <string.h>

void
leaving_set(struct streams *streams, struct inlet *inlet, bool is_leaving)
{
	if (is_leaving && !inlet->is_leaving)
		inlet->left = streams->left_count++;
	inlet->is_leaving = is_leaving;
}

static void
drop(struct streams *streams, size_t index)
{
	inlet_free(streams->inlets[index]);
	streams->inlet_count--;
	memmove(&streams->inlets[index], &streams->inlets[index + 1],
	    (streams->inlet_count - index) * sizeof(streams->inlets[0]));
}

/* Returns how many descriptors they hold, and which of them left first; if none
 * is leaving that is inlet_count. */
static size_t
count_fds(const struct streams *streams, size_t *first)
{
	size_t fds = 0;

	*first = streams->inlet_count;
	for (size_t i = 0; i < streams->inlet_count; i++) {
		const struct inlet *inlet = streams->inlets[i];

		if (!inlet->is_leaving)
			continue;
		fds += inlet_fds(inlet);
		if (*first == streams->inlet_count ||
		    inlet->left < streams->inlets[*first]->left)
			*first = i;
	}
	return fds;
}

void
leaving_drop(struct streams *streams, bool is_stopped)
{
	size_t first;

	for (size_t i = streams->inlet_count; i > 0; i--)
		if (inlet_is_gone(streams->inlets[i - 1]))
			drop(streams, i - 1);
	while (is_stopped && count_fds(streams, &first) > LEAVING_MAX_FDS) {
		const struct inlet *inlet = streams->inlets[first];

		if (!inlet_is_empty(inlet))
			log_error("%s was removed, and its events could not "
				  "be taken yet: they are lost, since so many "
				  "others wait behind them",
			    inlet->title);
		drop(streams, first);
	}
}
