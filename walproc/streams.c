#include "walproc/streams.h"

#include "stage/io.h"
#include "stage/mem.h"
#include "walproc/delivery.h"
#include "walproc/leaving.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

_Static_assert(CTLMSG_NAME_BYTES <= WAL_SINKS_NAME_BYTES &&
		   CTLMSG_MAX_NAMES <= WAL_SINKS_MAX,
    "the log cannot have all sinks that can be named");

/* Returns the array `old` of `count` pointers with one more at its end. */
static void *
grow(void *old, size_t *count, void *element)
{
	void **array = mem_realloc(old, *count + 1, sizeof(*array));

	array[(*count)++] = element;
	return array;
}

static struct inlet *
add_inlet(struct streams *streams, const char *name)
{
	struct inlet *inlet = inlet_new(name);

	streams->inlets = grow(streams->inlets, &streams->inlet_count, inlet);
	return inlet;
}

static struct outlet *
add_outlet(struct walproc *walproc, const char *name)
{
	struct streams *streams = &walproc->streams;
	struct outlet *outlet = outlet_new(name, walproc->options.read_count);

	streams->outlets =
	    grow(streams->outlets, &streams->outlet_count, outlet);
	return outlet;
}

/* Stands source and sink on fd 0 and fd 1. Under a supervisor only sockets are
 * streams. */
static void
open_ends(struct walproc *walproc)
{
	const struct walproc_options *options = &walproc->options;
	struct inlet *inlet = walproc->streams.inlets[0];
	struct outlet *outlet = walproc->streams.outlets[0];
	bool is_given = streams_are_given(walproc);
	int in_fd = options->acks_fd;

	if (!is_given || io_is_socket(STDIN_FILENO)) {
		inlet->fd = STDIN_FILENO;
		inlet->is_over = false;
		chan_init(&inlet->chan, STDIN_FILENO, FRAMING_AUTO,
		    io_is_socket(STDIN_FILENO) ? STDIN_FILENO : -1,
		    FRAMING_LENGTH);
	}
	if (in_fd == -1 && !options->acks_none)
		in_fd = STDOUT_FILENO;
	if (!is_given || io_is_socket(STDOUT_FILENO)) {
		outlet->fd = STDOUT_FILENO;
		chan_init(&outlet->chan, in_fd, FRAMING_LENGTH, STDOUT_FILENO,
		    options->framing);
	}
	/* Acks count what one reader gets of one writer. */
	outlet->chan.out_is_ours = options->acks_fd != -1;
}

void
streams_init(struct walproc *walproc, const struct control *control)
{
	walproc->streams = (struct streams){.control = *control};
	pieces_init(&walproc->streams.pieces);
	(void)add_inlet(&walproc->streams, "");
	outlet_rewind(walproc, add_outlet(walproc, ""));
	open_ends(walproc);
}

void
streams_fini(struct streams *streams)
{
	for (size_t i = 0; i < streams->inlet_count; i++)
		inlet_free(streams->inlets[i]);
	for (size_t i = 0; i < streams->outlet_count; i++)
		outlet_free(streams->outlets[i]);
	free(streams->inlets);
	free(streams->outlets);
	pieces_fini(&streams->pieces);
	*streams = (struct streams){0};
}

bool
streams_are_given(const struct walproc *walproc)
{
	return control_is_open(&walproc->streams.control);
}

bool
streams_may_follow(const struct walproc *walproc)
{
	return streams_are_given(walproc) && !walproc->streams.is_last;
}

bool
streams_have_source(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->inlet_count; i++)
		if (inlet_has_source(streams->inlets[i]))
			return true;
	return false;
}

bool
streams_have_sink(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->outlet_count; i++)
		if (outlet_has_sink(walproc, streams->outlets[i]))
			return true;
	return false;
}

bool
streams_are_over(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->inlet_count; i++)
		if (!inlet_is_done(streams->inlets[i]))
			return false;
	return true;
}

bool
streams_have_told_sources(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->inlet_count; i++)
		if (!chan_is_flushed(&streams->inlets[i]->chan))
			return false;
	return true;
}

bool
streams_have_told_sinks(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->outlet_count; i++)
		if (!chan_is_flushed(&streams->outlets[i]->chan))
			return false;
	return true;
}

bool
streams_are_drained(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;

	if (!streams->are_last)
		return wal_elements(&walproc->wal) == 0;
	for (size_t i = 0; i < streams->outlet_count; i++)
		if (outlet_has_sink(walproc, streams->outlets[i]) &&
		    outlet_elements(walproc, streams->outlets[i]) > 0)
			return false;
	return true;
}

uint64_t
streams_acked(const struct walproc *walproc)
{
	const struct streams *streams = &walproc->streams;
	uint64_t sum = streams->acked_gone;

	for (size_t i = 0; i < streams->outlet_count; i++)
		sum += streams->outlets[i]->acked_before +
		       streams->outlets[i]->flight.acked;
	return sum;
}

static struct inlet *
find_inlet(const struct streams *streams, const char *name)
{
	for (size_t i = 0; i < streams->inlet_count; i++)
		if (strcmp(streams->inlets[i]->name, name) == 0)
			return streams->inlets[i];
	return NULL;
}

static struct outlet *
find_outlet(const struct streams *streams, const char *name)
{
	for (size_t i = 0; i < streams->outlet_count; i++)
		if (strcmp(streams->outlets[i]->name, name) == 0)
			return streams->outlets[i];
	return NULL;
}

static void
attach_source(struct walproc *walproc, const char *name, int fd)
{
	struct streams *streams = &walproc->streams;
	struct inlet *inlet = find_inlet(streams, name);

	if (inlet != NULL && inlet->is_leaving)
		inlet = NULL;
	if (inlet != NULL && !streams->is_last && io_is_socket(fd)) {
		inlet_add(inlet, fd);
		return;
	}
	log_error("source%s%s: attached, but %s", name[0] == '\0' ? "" : " ",
	    name,
	    inlet == NULL      ? "none has that name"
	    : streams->is_last ? "told that none comes"
			       : "no socket");
	(void)close(fd);
}

static void
attach_sink(struct walproc *walproc, const char *name, int fd)
{
	struct outlet *outlet = find_outlet(&walproc->streams, name);

	if (outlet != NULL && io_is_socket(fd)) {
		outlet_add(outlet, fd);
		return;
	}
	log_error("sink%s%s: attached, but %s", name[0] == '\0' ? "" : " ",
	    name, outlet == NULL ? "none has that name" : "no socket");
	(void)close(fd);
}

/* Says whether a list of names has this one. */
static bool
has_name(const cJSON *names, const char *name)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, names)
	{
		if (strcmp(item->valuestring, name) == 0)
			return true;
	}
	return false;
}

/* Makes an inlet for each name. Of the others those that are done are freed,
 * now or later: a source that has left may have sent what is not read yet. */
static void
name_sources(struct streams *streams, const cJSON *names)
{
	const cJSON *item;

	cJSON_ArrayForEach(item, names)
	{
		if (find_inlet(streams, item->valuestring) == NULL)
			(void)add_inlet(streams, item->valuestring);
	}
	for (size_t i = 0; i < streams->inlet_count; i++)
		leaving_set(streams, streams->inlets[i],
		    !has_name(names, streams->inlets[i]->name));
}

/* Takes an outlet off the list, and with it all that was given to its sink and
 * not answered. */
static void
drop_outlet(struct streams *streams, size_t index)
{
	struct outlet *outlet = streams->outlets[index];

	streams->acked_gone += outlet->acked_before + outlet->flight.acked;
	if (outlet->name[0] != '\0')
		log_info("%s is gone for good", outlet->title);
	reader_leave(&outlet->reader);
	reader_leave(&outlet->lookup);
	outlet_free(outlet);
	pieces_free_unused(&streams->pieces);
	streams->outlet_count--;
	memmove(&streams->outlets[index], &streams->outlets[index + 1],
	    (streams->outlet_count - index) * sizeof(streams->outlets[0]));
}

/* Names the sinks to the log. Returns 0, or -1; logged. */
static int
name_in_log(struct walproc *walproc, const cJSON *names)
{
	const char *list[WAL_SINKS_MAX];
	size_t count = 0;
	const cJSON *item;

	cJSON_ArrayForEach(item, names)
	{
		list[count++] = item->valuestring;
	}
	if (wal_sinks_name(&walproc->wal, list, count) == 0)
		return 0;
	log_error("log: cursors of the sinks: %m");
	return -1;
}

/* Finds where an outlet stands in the log, whose counts may be others now: what
 * the last sink that is left has ended is counted by the log. */
static void
place_outlet(const struct walproc *walproc, struct outlet *outlet)
{
	outlet->place = wal_sinks_place(&walproc->wal, outlet->name);
	outlet->metered =
	    wal_sinks_slot(&walproc->wal, outlet->place)->delivered;
}

/* Makes an outlet for each name, and no other. Returns 0, or -1; logged. */
static int
name_sinks(struct walproc *walproc, const cJSON *names)
{
	struct streams *streams = &walproc->streams;
	const cJSON *item;

	if (name_in_log(walproc, names) == -1)
		return -1;
	for (size_t i = streams->outlet_count; i > 0; i--)
		if (!has_name(names, streams->outlets[i - 1]->name))
			drop_outlet(streams, i - 1);
	for (size_t i = 0; i < streams->outlet_count; i++)
		place_outlet(walproc, streams->outlets[i]);
	cJSON_ArrayForEach(item, names)
	{
		struct outlet *outlet;

		if (find_outlet(streams, item->valuestring) != NULL)
			continue;
		outlet = add_outlet(walproc, item->valuestring);
		place_outlet(walproc, outlet);
		outlet_rewind(walproc, outlet);
	}
	/* The log may have room again, on the disk too. */
	walproc->retry_ns = 0;
	return 0;
}

/* Does one thing that the supervisor asks for. 0, or -1; logged. */
static int
take_order(struct walproc *walproc, const struct control_msg *msg)
{
	struct streams *streams = &walproc->streams;

	switch (msg->what.kind) {
	case CTLMSG_STREAMS:
		name_sources(streams,
		    cJSON_GetObjectItemCaseSensitive(msg->what.body, "in"));
		return name_sinks(walproc,
		    cJSON_GetObjectItemCaseSensitive(msg->what.body, "out"));
	case CTLMSG_ATTACH_IN:
		attach_source(walproc, msg->what.name, msg->fd);
		return 0;
	case CTLMSG_ATTACH_OUT:
		attach_sink(walproc, msg->what.name, msg->fd);
		return 0;
	case CTLMSG_DRAIN:
		streams->is_last = true;
		return 0;
	case CTLMSG_DRAIN_PRESENT:
		streams->is_last = streams->are_last = true;
		return 0;
	case CTLMSG_ASK:
		report_send(walproc);
		return 0;
	default:
		return 0;
	}
}

int
streams_take_orders(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;
	struct control_msg msg;
	int result = 0;

	while (result == 0 && control_next(&streams->control, &walproc->loop,
				  &msg) == CONTROL_GOT) {
		result = take_order(walproc, &msg);
		cJSON_Delete(msg.what.body);
	}
	return result;
}

int
streams_change_sinks(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	for (size_t i = 0; i < streams->outlet_count; i++)
		if (outlet_change(walproc, streams->outlets[i]) == -1)
			return -1;
	return 0;
}

int
streams_change_sources(struct walproc *walproc)
{
	struct streams *streams = &walproc->streams;

	for (size_t i = streams->inlet_count; i > 0; i--)
		if (inlet_change(walproc, streams->inlets[i - 1]) == -1)
			return -1;
	leaving_drop(streams, walproc->block != WALPROC_TAKING);
	return 0;
}

/* Ends both ways of a stream, and drops what is queued. */
static void
end(struct chan *chan)
{
	(void)shutdown(chan->in_fd, SHUT_RDWR);
	buf_drop(&chan->in, buf_bytes(&chan->in));
	buf_drop(&chan->out, buf_bytes(&chan->out));
	chan->in_frame_bytes = 0;
	chan->in_searched = 0;
	chan->in_ended = true;
	chan->out_broken = true;
}

int
streams_end_source(struct walproc *walproc, struct inlet *inlet)
{
	if (!streams_are_given(walproc))
		return -1;
	/* One that has a successor has ended already. */
	if (inlet->waiting_count == 0 && !inlet->chan.in_ended)
		control_fault(&walproc->streams.control, true, inlet->name);
	end(&inlet->chan);
	return 0;
}

int
streams_end_sink(struct walproc *walproc, struct outlet *outlet)
{
	if (!streams_are_given(walproc))
		return -1;
	if (outlet->next_fd == -1 && !outlet->chan.in_ended)
		control_fault(&walproc->streams.control, false, outlet->name);
	end(&outlet->chan);
	return 0;
}
