#include "supervisor/roster.h"

#include "stage/control.h"
#include "stage/mem.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

_Static_assert(CHAIN_MAX_RUNNING <= CTLMSG_MAX_NAMES,
    "those that run cannot all be named");

/* Says whether the stream of a source may have something in it. */
static bool
is_in_use(const struct crew *crew, size_t at)
{
	const struct chain *chain = &crew->chain;

	return chain->stage[at].is_removed || chain_runs(chain, at) ||
	       chain_runs(chain, at - 1);
}

static void
add_name(cJSON *list, const struct crew *crew, size_t at)
{
	(void)cJSON_AddItemToArray(
	    list, cJSON_CreateString(crew->stage[at]->id));
}

/* Adds the names of the sources: of more than there may be, those that are in
 * use, and others as there is room. The rest is not started either. */
static void
add_sources(cJSON *list, const struct crew *crew)
{
	const struct chain *chain = &crew->chain;
	size_t room = CTLMSG_MAX_NAMES, at;

	for (size_t i = 0; i < chain->source_count; i++)
		if (is_in_use(crew, chain_at(chain, STAGE_SOURCE, i)))
			room--;
	for (size_t i = 0; i < chain->source_count; i++) {
		at = chain_at(chain, STAGE_SOURCE, i);
		if (!is_in_use(crew, at)) {
			if (room == 0)
				continue;
			room--;
		}
		add_name(list, crew, at);
	}
}

static void
add_sinks(cJSON *list, const struct crew *crew)
{
	const struct chain *chain = &crew->chain;

	for (size_t i = 0; i < chain->sink_count; i++) {
		size_t at = chain_at(chain, STAGE_SINK, i);

		if (!chain->stage[at].is_removed)
			add_name(list, crew, at);
	}
}

/* Sends the names, and keeps them as `text`. */
static void
send_names(struct crew *crew, size_t wal, cJSON *names, char *text)
{
	struct ctlmsg msg = {.kind = CTLMSG_STREAMS, .body = names};
	const struct crew_stage *stage = crew->stage[wal];

	free(crew->roster);
	crew->roster = text;
	if (control_send(stage->control_fd, &msg, -1) == 0 || errno == EPIPE ||
	    errno == ECONNRESET)
		return;
	journal_say_about(crew->shared->journal, LOG_ERROR, &stage->name,
	    "cannot be told its streams (%m): killed");
	crew_signal(crew, wal, SIGKILL);
}

void
roster_tell(struct crew *crew)
{
	size_t wal = chain_at(&crew->chain, STAGE_WAL, 0);
	cJSON *names;
	char *text;

	if (!crew_can_tell(crew, wal))
		return;
	names = cJSON_CreateObject();
	add_sources(cJSON_AddArrayToObject(names, "in"), crew);
	add_sinks(cJSON_AddArrayToObject(names, "out"), crew);
	text = cJSON_PrintUnformatted(names);
	if (crew->roster == NULL || strcmp(text, crew->roster) != 0)
		send_names(crew, wal, names, text);
	else
		free(text);
	cJSON_Delete(names);
}

void
roster_forget(struct crew *crew)
{
	free(crew->roster);
	crew->roster = NULL;
}
