#include "walproc/outlet.h"

#include "stage/io.h"
#include "stage/mem.h"
#include "walproc/delivery.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct outlet *
outlet_new(const char *name, size_t window)
{
	struct outlet *outlet = mem_calloc(1, sizeof(*outlet));

	(void)snprintf(outlet->name, sizeof(outlet->name), "%s", name);
	(void)snprintf(outlet->title, sizeof(outlet->title), "sink%s%s",
	    name[0] == '\0' ? "" : " ", outlet->name);
	outlet->place = WAL_SINKS_NONE;
	outlet->fd = outlet->next_fd = -1;
	chan_init(&outlet->chan, -1, FRAMING_LENGTH, -1, FRAMING_LENGTH);
	outlet->chan.in_ended = outlet->chan.out_broken = true;
	flight_init(&outlet->flight, window);
	return outlet;
}

void
outlet_free(struct outlet *outlet)
{
	chan_fini(&outlet->chan);
	flight_fini(&outlet->flight);
	reader_fini(&outlet->reader);
	reader_fini(&outlet->lookup);
	if (outlet->next_fd != -1)
		(void)close(outlet->next_fd);
	if (outlet->fd > STDERR_FILENO)
		(void)close(outlet->fd);
	free(outlet);
}

void
outlet_add(struct outlet *outlet, int fd)
{
	/* One that waited has been given nothing. */
	if (outlet->next_fd != -1)
		(void)close(outlet->next_fd);
	outlet->next_fd = fd;
}

uint64_t
outlet_elements(const struct walproc *walproc, const struct outlet *outlet)
{
	return walproc->wal.next_seq - 1 -
	       wal_sinks_acked_of(&walproc->wal, outlet->place);
}

bool
outlet_has_sink(const struct walproc *walproc, const struct outlet *outlet)
{
	return outlet->next_fd != -1 ||
	       !delivery_has_lost_sink(walproc, outlet);
}

void
outlet_rewind(struct walproc *walproc, struct outlet *outlet)
{
	reader_init(&outlet->reader, &walproc->wal.catalog,
	    wal_sinks_acked_of(&walproc->wal, outlet->place) + 1);
	outlet->reader.recent = &walproc->wal.recent;
	outlet->reader.pieces = &walproc->streams.pieces;
}

/* Starts over with a sink that nothing was given to. */
static void
begin(struct walproc *walproc, struct outlet *outlet)
{
	chan_fini(&outlet->chan);
	chan_init(&outlet->chan, outlet->fd, FRAMING_LENGTH, outlet->fd,
	    walproc->options.framing);
	outlet->acked_before += outlet->flight.acked;
	flight_fini(&outlet->flight);
	outlet_rewind(walproc, outlet);
	outlet->breaker_is_open = false;
	/* This one rejects that event again. */
	outlet->has_held = false;
	outlet->is_missed = false;
	log_info("%s attached: %" PRIu64 " events wait for it", outlet->title,
	    outlet_elements(walproc, outlet));
}

int
outlet_change(struct walproc *walproc, struct outlet *outlet)
{
	struct chan *chan = &outlet->chan;
	int fd = outlet->next_fd;

	if (!streams_are_given(walproc))
		return 0;
	/* An answer that is held keeps the end behind it from being read. */
	if (fd != -1 && (chan->in_ended || outlet->has_held)) {
		outlet->next_fd = -1;
		if (io_replace(fd, &outlet->fd) == -1) {
			log_error("%s: dup2: %m", outlet->title);
			return -1;
		}
		begin(walproc, outlet);
		return 0;
	}
	if (!delivery_has_lost_sink(walproc, outlet))
		return 0;
	chan->out_broken = true;
	buf_drop(&chan->out, buf_bytes(&chan->out));
	if (fd == -1 && outlet->fd != -1 && !outlet->is_missed) {
		log_info("%s left: %" PRIu64 " events wait for the next",
		    outlet->title, outlet_elements(walproc, outlet));
		outlet->is_missed = true;
	}
	return 0;
}
